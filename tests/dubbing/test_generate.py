"""Crops, references, mels and noise as they reach the model."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from lipsync.corpora.crop import crop
from lipsync.corpora.mel import log_mel
from lipsync.dubbing.colour import Colour
from lipsync.dubbing.generate import CHUNK, face_squares, generate
from lipsync.dubbing.read import Format, PlaneFrame, read_format, read_planes
from lipsync.dubbing.track import Plan, plan


class Recorder:
    """Keeps what it is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, ...]] = []

    def __call__(self, *arguments: Tensor) -> Tensor:
        self.calls.append(arguments)
        return arguments[0]


def ramp_frame(height: int = 80, width: int = 96) -> tuple[PlaneFrame, Format]:
    """Luma is 50 + column + row / 2 at pixel centres, chroma the same at its own sites; both full range."""
    source = Format(width, height, "yuv420p", Colour(1, True), {}, Fraction(1, 25), Fraction(25), Fraction(1), None)
    y, x = np.mgrid[:height, :width] + 0.5
    luma = 50 + x // 1 + y // 2
    chroma = np.tile(60 + np.arange(0, width, 2), (height // 2, 1))  # at the luma columns 0, 2, ...
    return PlaneFrame(Fraction(0), 0, 1, tuple(p.astype(np.uint8) for p in (luma, chroma, chroma))), source


def test_chroma_of_a_square_lies_on_its_luma() -> None:
    """A chroma ramp along x, sampled at the luma's columns by its left siting, is the luma ramp's twin."""
    frame, source = ramp_frame()
    box = torch.tensor([[16.0, 48.0, 20.0, 52.0]])
    rgb = face_squares([frame], box, source, 32, "cpu")
    # Full-range BT.709: R - Y = 1.5748 (Cr - 128), in [-1, 1] twice that over 255.
    columns = torch.arange(20, 52)
    cr = 60.0 + columns
    rows = torch.arange(16, 48)
    luma = 50.0 + columns + (rows // 2)[:, None]
    red = ((luma + 1.5748 * (cr - 128)) / 127.5 - 1).clamp(-1, 1)
    torch.testing.assert_close(rgb[0, 0], red, atol=1e-4, rtol=0)


@pytest.mark.parametrize("box", [(10.3, 70.3, 20.6, 80.6), (-12.0, 40.0, -5.5, 46.5), (40.0, 130.0, 30.0, 120.0)])
def test_squares_equal_the_one_crop_of_the_whole_picture(box: tuple[float, ...]) -> None:
    """Grey picture: cutting out before cropping changes nothing, also beyond the edges and where the box is large."""
    rng = np.random.default_rng(0)
    luma, grey = rng.integers(0, 256, (80, 96)).astype(np.uint8), np.full((40, 48), 128, np.uint8)
    source = ramp_frame()[1]
    frame, boxes = PlaneFrame(Fraction(0), 0, 1, (luma, grey, grey)), torch.tensor([box])
    ours = face_squares([frame], boxes, source, 32, "cpu")
    whole = crop(torch.from_numpy(luma)[None, None], boxes, 32, int(np.ceil((box[1] - box[0]) / 32)))
    torch.testing.assert_close(ours, (whole / 127.5 - 1).expand(1, 3, -1, -1), atol=1e-4, rtol=0)


def test_what_the_model_is_given(make_video: Callable, still_face: type) -> None:
    """30000/1001 frames a second: the mel of each frame begins at floor(80 max(tau - 0.04, 0))."""
    count = 2 * CHUNK + 5
    path = make_video(pts=range(0, count * 1001, 1001), time_base=Fraction(1, 30000))
    source = read_format(path)
    sound = np.random.default_rng(0).normal(0, 3000, 40_000).astype(np.int16)
    planned = plan(read_planes(path, source), source, still_face())
    paint = Recorder()
    chunks = list(generate(read_planes(path, source), planned, path, source, sound, paint, 32))
    assert [len(chunk.frames) for chunk in chunks] == [CHUNK, CHUNK, 5]

    squares, references, mels = zip(*paint.calls, strict=True)
    whole = log_mel(torch.from_numpy(sound)[None] / 32768)[0]
    first = [int(80 * max(Fraction(1001 * k, 30000) - Fraction(1, 25), 0)) for k in range(count)]
    expected = torch.stack([whole[:, column : column + 16] for column in first])
    torch.testing.assert_close(torch.cat(mels), expected, atol=1e-4, rtol=0)
    # The reference is the crop of its own frame, the same for every chunk.
    number = planned.references[0][0]
    torch.testing.assert_close(references[0], torch.cat(squares)[[number]])
    assert all(torch.equal(reference, references[0]) for reference in references)


def test_each_track_has_its_reference_and_no_chunk_mixes_tracks(make_video: Callable) -> None:
    path = make_video(pts=range(0, 12 * 512, 512))
    source = read_format(path)
    frames = list(read_planes(path, source))
    tracks = np.array([1, 1, 1, -1, -1, 0, 0, 0, 0, 0, -1, 0])
    boxes = torch.tensor([10.0, 50.0, 10.0, 50.0]).repeat(12, 1)
    planned = Plan(boxes, tracks, [(7, frames[7].pts), (1, frames[1].pts)])
    paint = Recorder()
    sound = np.zeros(16_000, np.int16)
    chunks = list(generate(iter(frames), planned, path, source, sound, paint, 32))
    assert [len(chunk.frames) for chunk in chunks] == [3, 2, 5, 1, 1]
    assert [chunk.squares is None for chunk in chunks] == [False, True, False, True, False]
    assert [frame.pts for chunk in chunks for frame in chunk.frames] == [frame.pts for frame in frames]
    seventh, first = (face_squares([frames[k]], boxes[:1], source, 32, "cpu") for k in (7, 1))
    for call, expected in zip(paint.calls, [first, seventh, seventh], strict=True):
        torch.testing.assert_close(call[1], expected)
