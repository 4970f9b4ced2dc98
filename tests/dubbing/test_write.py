"""What a player sees of the written file: time stamps, tags, sound in step, other streams, and no half-written file."""

import resource
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av import Packet

from lipsync.dubbing import segments
from lipsync.dubbing.label import read_label
from lipsync.dubbing.read import PlaneFrame, read_format, read_planes
from lipsync.dubbing.timeline import Timeline, timeline
from lipsync.dubbing.voices import open_voice
from lipsync.dubbing.write import write
from lipsync.errors import LipsyncError

LABEL = {"program": "lipsync 0", "seed": "0"}


def dubbed(
    out: Path,
    video: str | Path,
    *sounds: str | Path,
    quality: str = "source",
    resume: bool = False,
    recipe: dict | None = None,
    stop: int | None = None,
    error: BaseException | None = None,
    length: str = "video",
    seconds: Fraction = Fraction(1),
) -> tuple[Timeline, list[int]]:
    """Writes a video's own frames, which end or raise `error` at `stop`; gives their times and where reading began."""
    source, begun = read_format(video), []
    frames = list(read_planes(video, source))
    pts = np.array([frame.pts for frame in frames])
    shown = timeline(pts, int(pts[-1]) + frames[-1].duration, source.time_base, source.rate, length, seconds)

    def made(first: int) -> Iterator[PlaneFrame]:
        begun.append(first)
        for position, number in enumerate(shown.numbers[first:], first):
            if position == stop:
                if error is None:
                    return
                raise error
            yield frames[number]

    with tempfile.TemporaryDirectory() as folder:
        voices = [open_voice(sound, folder, video) for sound in sounds]
        write(out, made, shown, source, video, voices, quality, LABEL, resume, recipe or {"face": "largest"})
    return shown, begun


def times_of(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def sound_of(path: str | Path, track: int = 0) -> tuple[np.ndarray, int, Fraction]:
    """(channels, samples) float, the rate and the time of the first sample."""
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.audio[track]))
    parts = [frame.to_ndarray() for frame in frames]
    if not frames[0].format.is_planar:
        parts = [part.reshape(-1, len(frames[0].layout.channels)).T for part in parts]
    scale = {"s16": 2.0**15, "s32": 2.0**31}.get(frames[0].format.name.rstrip("p"), 1.0)
    return np.concatenate(parts, axis=1) / scale, frames[0].sample_rate, frames[0].pts * frames[0].time_base


def lag(heard: np.ndarray, original: np.ndarray) -> int:
    """Samples by which `heard` is late."""
    length = max(len(heard), len(original))
    spectrum = np.fft.rfft(heard, 2 * length) * np.fft.rfft(original, 2 * length).conj()
    peak = int(np.fft.irfft(spectrum).argmax())
    return peak - 2 * length * (peak > length)


