"""The chain from a frame to landmarks: MediaPipe's numbers, and its geometry in closed form."""

import math

import numpy as np
import pytest
import torch

from lipsync.preparation.faces import FaceFinder, crop_regions, face_regions, from_crop, letterbox
from lipsync.video import read_frames

CASES = (
    *("ls_demo1", "vr_4", "grid_bbaf2n", "fr_hamilton", "ed_obama", "lp_d13"),
    *("lp_s32_rot30", "lp_d20_edge", "two_faces", "no_face"),
)


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def frame_of(shared, case: str) -> torch.Tensor:
    path = shared / "reference" / "faces" / f"e2e_{case}.png"
    return torch.from_numpy(next(read_frames(path)).image)[None]


def assert_levels(actual: torch.Tensor, expected: np.ndarray, share: float) -> None:
    """At most one grey level apart, and that in at most `share` of the values."""
    apart = (actual.float() - torch.from_numpy(expected).float()).abs()
    assert apart.max() <= 1
    assert (apart > 0).float().mean() <= share


@pytest.mark.parametrize("case", CASES)
def test_the_chain_equals_the_reference(finder, shared, case) -> None:
    expected = np.load(shared / "reference" / "faces" / f"e2e_{case}.npz")
    frame = frame_of(shared, case)
    squares, _, _ = letterbox(frame)
    assert_levels(squares[0], expected["det_input"], 0.02)

    owner, found = finder.candidates(frame)
    assert owner.tolist() == [0] * len(expected["boxes"])
    np.testing.assert_allclose(found.boxes, expected["boxes"], rtol=0, atol=0.5)
    np.testing.assert_allclose(found.keypoints, expected["keypoints"], rtol=0, atol=0.5)
    regions = face_regions(found.boxes, found.keypoints)
    np.testing.assert_allclose(regions[:, :3], expected["rois"][:, :3], rtol=0, atol=0.5)
    np.testing.assert_allclose(regions[:, 3], expected["rois"][:, 3], rtol=0, atol=0.005)
    assert_levels(crop_regions(frame, owner, torch.from_numpy(expected["rois"])), expected["crops"], 0.005)

    (faces,) = finder.detect(frame)
    kept = expected["presence"] > 0.5
    assert len(faces.scores) == kept.sum()
    np.testing.assert_allclose(faces.presence, expected["presence"][kept], rtol=0, atol=0.01)
    np.testing.assert_allclose(faces.landmarks, expected["landmarks"][kept], rtol=0, atol=0.5)


def test_a_batch_equals_single_frames_whatever_is_in_them(finder, shared) -> None:
    frame = frame_of(shared, "two_faces")
    empty = torch.full_like(frame, 128)
    batch = finder.detect(torch.cat([empty, frame, empty, frame.flip(2)]))
    assert [len(faces.scores) for faces in batch] == [0, 2, 0, 2]
    for together, image in ((batch[1], frame), (batch[3], frame.flip(2))):
        (alone,) = finder.detect(image)
        for values, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("threads", [1, 3])
def test_cores_share_a_batch(finder, shared, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    frame, before = frame_of(shared, "two_faces"), torch.get_num_threads()
    batch = torch.cat([frame, torch.full_like(frame, 128), frame.flip(2), frame])
    wanted = [finder._detect(image[None])[0] for image in batch]
    parts = []
    monkeypatch.setattr(
        finder, "_detect", lambda images: parts.append(len(images)) or FaceFinder._detect(finder, images)
    )
    torch.set_num_threads(threads)
    try:
        found = finder.detect(batch)
    finally:
        torch.set_num_threads(before)
    assert sorted(parts) == {1: [4], 3: [2, 2]}[threads]
    assert len(wanted[0].scores) == 2
    for one, other in zip(found, wanted, strict=True):
        for values, expected in zip(one, other, strict=True):
            torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-2)


def test_a_grey_picture_has_no_face(finder) -> None:
    for faces in finder.detect(torch.full((2, 90, 160, 3), 128, dtype=torch.uint8)):
        assert [tuple(values.shape) for values in faces] == [(0, 4), (0,), (0, 468, 3), (0,)]


def test_letterbox_centres_the_frame_on_black() -> None:
    squares, scale, origin = letterbox(torch.full((1, 100, 200, 3), 77, dtype=torch.uint8))
    assert squares.shape == (1, 192, 192, 3)
    assert (squares[0, 48:144] == 77).all()
    assert not squares[0, :48].any()
    assert not squares[0, 144:].any()
    corners = torch.tensor([[0.0, 0.25], [1.0, 0.75]])
    torch.testing.assert_close(corners * scale + origin, torch.tensor([[0.0, 0.0], [200.0, 100.0]]))


def test_a_region_is_one_and_a_half_boxes_turned_with_the_eyes() -> None:
    keypoints = torch.zeros(1, 6, 2)
    keypoints[0, 1] = torch.tensor([1.0, 1.0])
    regions = face_regions(torch.tensor([[10.0, 20.0, 50.0, 40.0]]), keypoints)
    torch.testing.assert_close(regions, torch.tensor([[30, 30, 60, math.pi / 4]]))


def test_points_turn_clockwise_from_the_crop_into_the_frame() -> None:
    points = torch.tensor([[[96.0, 96.0, 0.0], [192.0, 96.0, 96.0]]])
    expected = torch.tensor([[[100.0, 50.0, 0.0], [100.0, 82.0, 32.0]]])
    torch.testing.assert_close(from_crop(points, torch.tensor([[100, 50, 64, math.pi / 2]])), expected)


def test_an_upright_region_of_192_pixels_copies_and_repeats_the_edge() -> None:
    images = torch.randint(0, 256, (2, 200, 210, 3), dtype=torch.uint8)
    regions = torch.tensor([[96.0, 96.0, 192.0, 0.0], [0.0, 96.0, 192.0, 0.0]])
    crops = crop_regions(images, torch.tensor([1, 0]), regions)
    assert torch.equal(crops[0], images[1, :192, :192].float())
    assert torch.equal(crops[1, :, 96:], images[0, :192, :96].float())
    assert torch.equal(crops[1, :, :96], images[0, :192, :1].float().expand(-1, 96, -1))
