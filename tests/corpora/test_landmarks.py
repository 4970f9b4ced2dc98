"""Points against MediaPipe's lists, and the mouth's opening by hand."""

import numpy as np
import pytest
import torch

from lipsync.corpora import landmarks


def test_named_points_lie_where_they_say(shared) -> None:
    reference = np.load(shared / "reference" / "faces" / "facemesh.npz")
    assert {landmarks.BRIDGE, landmarks.NOSE_BASE} <= set(reference["nose"].tolist())
    assert {landmarks.UPPER_LIP, landmarks.LOWER_LIP} <= set(reference["lips_inner"].tolist())
    assert landmarks.CHIN in reference["face_oval"]
    assert tuple(reference["lips_outer"].tolist()) == landmarks.OUTER_LIPS
    assert tuple(reference["lips_inner"].tolist()) == landmarks.INNER_LIPS
    corners = reference["landmarks"][:, landmarks.MOUTH_CORNERS, 0]
    inner = reference["landmarks"][:, landmarks.INNER_LIPS, 0]
    np.testing.assert_allclose(corners.T, [inner.min(1), inner.max(1)], atol=1)


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_mouth_opening_by_hand(make) -> None:
    points = np.zeros((2, 468, 3), np.float32)
    points[:, 168] = [0, 0, 50]
    points[:, 2] = [6, 8, -50]  # nose of 10 px: depth does not count
    points[1, 14] = [3, 4, 9]  # 5 px below the upper lip's point
    opening = landmarks.mouth_opening(make(points))
    assert opening.shape == (2,)
    assert opening.tolist() == pytest.approx([0, 0.5])
    assert landmarks.mouth_opening(make(points[:, :, :2] * 7)).tolist() == pytest.approx([0, 0.5])


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_mouth_aspect_by_hand(make) -> None:
    points = np.zeros((2, 468, 3), np.float32)
    points[:, 308] = [8, 6, 40]  # mouth of 10 px
    points[1, 14] = [0, 4, 3]
    assert landmarks.mouth_aspect(make(points)).tolist() == pytest.approx([0, 0.4])
