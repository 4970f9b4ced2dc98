"""The crop against closed forms and the original's resized picture; the rule `square` against its definition."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lipsync.corpora.crop import box_in_track, crop, mask, rule_boxes, square_boxes, track_boxes
from lipsync.corpora.landmarks import BRIDGE, CHIN, NOSE_BASE
from lipsync.errors import LipsyncError


def ramp(height: int, width: int) -> torch.Tensor:
    """(1, 2, H, W): every pixel holds the y and the x of its centre."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([y, x])[None]


@pytest.mark.parametrize("oversample", [1, 2, 3])
def test_crop_of_a_ramp_is_the_ramp(oversample: int) -> None:
    box = torch.tensor([[3.25, 27.5, 5.5, 40.125]])
    steps = (torch.arange(16) + 0.5) / 16
    square = crop(ramp(32, 48), box, 16, oversample)[0]
    y, x = 3.25 + 24.25 * steps, 5.5 + 34.625 * steps
    torch.testing.assert_close(square[0], y[:, None].expand(16, 16), atol=1e-4, rtol=0)
    torch.testing.assert_close(square[1], x[None].expand(16, 16), atol=1e-4, rtol=0)


def test_whole_picture_comes_back_unchanged() -> None:
    pictures = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    squares = crop(pictures, torch.tensor([0.0, 8, 0, 8]), 8)
    assert squares.dtype == torch.float32
    torch.testing.assert_close(squares, pictures.float(), atol=1e-3, rtol=0)


def test_box_with_x_reversed_mirrors() -> None:
    pictures = torch.rand(1, 3, 20, 30)
    box, mirrored = torch.tensor([[2.0, 17, 4, 21]]), torch.tensor([[2.0, 17, 21, 4]])
    torch.testing.assert_close(crop(pictures, mirrored, 12, 2), crop(pictures, box, 12, 2).flip(-1), atol=1e-5, rtol=0)


def test_every_picture_has_its_own_box() -> None:
    pictures = ramp(16, 16).expand(2, -1, -1, -1)
    squares = crop(pictures, torch.tensor([[0.0, 8, 0, 8], [8.0, 16, 4, 12]]), 8)
    torch.testing.assert_close(squares[1], squares[0] + torch.tensor([8.0, 4.0])[:, None, None], atol=1e-4, rtol=0)


def test_outside_repeats_the_edge() -> None:
    square = crop(ramp(8, 8), torch.tensor([-8.0, 0, 0, 8]), 8)[0]
    torch.testing.assert_close(square[0], torch.full((8, 8), 0.5))


def test_oversampling_averages_what_lies_between() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(16).expand(1, 1, 32, 32)
    torch.testing.assert_close(crop(stripes, torch.tensor([0.0, 32, 0, 32]), 16, 2), torch.full((1, 1, 16, 16), 0.5))


@pytest.mark.parametrize("oversample", [2, 3])
def test_oversampling_is_average_pooling_to_the_bit(oversample: int) -> None:
    pictures, box = torch.rand(4, 3, 20, 30), torch.tensor([2.3, 17.1, 4.4, 21.7])
    pooled = F.avg_pool2d(crop(pictures, box, 12 * oversample), oversample)
    assert torch.equal(crop(pictures, box, 12, oversample), pooled)


def test_gradient_reaches_the_picture() -> None:
    picture = torch.rand(1, 1, 8, 8, requires_grad=True)
    crop(picture, torch.tensor([0.0, 8, 0, 8]), 4, 2).mean().backward()
    torch.testing.assert_close(picture.grad, torch.full((1, 1, 8, 8), 1 / 64))


def test_resizes_as_the_original(shared: Path) -> None:
    numbers = np.load(shared / "reference" / "boxes.npz")
    frame = torch.from_numpy(numbers["frame_u8"]).permute(2, 0, 1)[None]
    box = torch.from_numpy(numbers["voxceleb2_224_224"])[None].float()
    square = crop(frame, box, 128)[0].permute(1, 2, 0).numpy()
    assert np.abs(square - numbers["crop_resized_u8"]).max() <= 1


def test_mask_paints_the_lower_half() -> None:
    painted = mask(6)
    assert painted.shape == (1, 1, 6, 6)
    assert painted[0, 0, :, 2].tolist() == [0, 0, 0, 1, 1, 1]