def noise(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """(channels, samples) int16 without high notes, which AAC would not keep."""
    rough = np.random.default_rng(seed).normal(0, 3000, (channels, -(-samples // 30)))
    return np.repeat(rough, 30, axis=1)[:, :samples].astype(np.int16)


def add_sound(container: av.container.OutputContainer, rate: int, channels: int, codec: str) -> av.AudioStream:
    return container.add_stream(codec, rate=rate, layout="mono" if channels == 1 else "stereo")


def encode_sound(stream: av.AudioStream, samples: np.ndarray, start: Fraction) -> list[Packet]:
    layout = "mono" if len(samples) == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T).reshape(1, -1), format="s16", layout=layout)
    frame.sample_rate, frame.pts = stream.rate, round(start * stream.rate)
    frame.time_base = Fraction(1, stream.rate)
    return [*stream.encode(frame), *stream.encode(None)]


def make_wav(path: Path, samples: np.ndarray, rate: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = add_sound(container, rate, len(samples), "pcm_s16le")
        container.mux(encode_sound(stream, samples, Fraction(0)))
    return path


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


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    """A second of video with two sound tracks, subtitles, a font, chapters and metadata; its picture begins at 2 s."""
    path = tmp_path / "rich.mkv"
    with av.open(str(path), "w") as container:
        container.metadata.update(
            {"title": "A talk", "comment": "their own words", "creation_time": "2020-01-02T03:04:05Z", "mood": "calm"}
        )
        picture = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        picture.width, picture.height = 96, 80
        picture.metadata.update({"language": "fra", "title": "view"})
        tracks = [add_sound(container, 48_000, 1, codec) for codec in ("aac", "aac")]
        tracks[1].metadata.update({"language": "deu", "title": "Deutsch"})
        tracks[1].disposition = av.stream.Disposition.comment
        words = container.add_mux_stream("subrip", time_base=Fraction(1, 1000))
        words.metadata["language"] = "ita"
        container.add_attachment("font.ttf", "font/ttf", b"letters")
        marks = [("one", 2000, 2500), ("two", 2500, 3000), ("after", 3400, 4000)]
        container.set_chapters(
            [
                {"id": n, "start": a, "end": b, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
                for n, (title, a, b) in enumerate(marks, 1)
            ]
        )
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(np.full((80, 96, 3), 4 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = 50 + number, Fraction(1, 25)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        for seed, track in enumerate(tracks):
            samples = noise(2 * 48_000, seed=seed)
            container.mux(encode_sound(track, samples, Fraction(2)))
        for text, start, length in ((b"early", 100, 200), (b"Buongiorno", 2200, 300), (b"a presto", 2900, 900)):
            packet = Packet(text)
            packet.stream, packet.time_base, packet.pts, packet.dts = words, Fraction(1, 1000), start, start
            packet.duration = length
            container.mux(packet)
    return path


def test_everything_else_is_carried_over(
    rich: Path, make_sound: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out.mkv"
    dubbed(out, rich, make_sound(1.0))
    with av.open(str(out)) as container:
        video, (new, kept) = container.streams.video[0], container.streams.audio
        words, font = container.streams.subtitles[0], container.streams.attachments[0]
        assert (video.language, video.metadata["title"]) == ("fra", "view")
        assert new.language is None
        assert (kept.language, kept.metadata["title"]) == ("deu", "Deutsch")
        assert kept.disposition & av.stream.Disposition.comment
        assert (words.language, font.name, font.data) == ("ita", "font.ttf", b"letters")
        assert container.metadata["title"] == "A talk"
        assert container.metadata["creation_time"].startswith("2020-01-02T03:04:05")
        comment = next(text for key, text in container.metadata.items() if key.lower() == "comment")
        assert comment.startswith("their own words\n")
        chapters = [
            (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]["title"])
            for c in container.chapters()
        ]
        assert chapters == [(0, Fraction(1, 2), "one"), (Fraction(1, 2), 1, "two")]
        said = [(bytes(p), p.pts, p.duration) for p in container.demux(words) if p.size]
        assert said == [(b"Buongiorno", 200, 300), (b"a presto", 900, 100)]
    assert read_label(out) == LABEL
    assert "left out" not in capsys.readouterr().out
    before, rate, _ = sound_of(rich, 1)
    after, _, start = sound_of(out, 1)
    late = Fraction(lag(after[0], before[0]), rate) + start
    assert abs(late) <= Fraction(1, 1000)
    assert 1 <= after.shape[1] / rate < 1.1


def test_other_planes_are_told(make_video: Callable, make_sound: Callable, tmp_path: Path, capsys) -> None:
    dubbed(tmp_path / "out.mp4", make_video("odd.mkv", size=(95, 79), codec="ffv1"), make_sound(1.0))
    told = "yuv420p of 95 x 79 pixels is written as yuv444p"
    assert capsys.readouterr().out == f"{tmp_path}/out.mp4: {told}\n"


def test_what_the_container_cannot_hold_is_named(
    rich: Path, make_sound: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    sound = make_sound(1.0)
    dubbed(tmp_path / "out.mp4", rich, sound)
    named = "subtitle 3 (subrip, ita), attachment 4 (font.ttf), metadata MOOD\n"
    assert f"{tmp_path}/out.mp4: left out, as .mp4 cannot hold it: {named}" in capsys.readouterr().out
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.language for stream in container.streams.audio] == ["und", "deu"]
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["one", "two"]
        assert container.metadata["comment"].startswith("their own words\n")
        assert container.metadata["creation_time"].startswith("2020-01-02T03:04:05")
    dubbed(tmp_path / "out.webm", rich, sound)
    assert "audio 2 (aac, deu), subtitle 3 (subrip, ita), attachment" in capsys.readouterr().out


@pytest.mark.parametrize("before", ["mp4", "mkv"])
@pytest.mark.parametrize("after", ["mp4", "mov", "mkv"])
def test_a_second_track_stays_in_step(tmp_path: Path, before: str, after: str) -> None:
    """From and to every container, though each has its own way to say how a decoder of AAC starts."""
    video, out = tmp_path / f"video.{before}", tmp_path / f"out.{after}"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height = 96, 80
        tracks = [add_sound(container, 48_000, 1, "aac") for _ in range(2)]
        for number in range(25):
            frame = av.VideoFrame(96, 80, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for seed, track in enumerate(tracks):
            container.mux(encode_sound(track, noise(72_000, seed=seed), Fraction(0)))
    dubbed(out, video, make_wav(tmp_path / "new.wav", noise(72_000, seed=2), 48_000))
    assert times_of(out)[0] == 0
    for track, seed in ((0, 2), (1, 1)):
        heard, rate, start = sound_of(out, track)
        late = Fraction(lag(heard[0], noise(72_000, seed=seed)[0]), rate) + start
        assert abs(late) <= Fraction(1, 1000)
        assert 1 - Fraction(1, 1000) <= heard.shape[1] / Fraction(rate) + start < 1.05


def test_a_cover_is_carried_over(make_sound: Callable, tmp_path: Path) -> None:
    video, sound = tmp_path / "video.mp4", make_sound(1.0)
    with av.open(str(video), "w") as container:
        stream, cover = container.add_stream("libx264", rate=25), container.add_stream("png", rate=25)
        stream.width, stream.height, cover.width, cover.height, cover.pix_fmt = 96, 80, 32, 32, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        drawing = cover.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), 99, np.uint8), format="rgb24"))
        drawn = bytes(drawing[0])
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((80, 96, 3), 9 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        container.mux(drawing)
    for before, after in ((video, "out.mp4"), (video, "out.mkv"), (tmp_path / "out.mkv", "again.mp4")):
        dubbed(tmp_path / after, before, sound)
        assert len(times_of(tmp_path / after)) == 5
        with av.open(str(tmp_path / after)) as container:
            cover = container.streams.video[1]
            assert cover.disposition == av.stream.Disposition.attached_pic
            assert bytes(next(container.demux(cover))) == drawn


def test_a_loop_carries_one_pass(rich: Path, make_sound: Callable, tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    dubbed(out, rich, make_sound(2.0), length="loop", seconds=Fraction(2))
    assert len(times_of(out)) == 50
    kept, rate, _ = sound_of(out, 1)
    assert 1 <= kept.shape[1] / rate < 1.1
    with av.open(str(out)) as container:
        assert container.chapters()[-1]["end"] * container.chapters()[-1]["time_base"] == 1


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_killed_run_goes_on_to_the_same_bytes(
    make_video: Callable, make_sound: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(segments, "SEGMENT", 4)
    video, sound = make_video(), make_sound(1.0)
    whole, out = tmp_path / f"whole.{suffix}", tmp_path / f"out.{suffix}"
    _, begun = dubbed(whole, video, sound, resume=True)  # nothing to go on from: simply begins
    assert begun == [0]
    with pytest.raises(KeyboardInterrupt):
        dubbed(out, video, sound, stop=9, error=KeyboardInterrupt())
    assert not out.exists()
    assert sorted(p.name for p in (tmp_path / f"out.{suffix}.part").iterdir()) == [
        "000000000.mp4",
        "000000004.mp4",
        "recipe.json",
    ]
    _, begun = dubbed(out, video, sound, resume=True)
    assert begun == [8]
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_a_run_killed_after_its_last_frame_makes_none_again(
    make_video: Callable, make_sound: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, sound, out = make_video(), make_sound(1.0), tmp_path / "out.mp4"
    with monkeypatch.context() as patch:
        patch.setattr("lipsync.dubbing.write.publish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            dubbed(out, video, sound)
    _, begun = dubbed(out, video, sound, resume=True)
    assert begun == []
    assert len(times_of(out)) == 10


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_resume_wants_the_same_recipe(
    make_video: Callable,
    make_sound: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(segments, "SEGMENT", 4)
    video, sound, out = make_video(), make_sound(1.0), tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        dubbed(out, video, sound, stop=5, error=KeyboardInterrupt(), recipe={"face": "largest", "seed": 0})
    with pytest.raises(LipsyncError, match="--resume: face was largest and is 1: run as before"):
        dubbed(out, video, sound, resume=True, recipe={"face": 1, "seed": 0})
    with pytest.raises(LipsyncError, match=r"--resume: sound 1 was .*sound.wav.* and is .*other.wav"):
        dubbed(out, video, make_sound(1.0, "other.wav"), resume=True, recipe={"face": "largest", "seed": 0})
    assert (tmp_path / "out.mp4.part" / "000000000.mp4").exists()
    # Without --resume it starts again, and says what that costs.
    _, begun = dubbed(out, video, sound, recipe={"face": 1, "seed": 0})
    assert begun == [0]
    assert "what an interrupted run left is removed" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.part"))


def test_nothing_is_left_after_an_error(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    video, sound, out = make_video(), make_sound(1.0), tmp_path / "out.mp4"
    out.write_bytes(b"precious")
    with pytest.raises(RuntimeError, match="out of memory"):
        dubbed(out, video, sound, stop=5, error=RuntimeError("out of memory"))
    assert out.read_bytes() == b"precious"
    assert not list(tmp_path.glob("*.part"))


def test_a_video_that_ends_early_is_an_error(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    with pytest.raises(LipsyncError, match="ended after 5 of 10 frames"):
        dubbed(tmp_path / "out.mp4", make_video(), make_sound(1.0), stop=5)
    assert not list(tmp_path.glob("out*"))


def test_a_full_disk_is_one_line(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    video, sound, out = make_video(size=(320, 240)), make_sound(1.0), tmp_path / "out.mp4"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (33_000, limits[1]))
    try:
        with pytest.raises(LipsyncError, match=r"out.mp4: cannot be written \(.*large"):
            dubbed(out, video, sound, quality="lossless")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.glob("out*"))


def test_two_processes_do_not_write_one_file(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    video, sound, out = make_video(), make_sound(1.0), tmp_path / "out.mp4"
    with segments.workplace(out, {}, False) as folder:
        with pytest.raises(LipsyncError, match="another process is writing it"):
            dubbed(out, video, sound)
        assert folder.exists()
    assert not list(tmp_path.glob("out*"))
    dubbed(out, video, sound)
    assert [path.name for path in tmp_path.glob("out*")] == ["out.mp4"]


def test_a_folder_of_somebody_elses_is_not_touched(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    (tmp_path / "out.mp4.part").mkdir()
    (tmp_path / "out.mp4.part" / "thesis.txt").write_text("years")
    with pytest.raises(LipsyncError, match=r"out.mp4.part: is not the work of an earlier run"):
        dubbed(tmp_path / "out.mp4", make_video(), make_sound(1.0))
    assert [path.name for path in (tmp_path / "out.mp4.part").iterdir()] == ["thesis.txt"]


def test_no_place_to_write(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    with pytest.raises(LipsyncError, match="cannot be written"):
        dubbed(tmp_path / "absent" / "out.mp4", make_video(), make_sound(1.0))
