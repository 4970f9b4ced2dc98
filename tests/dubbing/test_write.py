"""What a player sees of the written file: time stamps, tags, and the sound in step."""

import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from written import LABEL, add_sound, dubbed, encode_sound, lag, make_wav, noise, sound_of, times_of

from lipsync.dubbing import segments
from lipsync.dubbing.read import PlaneFrame, read_format, read_planes
from lipsync.dubbing.timeline import Timeline
from lipsync.dubbing.voices import open_voice
from lipsync.dubbing.write import write


@pytest.fixture
def make_talk(tmp_path: Path) -> Callable[..., Path]:
    """Writes a video with its own sound, each beginning when told."""

    def make(name: str, picture: Fraction, sound: Fraction, samples: np.ndarray, rate: int, frames: int = 12) -> Path:
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "10"})
            stream.width, stream.height, stream.time_base = 96, 80, Fraction(1, 1000)
            stream.codec_context.time_base = Fraction(1, 1000)
            voice = add_sound(container, rate, len(samples), "pcm_s16le")
            heard = encode_sound(voice, samples, sound)
            for number in range(frames):
                image = np.full((80, 96, 3), 40 + 10 * number, np.uint8)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = int(1000 * picture) + 40 * number, Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
            container.mux(heard)
        return tmp_path / name

    return make


@pytest.mark.parametrize("suffix", ["mp4", "mov", "MKV", "webm"])
@pytest.mark.parametrize("length", [3, 250])
def test_variable_rate_keeps_its_time_stamps(
    make_video: Callable,
    make_sound: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    length: int,
) -> None:
    """Also over the borders of segments, and with frames that are predicted from later ones."""
    monkeypatch.setattr(segments, "SEGMENT", length)
    pts = [507, 1531, 2043, 2555, 3579, 4091, 4200, 4300, 6000, 7000, 7100]
    aspect = Fraction(1) if suffix == "webm" else Fraction(4, 3)
    path = make_video(pts=pts, time_base=Fraction(1, 15360), aspect=aspect)
    out = tmp_path / f"out.{suffix}"
    shown, _ = dubbed(out, path, make_sound(1.0))
    end = int(shown.pts[-1] + shown.durations[-1]) * Fraction(1, 15360)
    with av.open(str(out)) as container:
        stream, voice = container.streams.video[0], container.streams.audio[0]
        assert (stream.width, stream.height) == (96, 80)
        assert stream.codec_context.name == ("vp9" if suffix == "webm" else "h264")
        assert stream.sample_aspect_ratio == aspect
        packets = [packet for packet in container.demux(stream) if packet.size]
        if suffix in ("mp4", "mov"):
            dts = [packet.dts for packet in packets]
            assert dts == sorted(set(dts))
            assert all(packet.dts <= packet.pts for packet in packets)
            assert sorted(packet.pts for packet in packets) == [p - 507 for p in pts]
            assert stream.time_base == Fraction(1, 15360)
            assert stream.duration == end * 15360
            assert abs(voice.duration * voice.time_base - end) <= Fraction(1, 2 * voice.rate)
    exact = [Fraction(p - 507, 15360) for p in pts]
    if suffix in ("MKV", "webm"):  # their clock ticks in milliseconds
        exact = [Fraction(round(1000 * time), 1000) for time in exact]
        assert all(abs(a - b) <= Fraction(1, 1000) for a, b in zip(times_of(out), exact, strict=True))
    else:
        assert times_of(out) == exact
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
    path, out = make_video(tags=tags), tmp_path / "out.mp4"
    dubbed(out, path, make_sound(1.0))
    with av.open(str(out)) as container:
        context = container.streams.video[0].codec_context
        assert {name: int(getattr(context, name)) for name in tags} == tags
    source = read_format(path)
    for before, after in zip(read_planes(path, source), read_planes(out, read_format(out)), strict=True):
        assert np.abs(before.planes[0].astype(int) - after.planes[0]).mean() < 2


