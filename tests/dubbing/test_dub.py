"""Dubbing from file to file, with toy models and a finder that is told where the face is."""

import json
import weakref
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from lipsync import checkpoints
from lipsync.diffusion import Diffusion
from lipsync.dubbing import dub as module
from lipsync.dubbing import timeline
from lipsync.dubbing.dub import check, dub, dub_frames, dub_with
from lipsync.dubbing.generate import BATCH
from lipsync.dubbing.label import read_label
from lipsync.dubbing.read import PlaneFrame, read_format, read_planes
from lipsync.dubbing.report import DubReport
from lipsync.errors import LipsyncError


@pytest.fixture
def work(
    make_video: Callable, make_sound: Callable, still_face: type, tmp_path: Path
) -> Callable[..., tuple[DubReport, str, Path]]:
    """Dubs a made video with a model; gives the report, the video and the output."""

    def run(
        model: object, seconds: float = 2.0, how: dict[str, object] | None = None, **video: object
    ) -> tuple[DubReport, str, Path]:
        path, out = make_video(**video), tmp_path / "out.mp4"
        return dub_with(model, still_face(), path, make_sound(seconds), str(out), **(how or {})), path, out

    return run


def luma(path: str | Path) -> np.ndarray:
    """(F, H, W) int."""
    return np.stack([frame.planes[0] for frame in read_planes(path, read_format(path))]).astype(int)


def stripes(pictures: np.ndarray) -> float:
    """How steep the mouth's luma is from column to column."""
    return float(np.abs(np.diff(pictures[..., 36:46, 30:52].astype(int), axis=-1)).max(-1).mean())


def length(path: str | Path, kind: str) -> Fraction:
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return stream.duration * stream.time_base


def test_frame_for_frame(work: Callable, striped: type, capsys: pytest.CaptureFixture) -> None:
    """Longer sound is cut; the mouth is painted, the rest is as it was up to the codec."""
    report, path, out = work(striped(), seconds=2.0)
    assert report == DubReport(str(out), 10, 10, 0.4, [])
    before, after = luma(path), luma(out)
    assert after.shape == before.shape
    # Nose base (40.5, 30.25), half a side 22: painted from row 30 to 52.
    assert np.abs(after - before)[:, :28].mean() < 2
    assert np.abs(after - before)[:, 55:].mean() < 2
    assert stripes(before) < 20 < 50 < stripes(after)
    assert length(out, "audio") == pytest.approx(0.4, abs=0.001)
    assert capsys.readouterr().out.splitlines()[-1] == f"{out}: 10 frames, 10 painted, 0 passed through"


def test_lengths(work: Callable, same: type, capsys: pytest.CaptureFixture) -> None:
    """The video's own length, or the sound's to half a frame."""
    cases = [
        ("video", 0.21, 10, 0.4, "0.19 s of silence after the sound"),
        ("audio", 0.21, 5, 0.21, "0.18 s of video cut"),
        ("loop", 0.9, 22, 0.9, "0.5 s of video added"),
        ("bounce", 0.9, 22, 0.9, "0.5 s of video added"),
        ("hold", 0.9, 22, 0.9, "0.5 s of video added"),
    ]
    for length_, sound, frames, seconds, words in cases:
        report, path, out = work(same(), seconds=sound, how={"length": length_})
        assert report.seconds == pytest.approx(seconds, abs=0.02)
        assert report.frames == pytest.approx(frames, abs=1)
        assert length(out, "video") == pytest.approx(report.seconds, abs=0.001)
        assert length(out, "audio") == pytest.approx(min(sound, report.seconds), abs=0.001)
        assert words in capsys.readouterr().out
        before, after = luma(path), luma(out)
        order = {"loop": [*range(10)] * 3, "bounce": [*range(10), *range(8, 0, -1), *range(10)]}
        numbers = order.get(length_, [*range(10), *[9] * 20])[: len(after)]
        assert np.abs(after - before[numbers]).mean() < 3
    with pytest.raises(LipsyncError, match="loop, bounce or hold"):
        work(same(), seconds=0.9, how={"length": "audio"})


def test_frames_without_a_face_pass_through(work: Callable, striped: type) -> None:
    dark = range(15, 30)
    report, _, out = work(striped(), pts=range(0, 30 * 512, 512), dark=dark)
    assert (report.frames, report.painted) == (30, 15)
    assert luma(out)[15:].max() < 24
    remark = report.remarks[-1]
    assert (remark.kind, remark.start, remark.end) == ("no face", Fraction(3, 5), Fraction(6, 5))


