"""BlazeFace against MediaPipe's numbers, and its parts in closed form."""

import numpy as np
import pytest
import torch

from lipsync.networks.face_detector import Candidates, FaceDetector, anchors, decode, overlaps, suppress
from lipsync.weights import read_weights


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector.pretrained()


@pytest.fixture(scope="module")
def reference(shared) -> dict[str, torch.Tensor]:
    with np.load(shared / "reference" / "faces" / "blazeface_full_sparse.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files if file[name].dtype.kind in "fiu"}


def close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def test_raw_outputs_equal_mediapipes(detector, reference) -> None:
    with torch.inference_mode():
        boxes, scores = detector(reference["inputs"].permute(0, 3, 1, 2) * (2 / 255) - 1)
    close(boxes, reference["raw_boxes"], 1e-3)
    close(scores, reference["raw_scores"][..., 0], 1e-3)


def test_decoding_equals_the_reference(reference) -> None:
    found = decode(reference["raw_boxes"], reference["raw_scores"][..., 0])
    for values, name in zip(found, ("boxes_all", "keypoints_all", "scores_all"), strict=True):
        close(values, reference[name], 1e-5)


@pytest.mark.parametrize("case", ["nms", *(f"det{i}" for i in range(8))])
def test_suppression_equals_the_reference(reference, case) -> None:
    before = "nms_in" if case == "nms" else f"{case}_pre"
    given = Candidates(*(reference[f"{before}_{name}"] for name in Candidates._fields))
    for values, name in zip(suppress(given), Candidates._fields, strict=True):
        close(values, reference[f"{case}_{name}"], 1e-5)


def test_anchors_equal_the_reference(reference) -> None:
    close(anchors(), reference["anchors"], 1e-7)


def test_anchors_are_the_centres_of_cells_rows_first() -> None:
    index = torch.tensor([0, 1, 47, 48, 2303])
    expected = torch.tensor([[0.5, 0.5], [1.5, 0.5], [47.5, 0.5], [0.5, 1.5], [47.5, 47.5]]) / 48
    close(anchors()[index], expected, 1e-7)
    assert anchors().shape == (2304, 2)


def test_decoding_adds_the_anchor_to_points_but_not_to_the_size() -> None:
    raw = torch.zeros(1, 2304, 16)
    raw[0, 49] = torch.tensor([4.0, -4.0, 48.0, 96.0, *([0.0, 0.0] * 5), 8.0, 12.0])
    found = decode(raw, torch.full((1, 2304), -437.0))
    # Cell (1, 1) has its centre at pixel (6, 6); the box's is then (10, 2).
    close(found.boxes[0, 49] * 192, torch.tensor([-14.0, -46.0, 34.0, 50.0]), 1e-4)
    close(found.keypoints[0, 49, [0, 5]] * 192, torch.tensor([[6.0, 6.0], [14.0, 18.0]]), 1e-4)
    assert found.scores.max() == torch.tensor(-100.0).sigmoid()


def test_overlaps_of_boxes_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0], [5.0, 5.0, 6.0, 6.0]])
    close(overlaps(boxes, boxes), torch.tensor([[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1.0]]), 1e-6)


def test_suppression_averages_a_group_by_score_and_keeps_its_best() -> None:
    # B and A overlap by 1/3, C and B by 1/3, C and A not at all: C starts a group of its own.
    boxes = torch.tensor([[4.0, 0.0, 8.0, 4.0], [2.0, 0.0, 6.0, 4.0], [0.0, 0.0, 4.0, 4.0]])
    keypoints = boxes[:, None, :2].expand(-1, 6, -1).contiguous()
    faces = suppress(Candidates(boxes, keypoints, torch.tensor([0.6, 0.8, 0.9])))  # C, B, A
    shift = 2 * 0.8 / 1.7
    close(faces.boxes, torch.tensor([[shift, 0, 4 + shift, 4], [4, 0, 8, 4.0]]), 1e-5)
    close(faces.keypoints[:, 3], torch.tensor([[shift, 0], [4, 0.0]]), 1e-5)
    assert faces.scores.tolist() == pytest.approx([0.9, 0.6])


def test_suppression_of_nothing_is_nothing() -> None:
    faces = suppress(Candidates(torch.zeros(0, 4), torch.zeros(0, 6, 2), torch.zeros(0)))
    assert [tuple(values.shape) for values in faces] == [(0, 4), (0, 6, 2), (0,)]


def test_shipped_weights_are_the_modules(detector) -> None:
    shipped = read_weights("face_detector")
    assert {key: value.shape for key, value in shipped.items()} == {
        key: value.shape for key, value in FaceDetector().state_dict().items()
    }
    assert {value.dtype for value in shipped.values()} == {torch.float16}
    assert all(torch.equal(value.float(), detector.state_dict()[key]) for key, value in shipped.items())
    # The 46 kernels that were stored sparse: about 30 % of each is not zero.
    pointwise = [value for value in shipped.values() if value.shape[2:] == (1, 1) and value.shape[1] > 1]
    density = [float((value != 0).float().mean()) for value in pointwise]
    assert sum(0.29 < share < 0.31 for share in density) == 46


def test_a_batch_equals_single_pictures(detector) -> None:
    pictures = torch.rand(2, 3, 192, 192) * 2 - 1
    with torch.inference_mode():
        together = detector(pictures)
        alone = [detector(picture[None]) for picture in pictures]
    for values, parts in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(values, torch.cat(parts), rtol=1e-5, atol=1e-3)
