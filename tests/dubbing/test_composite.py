"""Squares back in the planes: resampling, mask, and bytes that must not change."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from lipsync.dubbing.colour import Colour, plane_boxes
from lipsync.dubbing.composite import FEATHER, _ramp, composite, resampling
from lipsync.dubbing.generate import Chunk, face_squares
from lipsync.dubbing.read import Format, PlaneFrame


def scene(count: int, width: int = 160, height: int = 120, planes: str = "yuv420p") -> tuple[list[PlaneFrame], Format]:
    """Smooth moving planes in the limited range of BT.601."""
    source = Format(width, height, planes, Colour(5, False), {}, Fraction(1, 25), Fraction(25), Fraction(1), count)

    def plane(number: int, level: float, amplitude: float, step: int) -> np.ndarray:
        y, x = np.mgrid[:height:step, :width:step]
        return (level + amplitude * np.sin(x / 9 + number / 3) * np.cos(y / 8)).round().astype(np.uint8)

    step = 2 if source.halved else 1
    frames = [
        PlaneFrame(Fraction(k, 25), k, 1, (plane(k, 120, 60, 1), plane(k, 128, 20, step), plane(k + 2, 128, 20, step)))
        for k in range(count)
    ]
    return frames, source


def copies(frames: list[PlaneFrame]) -> list[list[np.ndarray]]:
    return [[plane.copy() for plane in frame.planes] for frame in frames]


def drifting_boxes(count: int, side: float, y: float = 60.3, x: float = 80.7) -> torch.Tensor:
    shift = 0.37 * torch.arange(count)
    return torch.stack([y - side / 2 - shift, y + side / 2 - shift, x - side / 2 + shift, x + side / 2 + shift], dim=1)


@pytest.mark.parametrize("planes", ["yuv420p", "yuv444p"])
@pytest.mark.parametrize(("side", "size"), [(64.0, 64), (88.5, 64), (50.0, 96)])
def test_own_squares_leave_the_picture(planes: str, side: float, size: int) -> None:
    frames, source = scene(4, planes=planes)
    before, boxes = copies(frames), drifting_boxes(4, side)
    squares = face_squares(frames, boxes, source, size, "cpu")
    assert list(composite([Chunk(frames, boxes, squares)], source)) == frames
    for frame, planes_before in zip(frames, before, strict=True):
        for plane, old, allowed in zip(frame.planes, planes_before, (3, 2, 2), strict=True):
            assert np.abs(plane.astype(int) - old).max() <= allowed
            assert np.abs(plane.astype(int) - old).mean() < 0.25


@pytest.mark.parametrize("planes", ["yuv420p", "yuv444p"])
def test_only_the_lower_half_of_the_box_is_touched(planes: str) -> None:
    frames, source = scene(3, planes=planes)
    before, boxes = copies(frames), drifting_boxes(3, 70.0)
    white = torch.ones(3, 3, 64, 64)
    list(composite([Chunk(frames, boxes, white)], source))
    for number, frame in enumerate(frames):
        for plane, (frame_plane, plane_box) in enumerate(
            zip(frame.planes, plane_boxes(boxes, source.halved), strict=True)
        ):
            y0, y1, x0, x1 = plane_box[number].tolist()
            y, x = (np.mgrid[: frame_plane.shape[0], : frame_plane.shape[1]]) + 0.5
            inside = (y > (y0 + y1) / 2) & (y < y1) & (x > x0) & (x < x1)
            assert np.array_equal(frame_plane[~inside], before[number][plane][~inside])
            # Where the mask is 1 there is white.
            border = FEATHER * (y1 - y0)
            deep = (y > (y0 + y1) / 2 + border) & (y < y1 - border) & (x > x0 + border) & (x < x1 - border)
            assert set(frame_plane[deep]) == {235 if plane == 0 else 128}


def test_feather_is_a_smooth_step_inside_the_painted_half() -> None:
    """A white half on black full-range luma shows the mask itself: 255 t^2 (3 - 2 t) below the middle row."""
    luma, grey = np.zeros((200, 200), np.uint8), np.full((100, 100), 128, np.uint8)
    source = scene(1)[1]._replace(colour=Colour(5, True), width=200, height=200)
    frame, boxes = PlaneFrame(Fraction(0), 0, 1, (luma, grey, grey)), torch.tensor([[0.0, 200.0, 0.0, 200.0]])
    list(composite([Chunk([frame], boxes, torch.ones(1, 3, 50, 50))], source))
    t = ((np.arange(200) + 0.5 - 100) / (200 * FEATHER)).clip(0, 1)
    column = 255 * t**2 * (3 - 2 * t)
    assert np.array_equal(luma[:180, 100], np.rint(column[:180]).astype(np.uint8))
    assert luma[100, 100] == round(255 * 0.05**2 * (3 - 2 * 0.05))
    assert luma[99].max() == 0
    assert luma[199].max() < 3
    assert _ramp(torch.tensor([-1.0, 0.0, FEATHER / 2, FEATHER, 1.0])).tolist() == pytest.approx([0, 0, 0.5, 1, 1])


def test_box_beyond_the_picture() -> None:
    frames, source = scene(1)
    before = copies(frames)
    boxes = torch.tensor([[70.0, 150.0, -30.0, 50.0]])
    list(composite([Chunk(frames, boxes, torch.ones(1, 3, 64, 64))], source))
    luma = frames[0].planes[0]
    assert (luma[115:, :45] == 235).all()  # down to the picture's corner: no feather beyond its edge
    assert np.array_equal(luma[:110], before[0][0][:110])


def test_frames_without_a_face_pass_through() -> None:
    frames, source = scene(2)
    before = copies(frames)
    assert list(composite([Chunk(frames, None, None)], source)) == frames
    assert all(
        np.array_equal(a, b) for f, old in zip(frames, before, strict=True) for a, b in zip(f.planes, old, strict=True)
    )


def unit(pixels: int) -> torch.Tensor:
    return ((torch.arange(pixels) + 0.5) / pixels)[None]


def test_resampling_at_scale_one_is_the_identity() -> None:
    torch.testing.assert_close(resampling(unit(16), 16)[0], torch.eye(16), atol=1e-6, rtol=0)


@pytest.mark.parametrize("pixels", [7, 16, 40])
def test_resampling_keeps_constants_and_lines(pixels: int) -> None:
    weights = resampling(unit(pixels), 16)[0]
    torch.testing.assert_close(weights.sum(1), torch.ones(pixels))
    ends = max(1, pixels // 4)  # there the edge repeats
    line = weights @ (torch.arange(16) + 0.5)
    torch.testing.assert_close(line[ends:-ends], 16 * unit(pixels)[0, ends:-ends], atol=0.06, rtol=0)


def test_shrinking_does_not_alias() -> None:
    """The finest stripes, four to a pixel, come out grey."""
    stripes = torch.tensor([0.0, 1.0]).repeat(32)
    shrunk = resampling(unit(16), 64)[0] @ stripes
    torch.testing.assert_close(shrunk[2:-2], torch.full((12,), 0.5), atol=0.01, rtol=0)