def test_rotated_video_comes_out_upright(work: Callable, same: type) -> None:
    report, path, out = work(same(), rotation=90)
    assert (read_format(out).width, read_format(out).height) == (80, 96)
    assert np.abs(luma(out) - luma(path)).mean() < 3
    assert report.frames == 10


def test_variable_rate(work: Callable, same: type) -> None:
    pts = [0, 1024, 1536, 2048, 3072, 3584, 4096, 5120]
    report, _, out = work(same(), pts=pts, time_base=Fraction(1, 15360))
    with av.open(str(out)) as container:
        assert [frame.pts for frame in container.decode(video=0)] == pts
    assert report.frames == 8


def test_the_file_says_that_it_is_synthetic(work: Callable, same: type) -> None:
    plain, _, out = work(same(), how={"mark": False, "checkpoint": "runs/base/last.ckpt"})
    label, before = read_label(out), luma(out)
    assert label["digital_source_type"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert (label["checkpoint"], label["video"], label["sound"]) == ("last.ckpt", "video.mp4", "sound.wav")
    work(same(), how={"mark": True, "seed": 5})
    assert read_label(out)["seed"] == "5"
    assert np.abs(luma(out) - before)[:, :8, :12].mean() > 20
    assert np.abs(luma(out) - before)[:, 20:].mean() < 2
    assert plain.frames == 10


def test_same_seed_same_file(make_video: Callable, make_sound: Callable, still_face: type, tmp_path: Path) -> None:
    """The noise is one map a video, a function of the seed; its values reach the picture."""

    class Noisy:
        size, crop_rule = 16, "square"

        def generate(
            self, frames: torch.Tensor, reference: object, mels: object, noise: torch.Tensor, seed: int
        ) -> object:
            assert noise.shape == (1, 3, 16, 16)
            return noise.clamp(-1, 1).expand_as(frames)

    # x264 repeats itself from 128 x 128 pixels on only; below, its macroblock tree reads beyond the picture.
    path, sound = make_video(size=(128, 128)), make_sound(1.0)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        dub_with(Noisy(), still_face(), path, sound, str(tmp_path / f"{name}.mp4"), seed=seed)
    a, b, c = (luma(tmp_path / f"{name}.mp4") for name in "abc")
    assert np.array_equal(a, b)
    assert np.abs(a - c)[:, 34:48, 25:56].mean() > 10
    # One map for the whole video: the painted part stands still, up to the codec.
    assert np.abs(np.diff(a, axis=0))[:, 36:46, 28:54].mean() < 4


@pytest.mark.parametrize("seconds", [20, 60])
def test_memory_does_not_grow_with_length(
    seconds: int, work: Callable, same: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames alive at once: the chunk being written, the one being read, and those that stages hold by the way."""
    alive, most = 0, 0

    def died() -> None:
        nonlocal alive
        alive -= 1

    def counted(*arguments: object, **named: object) -> Iterator[PlaneFrame]:
        nonlocal alive, most
        for frame in read_planes(*arguments, **named):
            weakref.finalize(frame.planes[0], died)
            alive += 1
            most = max(most, alive)
            yield frame

    monkeypatch.setattr(timeline, "read_planes", counted)
    report, _, _ = work(same(16), seconds=seconds, size=(48, 40), pts=range(0, seconds * 12800, 1280))
    assert report.frames == 10 * seconds
    # Chunks being gathered, generated, waiting and composited, and as many frames again before and after them.
    assert BATCH <= most <= 7 * BATCH


def test_user_errors(
    make_video: Callable,
    make_sound: Callable,
    still_face: type,
    same: type,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    video, sound, out = make_video(), make_sound(1.0), str(tmp_path / "out.mp4")
    cases = [
        ("absent.mp4: no such file", (f"{tmp_path}/absent.mp4", sound, out)),
        ("absent.wav: no such file", (video, f"{tmp_path}/absent.wav", out)),
        ("must end in .mp4, .mkv, .mov, .webm", (video, sound, str(tmp_path / "out.avi"))),
        ("there is no folder", (video, sound, str(tmp_path / "absent" / "out.mp4"))),
        ("itself", (video, sound, video)),
    ]
    for message, arguments in cases:
        with pytest.raises(LipsyncError, match=message):
            check(arguments[0], [arguments[1]], arguments[2])
        with pytest.raises(LipsyncError, match=message):
            dub(*arguments, checkpoint="absent.ckpt")
    with pytest.raises(LipsyncError, match=r"mask\.mp4: no such file"):
        dub(video, sound, out, "absent.ckpt", occlusion=str(tmp_path / "mask.mp4"))
    with pytest.raises(LipsyncError, match="itself"):
        dub(video, sound, make_video("mask.mp4"), "absent.ckpt", occlusion=str(tmp_path / "mask.mp4"))
    with pytest.raises(LipsyncError, match=r"absent\.ckpt"):
        dub(video, sound, out, checkpoint=str(tmp_path / "absent.ckpt"))
    with pytest.raises(LipsyncError, match="no video stream"):
        dub_with(same(), still_face(), sound, sound, out)
    with pytest.raises(LipsyncError, match="no sound"):
        dub_with(same(), still_face(), video, video, out)
    with pytest.raises(LipsyncError, match=r"no face to paint at 0:00:00\.000"):
        dub_with(same(), still_face(), make_video("dark.mp4", dark=range(10)), sound, out, missing="error")
    other = same()
    other.crop_rule = "oval"
    with pytest.raises(LipsyncError, match="oval"):
        dub_with(other, still_face(), video, sound, out)
    assert not list(tmp_path.glob("out*"))


def test_dub_loads_the_checkpoint(
    make_video: Callable,
    make_sound: Callable,
    still_face: type,
    striped: type,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {}

    class Listening(striped):
        diffusion, hparams = Diffusion(), SimpleNamespace(spacing="leading", sampling_steps=(25,))

        def generate(self, *arguments: torch.Tensor, noise: torch.Tensor, **how: object) -> torch.Tensor:
            given.update(how)
            return super().generate(*arguments, noise)

    monkeypatch.setattr(checkpoints, "load_diff2lip", lambda path, device: {"model.ckpt": Listening()}[path])
    monkeypatch.setattr(checkpoints, "fingerprint", lambda model: "f")
    monkeypatch.setattr(module, "FaceFinder", lambda device: still_face())
    report = dub(
        make_video(),
        make_sound(0.4),
        str(tmp_path / "out.mkv"),
        "model.ckpt",
        steps=4,
        guidance=2.0,
        device="cpu",
        report=str(tmp_path / "said.json"),
    )
    assert report.painted == 10
    assert json.loads((tmp_path / "said.json").read_text())["frames"] == 10
    assert given == {"steps": 4, "sampler": "fast", "guidance": 2.0, "precision": "float32", "seed": 0}
    frames = list(dub_frames(make_video(), make_sound(0.4), "model.ckpt", 4, device="cpu", length="audio", seed=1))
    assert [frame.time for frame in frames] == pytest.approx([number / 25 for number in range(10)])
    assert frames[0].image.shape == (80, 96, 3)
    assert stripes(frames[0].image[:, :, 1]) > 50
    assert given["seed"] == 1
    for steps, sampler in ((0, "fast"), (70, "ddim"), (2000, "fast")):
        how = {"steps": steps, "sampler": sampler, "device": "cpu"}
        with pytest.raises(LipsyncError, match=str(steps)):
            dub(make_video(), make_sound(1.0), str(tmp_path / "out.mp4"), "model.ckpt", **how)


def test_failing_model_leaves_nothing(work: Callable, same: type, tmp_path: Path) -> None:
    class Failing(same):
        def generate(self, *arguments: object, **how: object) -> torch.Tensor:
            raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        work(Failing())
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("option", ["length", "missing", "reference"])
def test_a_wrong_name_is_told_before_faces_are_looked_for(
    option: str, make_video: Callable, make_sound: Callable, same: type, tmp_path: Path
) -> None:
    with pytest.raises(LipsyncError, match=f"{option}: 'nought' is none of"):
        # There is no finder to look with.
        dub_with(same(), None, make_video(), make_sound(1.0), str(tmp_path / "out.mp4"), **{option: "nought"})
    assert not list(tmp_path.glob("out*"))


def test_studio_clip(shared: Path, striped: type, tmp_path: Path) -> None:
    """A program stream with B-frames, 25 fps, dubbed with a shorter sound of another rate."""
    from lipsync.preparation.faces import FaceFinder

    clip, out = shared / "clips" / "grid_bbaf2n.mpg", tmp_path / "out.mp4"
    sound = shared / "clips" / "audio" / "st_chinese_news.wav"
    report = dub_with(striped(), FaceFinder(), str(clip), str(sound), str(out))
    assert (report.frames, report.painted, report.seconds) == (75, 75, 3.0)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert [frame.pts * stream.time_base for frame in container.decode(stream)] == [
            Fraction(k, 25) for k in range(75)
        ]