def test_odd_size_stays(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    path, out = make_video("odd.mkv", size=(95, 79), codec="ffv1"), tmp_path / "out.mp4"
    dubbed(out, path, make_sound(1.0))
    with av.open(str(out)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (95, 79)


def test_codec_and_depth_stay(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    path = make_video("deep.mkv", codec="libx265", pixels="yuv422p10le")
    dubbed(tmp_path / "out.mp4", path, make_sound(1.0))
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.codec_tag, context.pix_fmt) == ("hevc", "hvc1", "yuv422p10le")


def test_lossless_gives_every_sample_back(make_video: Callable, tmp_path: Path) -> None:
    """Over segments, picture and sound."""
    path, samples = make_video(), noise(44_100 // 2, channels=2)
    sound = make_wav(tmp_path / "stereo.wav", samples, 44_100)
    for name, codec in (("out.mkv", "flac"), ("out.mov", "alac"), ("out.mp4", "alac")):
        dubbed(tmp_path / name, path, sound, quality="lossless")
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.audio[0].codec_context.name == codec
        before, after = (list(read_planes(p, read_format(p))) for p in (path, tmp_path / name))
        for old, new in zip(before, after, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(old.planes, new.planes, strict=True))
        heard, rate, start = sound_of(tmp_path / name)
        assert (rate, start) == (44_100, 0)
        assert np.array_equal(heard * 2**15, samples[:, : round(0.4 * 44_100)])


@pytest.mark.parametrize(("rate", "written"), [(44_100, 44_100), (48_000, 48_000), (37_800, 48_000)])
def test_stereo_sound_stays_in_step(make_video: Callable, tmp_path: Path, rate: int, written: int) -> None:
    """Two channels, their rate where AAC has it, no delay, and an end with the picture's."""
    samples = noise(2 * rate, channels=2)
    sound, out = make_wav(tmp_path / "stereo.wav", samples, rate), tmp_path / "out.mp4"
    dubbed(out, make_video(pts=range(0, 37 * 512, 512)), sound)
    heard, heard_rate, start = sound_of(out)
    assert (heard_rate, heard.shape[0], start) == (written, 2, 0)
    end = Fraction(37, 25)
    with av.open(str(out)) as container:
        # AAC's last packet is longer; the container says where it ends.
        assert container.streams.audio[0].duration == end * written
    for channel in range(2):
        times = np.arange(heard.shape[1]) * rate / written
        original = np.interp(times, np.arange(samples.shape[1]), samples[channel])
        assert abs(lag(heard[channel], original)) <= 1
        inside = slice(0, round(end * written))
        assert np.corrcoef(heard[channel][inside], original[inside])[0, 1] > 0.9


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize(
    ("picture", "sound"), [(Fraction(844, 1000), 0), (0, Fraction(313, 1000)), (2, Fraction(9, 4))]
)
def test_sound_that_leads_or_follows_keeps_its_distance(
    make_talk: Callable, tmp_path: Path, suffix: str, picture: Fraction, sound: Fraction
) -> None:
    """And nothing is lost at either end."""
    samples = noise(48_000 * 2)
    video = make_talk("talk.mkv", Fraction(picture), Fraction(sound), samples, 48_000)
    out = tmp_path / f"out.{suffix}"
    dubbed(out, video, video)
    lead = Fraction(picture) - Fraction(sound)
    times, (heard, rate, start) = times_of(out), sound_of(out)
    assert len(times) == 12
    assert times[0] == max(lead, 0)
    late = Fraction(lag(heard[0], samples[0]), rate) + start
    assert abs(late - max(-lead, 0)) <= Fraction(1, rate)
    # Up to the picture's end, with the codec's last packet.
    assert len(heard[0]) / rate + start >= times[-1] + Fraction(40, 1000) - Fraction(1, rate)
    with av.open(str(out)) as container:
        if suffix in ("mp4", "mov"):
            voice = container.streams.audio[0]
            assert voice.duration * voice.time_base + start == times[-1] + Fraction(40, 1000)


def test_hamilton_keeps_its_844_ms(shared: Path, tmp_path: Path) -> None:
    video, out = shared / "clips" / "fr_hamilton_short.mp4", tmp_path / "out.mp4"
    source = read_format(video)
    with tempfile.TemporaryDirectory() as folder:
        voice = open_voice(video, folder, video)
        assert float(voice.lead) == pytest.approx(0.844, abs=1e-3)
        frames = [frame for frame, _ in zip(read_planes(video, source), range(8), strict=False)]
        pts = np.array([frame.pts - source.start for frame in frames])
        shown = Timeline(np.arange(8), pts, np.full(8, 400))
        write(out, lambda first: iter_from(frames, first), shown, source, video, [voice], "source", LABEL, False, {})
    original, rate, start = sound_of(video)
    heard, _, begin = sound_of(out)
    late = Fraction(lag(heard[0], original[0][: heard.shape[1]]), rate) + begin
    offset = source.start * source.time_base - start  # picture after sound
    assert abs((times_of(out)[0] - late) - offset) <= Fraction(1, rate)


def iter_from(frames: list[PlaneFrame], first: int) -> Iterator[PlaneFrame]:
    yield from frames[first:]


def test_several_voices_are_mixed(make_video: Callable, tmp_path: Path) -> None:
    """At the highest rate, the shorter one ends in silence, loud ones do not wrap around."""
    low, high = noise(3200, seed=1), noise(24_000, seed=2)
    one, other = make_wav(tmp_path / "1.wav", low, 16_000), make_wav(tmp_path / "2.wav", high, 48_000)
    out = tmp_path / "out.mkv"
    dubbed(out, make_video(), one, other, quality="lossless")
    heard, rate, _ = sound_of(out)
    assert (rate, heard.shape) == (48_000, (1, 19_200))
    alone = high[0, :19_200] / 2**15
    assert np.abs(heard[0, 9_700:] - alone[9_700:]).max() < 1e-4
    rest = heard[0, :9600] - alone[:9600]
    assert np.corrcoef(rest, np.interp(np.arange(9600) / 3, np.arange(3200), low[0]))[0, 1] > 0.95

    loud = make_wav(tmp_path / "3.wav", np.full((1, 8000), 30_000, np.int16), 16_000)
    dubbed(out, make_video(), loud, loud, quality="lossless")
    heard, _, _ = sound_of(out)
    assert heard.min() >= 0
    assert 0.9 < heard[0, 2000:5000].min() <= heard.max() <= 1
