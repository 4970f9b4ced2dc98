"""What a player sees of the written file: time stamps, tags, sound in step, and no half-written file."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lipsync.dubbing.read import PlaneFrame, read_format, read_planes
from lipsync.dubbing.write import write
from lipsync.errors import LipsyncError


def pts_of(path: str | Path) -> list[int]:
    with av.open(str(path)) as container:
        return [frame.pts for frame in container.decode(video=0)]


def sound_of(path: str | Path) -> tuple[np.ndarray, int]:
    """(channels, samples) float and the rate."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return np.concatenate([frame.to_ndarray() for frame in container.decode(stream)], axis=1), stream.rate


def lag(heard: np.ndarray, original: np.ndarray) -> int:
    """Samples by which `heard` is late."""
    length = min(len(heard), len(original))
    spectrum = np.fft.rfft(heard[:length], 2 * length) * np.fft.rfft(original[:length], 2 * length).conj()
    peak = int(np.fft.irfft(spectrum).argmax())
    return peak - 2 * length * (peak > length)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "MKV"])
def test_variable_rate_keeps_its_time_stamps(
    make_video: Callable, make_sound: Callable, tmp_path: Path, suffix: str
) -> None:
    pts = [507, 1531, 2043, 2555, 3579, 4091]
    path = make_video(pts=pts, time_base=Fraction(1, 15360), aspect=Fraction(4, 3))
    source, out = read_format(path), tmp_path / f"out.{suffix}"
    end = write(out, read_planes(path, source), source, make_sound(1.0))
    # The last frame lasts one frame at the average rate, as nothing follows it.
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 96, 80)
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        times = [frame.pts * stream.time_base for frame in container.decode(stream)]
        if suffix != "MKV":
            assert stream.time_base == Fraction(1, 15360)
            voice = container.streams.audio[0]
            assert abs(voice.duration * voice.time_base - end) <= Fraction(1, 1000)  # edit lists count milliseconds
    exact = [Fraction(p - 507, 15360) for p in pts]
    if suffix == "MKV":  # its clock ticks in milliseconds
        exact = [Fraction(round(1000 * time), 1000) for time in exact]
    assert times == exact
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    "tags",
    [
        {"colorspace": 1, "color_range": 1, "color_primaries": 1, "color_trc": 1},
        {"colorspace": 6, "color_range": 2, "color_primaries": 6, "color_trc": 6},
        {"colorspace": 2, "color_range": 0, "color_primaries": 2, "color_trc": 2},
    ],
)
def test_tags_and_pixels_are_the_sources(
    make_video: Callable, make_sound: Callable, tmp_path: Path, tags: dict
) -> None:
    path = make_video(tags=tags)
    source, out = read_format(path), tmp_path / "out.mp4"
    write(out, read_planes(path, source), source, make_sound(1.0))
    with av.open(str(out)) as container:
        context = container.streams.video[0].codec_context
        assert {name: int(getattr(context, name)) for name in tags} == tags
    again = read_planes(out, read_format(out))
    for before, after in zip(read_planes(path, source), again, strict=True):
        assert np.abs(before.planes[0].astype(int) - after.planes[0]).mean() < 2


def test_the_last_frame_lasts_as_long_as_in_the_source(
    make_video: Callable, make_sound: Callable, tmp_path: Path
) -> None:
    path = make_video()
    source, out = read_format(path), tmp_path / "out.mp4"
    *frames, last = read_planes(path, source)
    write(out, [*frames, last._replace(duration=2560)], source, make_sound(1.0))
    with av.open(str(out)) as container:
        assert container.streams.video[0].duration == 9 * 512 + 2560


def test_odd_size_stays(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    path = make_video("odd.mkv", size=(95, 79), codec="ffv1")
    source, out = read_format(path), tmp_path / "out.mp4"
    write(out, read_planes(path, source), source, make_sound(1.0))
    with av.open(str(out)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (95, 79)


@pytest.mark.parametrize(("rate", "written"), [(44_100, 44_100), (48_000, 48_000), (37_800, 48_000)])
def test_stereo_sound_stays_in_step(make_video: Callable, tmp_path: Path, rate: int, written: int) -> None:
    """Two channels, their rate where AAC has it, no delay, and an end with the picture's."""
    rng = np.random.default_rng(0)
    samples = np.repeat(rng.normal(0, 3000, (2 * rate // 30, 2)), 30, axis=0)[: 2 * rate].astype(np.int16)
    with av.open(str(tmp_path / "stereo.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    path = make_video(pts=range(0, 37 * 512, 512))
    source, out = read_format(path), tmp_path / "out.mp4"
    end = write(out, read_planes(path, source), source, tmp_path / "stereo.wav")
    assert end == Fraction(37, 25)
    heard, heard_rate = sound_of(out)
    assert (heard_rate, heard.shape[0]) == (written, 2)
    with av.open(str(out)) as container:
        # AAC's last packet is longer; the container says where it ends.
        assert container.streams.audio[0].duration == end * written
    for channel in range(2):
        times = np.arange(heard.shape[1]) * rate / written
        original = np.interp(times, np.arange(len(samples)), samples[:, channel])
        assert abs(lag(heard[channel], original)) <= 1
        inside = slice(0, round(end * written))
        assert np.corrcoef(heard[channel][inside], original[inside])[0, 1] > 0.9


def test_nothing_is_left_after_an_error(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    path = make_video()
    source, out = read_format(path), tmp_path / "out.mp4"
    out.write_bytes(b"precious")

    def breaking() -> Iterator[PlaneFrame]:
        yield from list(read_planes(path, source))[:5]
        assert list(tmp_path.glob("*.part"))
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        write(out, breaking(), source, make_sound(1.0))
    assert out.read_bytes() == b"precious"
    assert not list(tmp_path.glob("*.part"))


def test_no_place_to_write(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    path = make_video()
    source = read_format(path)
    with pytest.raises(LipsyncError, match="cannot be written"):
        write(tmp_path / "absent" / "out.mp4", read_planes(path, source), source, make_sound(1.0))
