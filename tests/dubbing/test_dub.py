"""Dubbing from file to file, with toy models and a finder that is told where the face is."""

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
from lipsync.dubbing.dub import DubReport, check, dub, dub_with
from lipsync.dubbing.generate import CHUNK
from lipsync.dubbing.read import PlaneFrame, read_format, read_planes
from lipsync.errors import LipsyncError


@pytest.fixture
def work(
    make_video: Callable, make_sound: Callable, still_face: type, tmp_path: Path
) -> Callable[..., tuple[DubReport, str, Path]]:
    """Dubs a made video with a model; gives the report, the video and the output."""

    def run(model: object, seconds: float = 2.0, **video: object) -> tuple[DubReport, str, Path]:
        path, out = make_video(**video), tmp_path / "out.mp4"
        return dub_with(model, still_face(), path, make_sound(seconds), str(out)), path, out

    return run


def luma(path: str | Path) -> np.ndarray:
    """(F, H, W) int."""
    return np.stack([frame.planes[0] for frame in read_planes(path, read_format(path))]).astype(int)


def length(path: str | Path, kind: str) -> Fraction:
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return stream.duration * stream.time_base


def test_frame_for_frame(work: Callable, white: type, capsys: pytest.CaptureFixture) -> None:
    """Longer sound is cut; the mouth is painted, the rest is as it was up to the codec."""
    report, path, out = work(white(), seconds=2.0)
    assert report == DubReport(str(out), 10, 10, 0.4)
    before, after = luma(path), luma(out)
    assert after.shape == before.shape
    # Nose base (40.5, 30.25), half a side 22: painted from row 30 to 52.
    assert np.abs(after - before)[:, :28].mean() < 2
    assert np.abs(after - before)[:, 55:].mean() < 2
    assert after[:, 34:48, 25:56].min() > 200
    assert length(out, "audio") == pytest.approx(0.4, abs=0.001)
    assert capsys.readouterr().out.splitlines()[-1] == f"{out}: 10 frames, 10 painted, 0 passed through"


def test_shorter_sound_cuts_the_video_to_a_frame(work: Callable, same: type) -> None:
    report, _, out = work(same(), seconds=0.21)
    # Frames 0 to 5 begin before 0.21 s.
    assert (report.frames, report.seconds) == (6, pytest.approx(0.24))
    assert len(luma(out)) == 6
    assert length(out, "video") == pytest.approx(0.24, abs=0.001)
    assert length(out, "audio") == pytest.approx(0.21, abs=0.001)


def test_frames_without_a_face_pass_through(work: Callable, white: type) -> None:
    dark = range(15, 30)
    report, _, out = work(white(), pts=range(0, 30 * 512, 512), dark=dark)
    assert (report.frames, report.painted) == (30, 15)
    assert luma(out)[15:].max() < 24


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

    def counted(*arguments: object) -> Iterator[PlaneFrame]:
        nonlocal alive, most
        for frame in read_planes(*arguments):
            weakref.finalize(frame.planes[0], died)
            alive += 1
            most = max(most, alive)
            yield frame

    monkeypatch.setattr(module, "read_planes", counted)
    report, _, _ = work(same(16), seconds=seconds, size=(48, 40), pts=range(0, seconds * 12800, 1280))
    assert report.frames == 10 * seconds
    assert CHUNK <= most <= 2 * CHUNK + 3


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
        ("must end in .mp4, .mkv, .mov", (video, sound, str(tmp_path / "out.avi"))),
        ("there is no folder", (video, sound, str(tmp_path / "absent" / "out.mp4"))),
        ("itself", (video, sound, video)),
    ]
    for message, arguments in cases:
        with pytest.raises(LipsyncError, match=message):
            check(*arguments)
        with pytest.raises(LipsyncError, match=message):
            dub(*arguments, checkpoint="absent.ckpt")
    with pytest.raises(LipsyncError, match=r"absent\.ckpt"):
        dub(video, sound, out, checkpoint=str(tmp_path / "absent.ckpt"))
    with pytest.raises(LipsyncError, match="no video stream"):
        dub_with(same(), still_face(), sound, sound, out)
    with pytest.raises(LipsyncError, match="no sound"):
        dub_with(same(), still_face(), video, video, out)
    with pytest.raises(LipsyncError, match="no face in any of its 10 frames"):
        dub_with(same(), still_face(), make_video("dark.mp4", dark=range(10)), sound, out)
    other = same()
    other.crop_rule = "oval"
    with pytest.raises(LipsyncError, match="oval"):
        dub_with(other, still_face(), video, sound, out)
    assert not list(tmp_path.glob("out*"))


def test_dub_loads_the_checkpoint(
    make_video: Callable,
    make_sound: Callable,
    still_face: type,
    white: type,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {}

    class Listening(white):
        diffusion, hparams = Diffusion(), SimpleNamespace(spacing="leading")

        def generate(self, *arguments: torch.Tensor, noise: torch.Tensor, **how: object) -> torch.Tensor:
            given.update(how)
            return super().generate(*arguments, noise)

    monkeypatch.setattr(checkpoints, "load_diff2lip", lambda path, device: {"model.ckpt": Listening()}[path])
    monkeypatch.setattr(module, "FaceFinder", lambda device: still_face())
    report = dub(make_video(), make_sound(1.0), str(tmp_path / "out.mkv"), "model.ckpt", 4, guidance=2.0, device="cpu")
    assert report.painted == 10
    assert given == {"steps": 4, "sampler": "ddim", "guidance": 2.0, "seed": 0}
    for steps in (0, 70, 2000):
        with pytest.raises(LipsyncError, match=str(steps)):
            dub(make_video(), make_sound(1.0), str(tmp_path / "out.mp4"), "model.ckpt", steps, device="cpu")


def test_failing_model_leaves_nothing(work: Callable, same: type, tmp_path: Path) -> None:
    class Failing(same):
        def generate(self, *arguments: object, **how: object) -> torch.Tensor:
            raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        work(Failing())
    assert not list(tmp_path.glob("out*"))


def test_studio_clip(shared: Path, white: type, tmp_path: Path) -> None:
    """A program stream with B-frames, 25 fps, dubbed with a shorter sound of another rate."""
    from lipsync.preparation.faces import FaceFinder

    clip, out = shared / "clips" / "grid_bbaf2n.mpg", tmp_path / "out.mp4"
    sound = shared / "clips" / "audio" / "st_chinese_news.wav"
    report = dub_with(white(), FaceFinder(), str(clip), str(sound), str(out))
    assert (report.frames, report.painted, report.seconds) == (75, 75, 3.0)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert [frame.pts * stream.time_base for frame in container.decode(stream)] == [
            Fraction(k, 25) for k in range(75)
        ]
