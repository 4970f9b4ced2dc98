"""Crops, references, mels and noise as they reach the model."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lipsync.corpora.crop import crop
from lipsync.corpora.landmarks import JAW
from lipsync.corpora.mel import log_mel
from lipsync.dubbing.colour import Colour
from lipsync.dubbing.generate import BATCH, face_squares, generate
from lipsync.dubbing.painted import Painted
from lipsync.dubbing.plan import Plan
from lipsync.dubbing.read import Format, PlaneFrame, read_format, read_planes
from lipsync.dubbing.voices import Voice
from lipsync.sound import write_wav


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
    return PlaneFrame(0, Fraction(0), 0, 1, tuple(p.astype(np.uint8) for p in (luma, chroma, chroma))), source


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
    frame, boxes = PlaneFrame(0, Fraction(0), 0, 1, (luma, grey, grey)), torch.tensor([box])
    ours = face_squares([frame], boxes, source, 32, "cpu")
    whole = crop(torch.from_numpy(luma)[None, None], boxes, 32, int(np.ceil((box[1] - box[0]) / 32)))
    torch.testing.assert_close(ours, (whole / 127.5 - 1).expand(1, 3, -1, -1), atol=1e-4, rtol=0)


def test_a_square_does_not_depend_on_the_others() -> None:
    """A small face beside a large one, which is sampled more finely, is bit for bit what it is alone."""
    frame, source = ramp_frame()
    noise = np.random.default_rng(0).integers(0, 256, (80, 96)).astype(np.uint8)
    frame = frame._replace(planes=(noise, *frame.planes[1:]))
    boxes = torch.tensor([[10.3, 30.3, 20.6, 40.6], [2.0, 78.0, 5.0, 81.0], [12.3, 32.3, 50.6, 70.6]])
    together = face_squares([frame] * 3, boxes, source, 32, "cpu")
    for place in range(3):
        assert torch.equal(together[[place]], face_squares([frame], boxes[[place]], source, 32, "cpu"))


@pytest.fixture
def voice(tmp_path: Path) -> Callable[..., Voice]:
    def made(samples: np.ndarray, lead: Fraction = Fraction(0)) -> Voice:
        wav = tmp_path / f"voice{len(list(tmp_path.iterdir()))}.wav"
        write_wav(wav, samples)
        return Voice("a.wav", wav, lead)

    return made


def stretch(first: int, count: int, number: int = 0, sound: int = 0, reference: int = -1, x: float = 10.0) -> Painted:
    """A face of 40 pixels that moves down a pixel a frame."""
    boxes = torch.tensor([10.0, 50.0, x, x + 40]).repeat(count, 1)
    boxes[:, :2] += torch.arange(first, first + count)[:, None] % 8
    weights = torch.linspace(0.5, 1, count)
    return Painted(first, boxes, torch.zeros(count, len(JAW), 2) + first, number, sound, reference, weights)


def times(path: str, source: Format) -> np.ndarray:
    return np.array([frame.pts for frame in read_planes(path, source)])


@pytest.mark.parametrize("lead", [Fraction(0), Fraction(1, 3), Fraction(-1, 7)])
def test_what_the_model_is_given(make_video: Callable, voice: Callable, lead: Fraction) -> None:
    """30000/1001 frames a second: the mel of each frame begins at floor(80 max(tau - 0.04, 0))."""
    count = 2 * BATCH + 5
    path = make_video(pts=range(0, count * 1001, 1001), time_base=Fraction(1, 30000))
    source = read_format(path)
    sound = np.random.default_rng(0).normal(0, 3000, 40_000).astype(np.int16)
    planned = Plan([stretch(0, count, reference=7)], [])
    paint = Recorder()
    pts = times(path, source)
    chunks = list(generate(read_planes(path, source), planned, pts, path, source, [voice(sound, lead)], paint, 32))
    assert [len(chunk.frames) for chunk in chunks] == [BATCH, BATCH, 5]

    squares, references, mels = zip(*paint.calls, strict=True)
    whole = log_mel(torch.from_numpy(sound)[None] / 32768)[0]
    first = [int(80 * max(Fraction(1001 * k, 30000) + lead - Fraction(1, 25), 0)) for k in range(count)]
    expected = torch.stack([whole[:, column : column + 16] for column in first])
    torch.testing.assert_close(torch.cat(mels), expected, atol=1e-4, rtol=0)
    # The reference is the crop of its own frame, the same for every chunk.
    assert all(torch.equal(reference, torch.cat(squares)[[7]].expand_as(reference)) for reference in references)
    # What the composite is given is of the frames in the chunk.
    for chunk, start in zip(chunks, (0, BATCH, 2 * BATCH), strict=True):
        span = slice(start, start + len(chunk.frames))
        assert torch.equal(chunk.boxes, planned.faces[0].boxes[span])
        assert torch.equal(chunk.outlines, planned.faces[0].outlines[span])
        assert torch.equal(chunk.weights, planned.faces[0].weights[span])
        assert chunk.owners.tolist() == list(range(len(chunk.frames)))


def test_a_resumed_dub_has_the_same_batches(
    make_video: Callable, voice: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lipsync.dubbing.segments.SEGMENT", 20)
    path = make_video(pts=range(0, 45 * 512, 512))
    source = read_format(path)
    pts, sound, sizes = times(path, source), voice(np.zeros(16_000, np.int16)), []
    for first in (0, 20):
        paint, frames = Recorder(), read_planes(path, source, (first, int(pts[first])))
        list(generate(frames, Plan([stretch(0, 45)], []), pts, path, source, [sound], paint, 32))
        sizes.append([len(squares) for squares, _, _ in paint.calls])
    assert sizes == [[16, 4, 16, 4, 5], [16, 4, 5]]


def test_batches_run_across_faces_and_cuts(make_video: Callable, voice: Callable) -> None:
    """Each face in a batch has its own reference and its own sound; frames without one ride along."""
    count = 14
    path = make_video(pts=range(0, count * 512, 512))
    source = read_format(path)
    frames = list(read_planes(path, source))
    faces = [
        stretch(0, 3, number=0, reference=1),
        stretch(2, 6, number=1, sound=1, reference=-1, x=30.0),
        stretch(5, 4, number=2, reference=12, x=20.0),
        stretch(11, 3, number=2, reference=12, x=20.0),
    ]
    rng = np.random.default_rng(0)
    sounds = [rng.normal(0, 3000, 16_000).astype(np.int16) for _ in range(2)]
    paint = Recorder()
    voices = [voice(sounds[0]), voice(sounds[1])]
    pts = times(path, source)
    chunks = list(generate(iter(frames), Plan(faces, []), pts, path, source, voices, paint, 32))
    assert [frame.pts for chunk in chunks for frame in chunk.frames] == [frame.pts for frame in frames]
    assert len(chunks) == len(paint.calls) == 1
    expected = [(n, k) for n in range(count) for k, f in enumerate(faces) if f.first <= n < f.last]
    assert chunks[0].owners.tolist() == [number for number, _ in expected]

    whole = [log_mel(torch.from_numpy(sound)[None] / 32768)[0] for sound in sounds]
    squares, references, mels = paint.calls[0]
    for place, (number, k) in enumerate(expected):
        face, column = faces[k], int(80 * max(Fraction(number, 25) - Fraction(1, 25), 0))
        own = face_squares([frames[number]], face.boxes[[number - face.first]], source, 32, "cpu")[0]
        torch.testing.assert_close(squares[place], own, atol=1e-5, rtol=0)
        torch.testing.assert_close(mels[place], whole[face.voice][:, column : column + 16], atol=1e-4, rtol=0)
        shown = {1: (1, faces[0]), 12: (12, faces[3]), -1: (number, face)}[face.reference]
        still = face_squares([frames[shown[0]]], shown[1].boxes[[shown[0] - shown[1].first]], source, 32, "cpu")[0]
        torch.testing.assert_close(references[place], still, atol=1e-5, rtol=0)


def test_many_faces_are_painted_a_batch_at_a_time_and_none_pass(make_video: Callable, voice: Callable) -> None:
    path = make_video(pts=range(0, 40 * 512, 512))
    source = read_format(path)
    crowd = [stretch(38, 2, number=k) for k in range(BATCH + 3)]
    paint, sound = Recorder(), voice(np.zeros(16_000, np.int16))
    pts = times(path, source)
    chunks = list(generate(read_planes(path, source), Plan(crowd, []), pts, path, source, [sound], paint, 32))
    assert [(len(chunk.frames), len(chunk.owners)) for chunk in chunks] == [(16, 0), (16, 0), (7, 19), (1, 19)]
    assert [len(squares) for squares, _, _ in paint.calls] == [16, 3, 16, 3]
    assert chunks[2].squares.shape == (19, 3, 32, 32)
