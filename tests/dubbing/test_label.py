"""What the output says of itself, in its metadata and in view."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lipsync.dubbing.colour import Colour
from lipsync.dubbing.label import LETTERS, describe, mark, read_label, to_comment
from lipsync.dubbing.read import Format, PlaneFrame


def a_file(path: Path, comment: str, format: str) -> Path:
    with av.open(str(path), "w", format=format) as container:
        if comment:
            container.metadata["comment"] = comment
        stream = container.add_stream("libvpx-vp9" if format == "webm" else "libx264", rate=25)
        stream.width = stream.height = 64
        container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("format", ["mp4", "mov", "matroska", "webm"])
def test_label_is_read_back(tmp_path: Path, format: str) -> None:
    how = {"sampler": "ddim", "steps": 25, "seed": 7}
    label = describe("runs/base/last.ckpt", "0123abcd", "/home/me/talk.mp4", ["a/Ton „eins“.wav", "b.wav"], **how)
    assert label["digital_source_type"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert label["program"].startswith("lipsync ")
    assert (label["checkpoint"], label["fingerprint"]) == ("last.ckpt", "0123abcd")
    assert (label["video"], label["sound"]) == ("talk.mp4", "Ton „eins“.wav, b.wav")
    assert (label["sampler"], label["steps"], label["seed"]) == ("ddim", "25", "7")
    path = a_file(tmp_path / "labelled", to_comment(label, "by me; {not json}"), format)
    assert read_label(path) == label
    # Dubbed again: both say so, the newer one is read.
    again = a_file(tmp_path / "again", to_comment({"seed": "8"}, to_comment(label)), format)
    assert read_label(again) == {"seed": "8"}


@pytest.mark.parametrize("comment", ["", "a holiday", "Synthetic media: a history", 'Synthetic media: ["no", "label"]'])
def test_other_files_have_no_label(tmp_path: Path, comment: str) -> None:
    assert read_label(a_file(tmp_path / "plain", comment, "mp4")) == {}


def a_format(width: int, height: int, planes: str, full: bool = False) -> Format:
    colour = Colour(1, full, 10) if planes.endswith("10le") else Colour(1, full)
    return Format(width, height, planes, colour, {}, Fraction(1, 25), Fraction(25), Fraction(1), None)


def grey(source: Format) -> PlaneFrame:
    across, down = source.subsampling
    kind, unit = (np.uint16, 4) if source.depth == 10 else (np.uint8, 1)
    luma = np.full((source.height, source.width), 100 * unit, kind)
    chroma = [np.full((source.height // down, source.width // across), level * unit, kind) for level in (60, 200)]
    return PlaneFrame(0, Fraction(0), 0, 1, (luma, *chroma))


@pytest.mark.parametrize("planes", ["yuv420p", "yuv444p", "yuv420p10le", "yuv422p10le"])
@pytest.mark.parametrize("full", [False, True])
def test_mark_is_legible_and_small(planes: str, full: bool) -> None:
    source = a_format(640, 360, planes, full)
    frame, unit = grey(source), 4 if source.depth == 10 else 1
    marked = mark(frame, source)
    assert (frame.planes[0] == 100 * unit).all()  # the frame itself may be shown again
    changed = np.argwhere(marked.planes[0] != 100 * unit)
    height, width = changed.max(0) + 1
    assert height < 360 / 12
    assert 640 / 10 < width < 640 / 4
    dark, bright = np.unique(marked.planes[0][:height, :width])
    assert (dark, bright) == ((0, 255 * unit) if full else (16 * unit, 235 * unit))
    # The first letter, at two pixels a dot behind a margin of two dots.
    letter = marked.planes[0][4:18:2, 4:14:2] == bright
    assert [int("".join("01"[dot] for dot in row), 2) for row in letter.tolist()] == list(LETTERS["S"])
    across, down = source.subsampling
    for before, after in zip(frame.planes[1:], marked.planes[1:], strict=True):
        inside = after[: -(-height // down), : -(-width // across)]
        assert (inside == 128 * unit).all()
        assert (before != after).sum() == inside.size
    assert marked.planes[0].dtype == frame.planes[0].dtype


def test_a_narrow_picture_says_ai() -> None:
    source = a_format(96, 80, "yuv420p")
    marked = mark(grey(source), source).planes[0]
    assert (np.argwhere(marked != 100).max(0) + 1).tolist() == [11, 15]
    tiny = a_format(8, 6, "yuv420p")
    assert mark(grey(tiny), tiny).planes[0].shape == (6, 8)
