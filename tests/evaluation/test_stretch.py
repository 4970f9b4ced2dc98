"""Two videos are cut to the same frames and place, each with its own sound."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lipsync.errors import LipsyncError
from lipsync.evaluation import stretch
from lipsync.evaluation.stretch import cut_out, excerpt, sound_of
from lipsync.preparation.faces import FaceFinder


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def test_the_generated_video_is_cut_where_the_real_face_is(talk, finder, tmp_path: Path) -> None:
    real = talk.write(tmp_path / "real.mp4")
    seen = cut_out(real, real, finder)
    assert torch.equal(seen.real, seen.generated)
    assert seen.real.shape == (50, 3, 128, 128)
    assert -1 <= seen.real.min() < -0.5 < 0.5 < seen.real.max() <= 1
    assert (seen.first, seen.notes, seen.opening.shape) == (0, [], (50,))
    # A generated video need not show a face.
    dark = talk.write(tmp_path / "dark.mp4", images=np.zeros_like(talk.images))
    again = cut_out(dark, real, finder)
    assert torch.equal(again.real, seen.real)
    assert again.generated.max() < -0.95


def test_frames_without_the_face_are_left_out_of_both(talk, finder, tmp_path: Path) -> None:
    images = talk.images.copy()
    images[:15] = 0
    late = talk.write(tmp_path / "late.mp4", images=images)
    seen, whole = cut_out(late, late, finder), talk.write(tmp_path / "whole.mp4")
    assert seen.first == 15
    assert len(seen.real) == len(seen.generated) == len(seen.opening) == 35
    assert seen.notes == ["15 of 50 frames are left out: the judged face is not in them"]
    # Each frame meets the one of its own time.
    assert float((cut_out(whole, late, finder).generated - seen.real).abs().mean()) < 0.02


def test_lengths_and_rates_may_differ(talk, finder, tmp_path: Path) -> None:
    real = talk.write(tmp_path / "real.mp4")
    fast = talk.write(tmp_path / "fast.mp4", fps=50, images=talk.images.repeat(2, axis=0))
    seen = cut_out(fast, real, finder)
    assert (len(seen.real), seen.notes) == (50, [])
    assert float((seen.generated - seen.real).abs().mean()) < 0.02
    nearly = talk.write(tmp_path / "nearly.mp4", images=talk.images[:45])
    assert cut_out(nearly, real, finder).notes == []
    short = talk.write(tmp_path / "short.mp4", images=talk.images[:40])
    told = "the generated video lasts {} s, the real one {} s: what they have in common is compared"
    for pair, lasts in (((short, real), ("1.60", "2.00")), ((real, short), ("2.00", "1.60"))):
        seen = cut_out(*pair, finder)
        assert len(seen.real) == len(seen.generated) == len(seen.opening) == 40
        assert seen.notes == [told.format(*lasts)]


def test_no_more_than_the_beginning_of_a_long_video_is_looked_at(talk, finder, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(stretch, "LONGEST", 1)
    real = talk.write(tmp_path / "real.mp4")
    seen = cut_out(real, real, finder)
    assert (len(seen.real), seen.notes) == (25, ["nothing after the first 1 s is looked at"])


def test_what_cannot_be_compared_is_said(talk, finder, tmp_path: Path) -> None:
    real = talk.write(tmp_path / "real.mp4")
    small = talk.write(tmp_path / "small.mp4", images=np.ascontiguousarray(talk.images[:, 16:-16, 8:-8]))
    with pytest.raises(LipsyncError, match="the generated video has 112 x 96 pixels, the real one 128 x 128: make"):
        cut_out(small, real, finder)
    dark = talk.write(tmp_path / "dark.mp4", images=np.zeros_like(talk.images))
    with pytest.raises(LipsyncError, match="no face in the real video"):
        cut_out(real, dark, finder)
    brief = talk.write(tmp_path / "brief.mp4", images=talk.images[:24])
    with pytest.raises(LipsyncError, match="the face is in 24 frames of both videos: 25 at least are needed"):
        cut_out(brief, real, finder)


def test_sound_is_cut_to_the_frames(talk, tmp_path: Path) -> None:
    video = talk.write(tmp_path / "real.mp4")
    whole, note = sound_of(video, 0, 50)
    part, _ = sound_of(video, 7, 30)
    assert note is None
    assert whole.sliding.shape == (46, 80, 16)
    assert torch.equal(part.samples, whole.samples[7 * 640 : 37 * 640])
    assert torch.allclose(part.sliding, whole.sliding[7:33], atol=1e-5)
    assert whole.samples.float().sub(torch.from_numpy(talk.samples)).square().mean().sqrt() < 0.1 * talk.samples.std()

    mute = talk.write(tmp_path / "mute.mp4", mute=True)
    assert sound_of(mute, 0, 50) == (None, f"{mute}: no sound: no sync score")
    torn = talk.write(tmp_path / "torn.mp4", samples=talk.samples[:16_000])
    sound, note = sound_of(torn, 0, 50)
    assert note.startswith(f"{torn}: its sound ends ")
    assert 0.9 < float(note.split()[-5]) <= 1.0
    assert not sound.samples[-14_000:].any()


def test_beyond_the_sound_there_is_silence() -> None:
    samples = np.arange(1, 6, dtype=np.int16)
    assert excerpt(samples, -2, 4).tolist() == [0, 0, 1, 2]
    assert excerpt(samples, 3, 4).tolist() == [4, 5, 0, 0]
    assert excerpt(samples, 7, 2).tolist() == excerpt(samples, -9, 2).tolist() == [0, 0]
