"""The mask against a half disc, whose distances are known."""

import numpy as np
import pytest
import torch

from lipsync.dubbing.matte import FEATHER, edge_distances, jaw_spans, matte


def chin(x: float, y: float, radius: float, points: int = 21) -> torch.Tensor:
    """A jaw (points, 2) that is the lower half of a circle."""
    angles = torch.linspace(torch.pi, 0, points)
    return torch.stack([x + radius * angles.cos(), y + radius * angles.sin()], dim=1)


def pixels(count: int) -> np.ndarray:
    return (np.arange(count, dtype=np.float32) + 0.5) / count


def masks(outlines: torch.Tensor, boxes: torch.Tensor, size: int = 200) -> np.ndarray:
    distances = edge_distances(outlines, boxes).numpy()
    return np.stack([matte(each, pixels(size), pixels(size)) for each in distances])


def ramp(inside: np.ndarray) -> np.ndarray:
    t = (inside / FEATHER).clip(0, 1)
    return t * t * (3 - 2 * t)


def test_mask_follows_the_distance_to_the_jaw() -> None:
    """Around a chin with radius 0.3 of the box, its centre on the middle row."""
    boxes = torch.tensor([[100.0, 300.0, 50.0, 250.0]])
    mask = masks(chin(150, 200, 60)[None], boxes)[0]
    y, x = np.meshgrid(pixels(200), pixels(200), indexing="ij")
    inside = 0.3 - np.sqrt((y - 0.5) ** 2 + (x - 0.5) ** 2)
    expected = ramp(np.minimum(inside, y - 0.5))
    assert np.abs(mask - expected).mean() < 0.002
    assert np.abs(mask - expected).max() < 0.2  # 21 corners are no circle, and in the grid's cells edges meet bluntly
    assert (mask[inside < -0.005] == 0).all()
    assert (mask[y <= 0.5] == 0).all()
    assert (mask[(inside > FEATHER + 0.02) & (y > 0.5 + FEATHER + 0.02)] == 1).all()
    assert (mask == 1).sum() > 1000


def test_mask_ends_at_the_box() -> None:
    """A jaw that is wider and deeper than the box leaves the box's own edges."""
    mask = masks(chin(100, 100, 300)[None], torch.tensor([[0.0, 200.0, 0.0, 200.0]]), 400)[0]
    t = pixels(400)
    expected = ramp(np.minimum(np.minimum(t - 0.5, 1 - t)[:, None], np.minimum(t, 1 - t)))
    assert np.abs(mask - expected).max() < 0.15
    np.testing.assert_allclose(mask[230:360, 40:360], expected[230:360, 40:360], atol=1e-5)
    assert mask[200:, [0, -1]].max() < 0.001
    assert mask[-1].max() < 0.001
    assert mask[300, 200] == 1


def test_faces_are_masked_each_by_itself_at_any_size() -> None:
    jaws = torch.stack([chin(150, 200, 60), 3 * chin(150, 200, 60), chin(140, 210, 50)])
    boxes = torch.tensor([[100.0, 300.0, 50.0, 250.0], [300.0, 900.0, 150.0, 750.0], [100.0, 300.0, 50.0, 250.0]])
    together = masks(jaws, boxes)
    np.testing.assert_allclose(together[0], together[1], atol=1e-4)
    for face in range(3):
        assert np.array_equal(masks(jaws[face : face + 1], boxes[face : face + 1])[0], together[face])


def test_ears_below_the_middle_row_and_a_crossed_outline() -> None:
    """Above the ears all is inside, also of a profile, whose points run back over themselves."""
    boxes = torch.tensor([[0.0, 200.0, 0.0, 200.0]])
    low = masks(chin(100, 120, 60)[None], boxes)[0]
    assert low[118, 60:140].min() == low[122, 60:140].min() == 1
    back = torch.cat([chin(100, 100, 60, 13), chin(100, 100, 50, 13)[[11, 9, 7]], chin(100, 100, 60, 13)[[8, 10, 12]]])
    crossed = masks(back[None], boxes)[0]
    assert crossed[130, 100] == 1
    assert crossed[197].max() == 0


def test_spans_hold_the_mask() -> None:
    jaws, boxes = chin(110, 100, 60)[None], torch.tensor([[0.0, 200.0, 0.0, 200.0]])
    left, right = jaw_spans(jaws, boxes)[0].tolist()
    assert (left, right) == (pytest.approx(0.25), pytest.approx(0.85))
    painted = pixels(200)[masks(jaws, boxes)[0].max(0) > 0]
    assert left < painted.min() < left + 0.02
    assert right - 0.02 < painted.max() < right
