"""What else is in the source goes with it: tracks, covers, chapters, tags, and what cannot is named."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av import Packet
from written import LABEL, add_sound, dubbed, encode_sound, lag, make_wav, noise, sound_of, times_of

from lipsync.dubbing.label import read_label


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