def track(frames: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A head that moves 2 px right and 1 px down a frame, its jaw dropping by 12 px in the last frame."""
    nose = torch.tensor([100.0, 80.0]) + torch.arange(frames)[:, None] * torch.tensor([2.0, 1.0])
    chin = nose + torch.tensor([0.0, 40.0])
    chin[-1, 1] += 12
    return nose, chin, nose + torch.tensor([0.0, -20.0])


def test_square_boxes_have_one_size_and_follow_the_nose() -> None:
    nose, chin, bridge = track(101)
    y0, y1, x0, x1 = square_boxes(nose, chin, bridge).unbind(1)
    # The 99.5th percentile of 101 values lies half-way between the two largest, 40 and 52.
    torch.testing.assert_close(y1 - y0, torch.full((101,), 2 * 1.1 * 46))
    torch.testing.assert_close(x1 - x0, y1 - y0)
    # Smoothing keeps steady motion; at the ends it lags behind.
    torch.testing.assert_close((y0 + y1)[15:-15] / 2, nose[15:-15, 1])
    torch.testing.assert_close((x0 + x1)[15:-15] / 2, nose[15:-15, 0])


def test_square_boxes_of_a_long_nose() -> None:
    nose, chin, bridge = track(20)
    y0, y1, *_ = square_boxes(nose, chin, bridge - torch.tensor([0.0, 30.0])).unbind(1)
    torch.testing.assert_close(y1 - y0, torch.full((20,), 2 * 1.85 * 50))


def test_a_spike_is_smoothed_as_by_a_gaussian() -> None:
    nose, chin, bridge = (torch.zeros(61, 2) for _ in range(3))
    chin[:, 1], bridge[:, 1], nose[30, 0] = 40, -20, 1
    boxes = square_boxes(nose, chin, bridge, fps=25)
    centre = (boxes[:, 2] + boxes[:, 3]) / 2
    assert centre.sum().item() == pytest.approx(1, abs=1e-3)
    assert (centre[33] / centre[30]).item() == pytest.approx(np.exp(-0.5), abs=1e-3)  # sigma is 0.12 s = 3 frames


def test_one_frame_is_a_track() -> None:
    nose, chin, bridge = track(2)
    assert square_boxes(nose[:1], chin[:1], bridge[:1])[0].tolist() == pytest.approx([36, 124, 56, 144])


def test_tight_reaches_from_hairline_to_chin_and_stays_in_the_stored_track() -> None:
    square = torch.tensor([[40.0, 140.0, 100.0, 200.0]])
    tight = rule_boxes("tight", square, 300, 400)
    torch.testing.assert_close(tight, torch.tensor([[37.5, 129.0, 110.0, 190.0]]))
    mirrored = rule_boxes("tight", square[:, [0, 1, 3, 2]], 300, 400)
    torch.testing.assert_close(mirrored, tight[:, [0, 1, 3, 2]])
    y0, y1, x0, x1 = track_boxes(square)[0]
    assert y0 < tight[0, 0]
    assert tight[0, 1] < y1
    assert x0 < tight[0, 2]
    assert tight[0, 3] < x1


@pytest.mark.parametrize("height_width", [(224, 224), (256, 256), (223, 225), (128, 160)])
def test_voxceleb2_is_the_originals_part_of_the_picture(shared: Path, height_width: tuple[int, int]) -> None:
    numbers = np.load(shared / "reference" / "boxes.npz")
    boxes = rule_boxes("voxceleb2", torch.rand(3, 4), *height_width)
    expected = numbers["voxceleb2_{}_{}".format(*height_width)]
    assert boxes.tolist() == [expected.tolist()] * 3


def test_unknown_rule() -> None:
    with pytest.raises(LipsyncError, match="oval"):
        rule_boxes("oval", torch.zeros(1, 4), 8, 8)


def test_box_in_track_undoes_the_margin() -> None:
    boxes = square_boxes(*track(30))
    y0, y1, x0, x1 = track_boxes(boxes).unbind(1)
    inner = torch.tensor(box_in_track(160)) / 160
    found = torch.stack([y0 + inner[0] * (y1 - y0), y0 + inner[1] * (y1 - y0)], dim=1)
    torch.testing.assert_close(found, boxes[:, :2])
    torch.testing.assert_close(x0 + inner[3] * (x1 - x0), boxes[:, 3])


@pytest.mark.parametrize("case", ["ls_demo1", "vr_4", "grid_bbaf2n", "ed_obama", "lp_d13"])
def test_lips_and_chin_lie_in_the_painted_half(shared: Path, case: str) -> None:
    reference = shared / "reference" / "faces"
    points = np.load(reference / f"e2e_{case}.npz")["landmarks"][:1, :, :2]
    y0, y1, x0, x1 = square_boxes(points[:, NOSE_BASE], points[:, CHIN], points[:, BRIDGE])[0].tolist()
    lips = points[0, np.load(reference / "facemesh.npz")["lips_outer"]]
    assert ((lips[:, 1] - y0) / (y1 - y0)).min() > 0.5
    assert 0.75 < (points[0, CHIN, 1] - y0) / (y1 - y0) < 0.96
    assert ((lips[:, 0] - x0) / (x1 - x0)).min() > 0.2
    assert ((lips[:, 0] - x0) / (x1 - x0)).max() < 0.8
