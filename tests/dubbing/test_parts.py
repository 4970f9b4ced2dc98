"""A dub made in parts: halves of a video, and what an interrupted one goes on from."""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from lipsync.dubbing.dub import dub_with
from lipsync.dubbing.progress import frame_progress
from lipsync.dubbing.stages import staged
from lipsync.errors import LipsyncError
from lipsync.sound import write_wav


def test_halves_equal_the_whole(make_video: Callable, still_face: type, tmp_path: Path) -> None:
    """Dubbed apart, two halves have the pixels of the whole, but where a mel hears over the cut."""

    class Loud:
        size, crop_rule = 48, "square"

        def generate(self, frames: torch.Tensor, reference: object, mels: torch.Tensor, noise: torch.Tensor, seed: int):
            # A pattern, for the matching of colours would take away what is the same everywhere.
            return frames + 0.2 * noise * (4 + mels.mean((1, 2)))[:, None, None, None]

    def pixels(video: str, sound: str, first: int = 0) -> list[np.ndarray]:
        with frame_progress() as progress, staged(Loud(), still_face(), video, sound, progress, seed=3) as dubbing:
            return [frame.planes[0] for frame in dubbing.frames(first)]

    # 20 frames are 64 columns of the mel: the halves' mels lie on the whole's grid.
    path, half = make_video("a.mkv", range(0, 40 * 40, 40), codec="ffv1", time_base=Fraction(1, 1000), gop=20), 20
    samples = np.random.default_rng(0).normal(0, 1, 40 * 640) * np.linspace(0, 9000, 40 * 640)
    samples = samples.astype(np.int16)
    for name, part in (("whole", samples), ("late", samples[half * 640 :])):
        write_wav(tmp_path / f"{name}.wav", part)
    with av.open(path) as source, av.open(str(tmp_path / "b.mkv"), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in list(source.demux(video=0))[half:]:
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    whole = pixels(path, str(tmp_path / "whole.wav"))
    later = pixels(str(tmp_path / "b.mkv"), str(tmp_path / "late.wav"))
    assert len(whole) == 40
    assert len(later) == 20
    for number in range(3, 20):
        assert np.array_equal(whole[half + number], later[number])
    assert not np.array_equal(whole[half], later[0])
    assert not np.array_equal(whole[39], whole[20])
    # A part of the same video, as a resumed dub makes it, has every pixel.
    for here, there in zip(pixels(path, str(tmp_path / "whole.wav"), 17), whole[17:], strict=True):
        assert np.array_equal(here, there)


def test_interrupted_and_resumed(
    make_video: Callable,
    make_sound: Callable,
    still_face: type,
    striped: type,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """Ctrl-C leaves nothing under the name; what comes of going on is, byte for byte, what would have been."""
    monkeypatch.setattr("lipsync.dubbing.segments.SEGMENT", 10)
    path, sound, seen = make_video(pts=range(0, 60 * 512, 512)), make_sound(3.0), []

    class Interrupted(striped):
        def generate(self, frames: torch.Tensor, *arguments: object, **how: object) -> torch.Tensor:
            if sum(seen) >= 32 and not resumed:
                raise KeyboardInterrupt
            seen.append(len(frames))
            return super().generate(frames, *arguments, **how)

    resumed, model = False, Interrupted()
    out, whole = tmp_path / "out.mp4", tmp_path / "whole.mp4"
    with pytest.raises(KeyboardInterrupt):
        dub_with(model, still_face(), path, sound, str(out))
    assert "--resume=true goes on" in capsys.readouterr().err
    assert not out.exists()
    assert (tmp_path / "out.mp4.part").is_dir()
    with pytest.raises(LipsyncError, match="mark"):
        dub_with(model, still_face(), path, sound, str(out), mark=True, resume=True)
    resumed, before = True, sum(seen)
    report = dub_with(model, still_face(), path, sound, str(out), resume=True)
    assert report.frames == report.painted == 60
    assert sum(seen) - before < 50
    dub_with(model, still_face(), path, sound, str(whole))
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["out.mp4", "sound.wav", "video.mp4", "whole.mp4"]


def test_a_resumed_dub_has_the_same_mask(
    make_video: Callable, make_sound: Callable, still_face: type, same: type, tmp_path: Path
) -> None:
    class Interrupted(same):
        def generate(self, *arguments: object, **how: object) -> torch.Tensor:
            raise KeyboardInterrupt

    path, sound, mask, out = make_video(), make_sound(1.0), make_video("mask.mp4"), str(tmp_path / "out.mp4")
    with pytest.raises(KeyboardInterrupt):
        dub_with(Interrupted(), still_face(), path, sound, out, occlusion=mask)
    os.utime(mask, ns=(1, 1))
    with pytest.raises(LipsyncError, match="--resume: occlusion was"):
        dub_with(same(), still_face(), path, sound, out, resume=True, occlusion=mask)
