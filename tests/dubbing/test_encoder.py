"""Encoders that follow the source, and what their qualities keep."""

import os
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lipsync.dubbing.colour import Colour
from lipsync.dubbing.encoder import add_picture, choose_encoder
from lipsync.dubbing.read import Format, PlaneFrame, read_format, read_planes, to_video_frame
from lipsync.errors import LipsyncError

CODECS = ("h264", "hevc", "vp9", "av1")


def a_format(codec: str, planes: str = "yuv420p", bit_rate: int | None = None) -> Format:
    colour = Colour(1, False, 10) if planes.endswith("10le") else Colour(1, False)
    tags = {"colorspace": 1, "color_range": 1, "color_primaries": 1, "color_trc": 1}
    rate = (Fraction(1, 25), Fraction(25), Fraction(1), None)
    return Format(96, 80, planes, colour, tags, *rate, codec, bit_rate)


def pictures(source: Format, count: int = 8, grain: float = 3) -> Iterator[PlaneFrame]:
    """Waves that move, with grain."""
    rng, (across, down) = np.random.default_rng(0), source.subsampling
    unit, kind = (4, np.uint16) if source.depth == 10 else (1, np.uint8)
    for number in range(count):
        planes = []
        for width, height in ((source.width, source.height), *[(source.width // across, source.height // down)] * 2):
            y, x = np.mgrid[:height, :width]
            waves = 120 + 60 * np.sin(x / 9 + number / 5) * np.cos(y / 8 - number / 7)
            planes.append(((waves + rng.normal(0, grain, waves.shape)).clip(16, 235) * unit).astype(kind))
        yield PlaneFrame(number, Fraction(number, 25), number, 1, tuple(planes))


def encoded(path: Path, source: Format, quality: str, frames: list[PlaneFrame]) -> list[PlaneFrame]:
    """Writes frames and reads them again."""
    with av.open(str(path), "w") as container:
        stream = add_picture(container, choose_encoder(source, quality, path.suffix), source)
        for frame in frames:
            container.mux(stream.encode(to_video_frame(frame, source)))
        container.mux(stream.encode(None))
    return list(read_planes(path, read_format(path)))


def policies() -> set[int]:
    """How the kernel schedules this process's threads."""
    return {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="root alone may make threads real-time ones")
def test_no_encoder_makes_threads_that_starve_all_others(tmp_path: Path) -> None:
    before = policies()
    for codec in CODECS:
        source = a_format(codec)
        with av.open(str(tmp_path / f"{codec}.mp4"), "w") as container:
            stream = add_picture(container, choose_encoder(source, "source", ".mp4"), source)
            for frame in pictures(source):
                container.mux(stream.encode(to_video_frame(frame, source)))
                assert policies() == before
            container.mux(stream.encode(None))
    assert policies() == before


def psnr(before: list[PlaneFrame], after: list[PlaneFrame], peak: int) -> float:
    errors = [(a.planes[0].astype(float) - b.planes[0]) ** 2 for a, b in zip(before, after, strict=True)]
    return 10 * np.log10(peak**2 / np.mean(errors))


@pytest.mark.parametrize(
    ("codec", "suffix", "encoder"),
    [
        ("h264", ".mp4", "libx264"),
        ("hevc", ".mkv", "libx265"),
        ("vp9", ".mov", "libvpx-vp9"),
        ("libdav1d", ".mp4", "libsvtav1"),
        ("mpeg4", ".mp4", "libx264"),
        ("mpeg1video", ".mkv", "libx264"),
        ("h264", ".webm", "libvpx-vp9"),
        ("libdav1d", ".webm", "libsvtav1"),
    ],
)
def test_codec_follows_the_source(codec: str, suffix: str, encoder: str, capsys: pytest.CaptureFixture) -> None:
    assert choose_encoder(a_format(codec), "source", suffix).name == encoder
    assert capsys.readouterr().out == ""


def test_planes_that_the_codec_has_not(capsys: pytest.CaptureFixture) -> None:
    assert choose_encoder(a_format("vp9", "yuv420p10le"), "source", ".mp4").name == "libx264"
    assert capsys.readouterr().out == "encoded as h264, for vp9 cannot be written into .mp4 with yuv420p10le\n"
    assert choose_encoder(a_format("vp9", "yuv420p10le"), "source", ".webm").name == "libsvtav1"
    with pytest.raises(LipsyncError, match=r"\.webm cannot hold yuv422p10le, .* choose \.mp4"):
        choose_encoder(a_format("vp9", "yuv422p10le"), "source", ".webm")
    narrow = a_format("vp9")._replace(aspect=Fraction(4, 3))
    assert choose_encoder(narrow, "source", ".mp4").name == "libvpx-vp9"
    assert choose_encoder(narrow, "source", ".mkv").name == "libx264"
    with pytest.raises(LipsyncError, match=r"\.webm cannot hold pixels of 4/3"):
        choose_encoder(narrow, "source", ".webm")
    with pytest.raises(LipsyncError, match="'best' is none of source, near_lossless, lossless"):
        choose_encoder(a_format("h264"), "best", ".mp4")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("planes", ["yuv420p", "yuv444p", "yuv422p10le"])
def test_lossless_is_bit_exact(tmp_path: Path, codec: str, planes: str) -> None:
    source = a_format(codec, planes)
    frames = list(pictures(source))
    for before, after in zip(frames, encoded(tmp_path / "a.mkv", source, "lossless", frames), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(before.planes, after.planes, strict=True))


@pytest.mark.parametrize("grain", [1, 20])
@pytest.mark.parametrize("codec", CODECS)
def test_near_lossless_is_above_50_db(tmp_path: Path, codec: str, grain: float) -> None:
    source = a_format(codec)
    frames = list(pictures(source, grain=grain))
    assert psnr(frames, encoded(tmp_path / "a.mp4", source, "near_lossless", frames), 255) >= 50


@pytest.mark.parametrize("codec", CODECS)
def test_source_quality_is_good_and_does_not_bloat(tmp_path: Path, codec: str) -> None:
    """Grain, which costs, at a bit rate that suffices, and at a fifth of it."""
    source = a_format(codec)
    frames = list(pictures(source, 100))
    assert psnr(frames, encoded(tmp_path / "free.mp4", source, "source", frames), 255) > 38
    free = (tmp_path / "free.mp4").stat().st_size
    encoded(tmp_path / "capped.mp4", source._replace(bit_rate=free * 8 // 4 // 10), "source", frames)
    assert (tmp_path / "capped.mp4").stat().st_size < 0.3 * free


@pytest.mark.parametrize("codec", CODECS)
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, codec: str) -> None:
    source = a_format(codec, bit_rate=200_000)._replace(width=320, height=240)  # large enough to be shared by threads
    frames, written = list(pictures(source, 40)), set()
    for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4"):
        encoded(tmp_path / name, source, "source", frames)
        written.add((tmp_path / name).read_bytes())
    assert len(written) == 1
