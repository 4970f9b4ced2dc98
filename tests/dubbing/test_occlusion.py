"""Masks from videos: by the frame's number, in any order."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from lipsync.dubbing.colour import Colour
from lipsync.dubbing.occlusion import open_occlusion
from lipsync.dubbing.read import Format, PlaneFrame, read_format, read_planes
from lipsync.errors import LipsyncError

SOURCE = Format(96, 80, "yuv420p", Colour(5, False), {}, Fraction(1, 25), Fraction(25), Fraction(1), 12)


def frame(number: int) -> PlaneFrame:
    plane = np.zeros((80, 96), np.uint8)
    return PlaneFrame(number, Fraction(number, 25), number, 1, (plane, plane, plane))


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p10le", "yuvj420p"])
def test_masks_by_number_in_any_order(make_video: Callable, pixels: str) -> None:
    path = make_video(pts=range(0, 12 * 512, 512), gop=4, dark=[3, 7], pixels=pixels)
    mask, format = open_occlusion(path, SOURCE), read_format(path)
    black, white = (0, 255) if format.colour.full else (16 * 2 ** (format.depth - 8), 235 * 2 ** (format.depth - 8))
    expected = [
        ((other.planes[0].astype(float) - black) / (white - black)).clip(0, 1) for other in read_planes(path, format)
    ]
    assert expected[3].max() < 0.05 < 0.7 < expected[4].max()
    for number in [0, 1, 2, 2, 5, 11, 10, 9, 3, 7, 7, 8, 0]:
        values = mask(frame(number), SOURCE)
        assert values.shape == (80, 96)
        np.testing.assert_allclose(values, expected[number], atol=1e-5)


def test_a_mask_video_that_does_not_fit(make_video: Callable) -> None:
    with pytest.raises(LipsyncError, match="64 x 48 pixels, the video 96 x 80"):
        open_occlusion(make_video("small.mp4", size=(64, 48)), SOURCE)
    with pytest.raises(LipsyncError, match="no such file"):
        open_occlusion("absent.mp4", SOURCE)
    mask = open_occlusion(make_video(), SOURCE)
    assert mask(frame(9), SOURCE).shape == (80, 96)
    for number in (10, 300):
        with pytest.raises(LipsyncError, match=f"has no frame {number}"):
            mask(frame(number), SOURCE)


def test_functions_are_held_to_the_picture() -> None:
    mask = open_occlusion(lambda frame, source: np.full((80, 96), 2 * frame.number), SOURCE)
    assert mask(frame(0), SOURCE).max() == 0
    assert mask(frame(1), SOURCE).min() == mask(frame(1), SOURCE).max() == 1
    assert open_occlusion(lambda frame, source: None, SOURCE)(frame(0), SOURCE) is None
