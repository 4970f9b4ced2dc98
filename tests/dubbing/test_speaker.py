"""Mouths that move with a sound, and others."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lipsync.corpora.mel import log_mel
from lipsync.dubbing.read import Format
from lipsync.dubbing.speaker import BANDS, follow, listen, movement
from lipsync.sound import map_wav, write_wav


def syllables(seconds: float, seed: int) -> np.ndarray:
    """(100 a second) how loud somebody speaks, 0 to 1: four random levels a second, smoothly joined."""
    rng, count = np.random.default_rng(seed), round(100 * seconds)
    return np.interp(np.arange(count) / 25, np.arange(count // 25 + 2), rng.uniform(0, 1, count // 25 + 2))


def speak(path: Path, levels: np.ndarray) -> str:
    noise = np.random.default_rng(0).normal(0, 1, (len(levels), 160))
    write_wav(path, (noise * 3000 * (10 ** (1.5 * (levels - 1)))[:, None]).ravel().astype(np.int16))
    return str(path)


def mouths(levels: np.ndarray, first: int, count: int, late: float = 0.0) -> np.ndarray:
    """(count,) openings in pixels of frames at 25 a second whose sound comes `late` seconds after them."""
    times = (first + np.arange(count)) / 25 + late
    return 8 * np.interp(times, np.arange(len(levels)) / 100, levels)


def test_mel_is_that_of_the_whole_sound(tmp_path: Path) -> None:
    sound = speak(tmp_path / "sound.wav", syllables(4, 1))
    whole, parts = listen(sound), listen(sound, chunk=50)
    assert whole.start == 0
    assert whole.mel.shape == (BANDS, 321)
    np.testing.assert_allclose(parts.mel, whole.mel, atol=1e-4)
    mel = log_mel(torch.from_numpy(map_wav(sound).astype(np.float32) / 32768)[None])[0]
    np.testing.assert_allclose(whole.mel[0], mel[:5].mean(0), atol=1e-4)


def test_no_sound(make_video: Callable) -> None:
    assert listen(make_video()) is None


def test_silence_moves_nobody(
    make_track: Callable, make_survey: Callable, plain_format: Format, tmp_path: Path
) -> None:
    write_wav(tmp_path / "silence.wav", np.zeros(80_000, np.int16))
    survey = make_survey([make_track(0, 100, opening=mouths(syllables(5, 1), 0, 100))], 100)
    found = follow(survey, plain_format, listen(tmp_path / "silence.wav"))
    assert found.r[0] == pytest.approx(0, abs=1e-6)
    assert not found.sure[0]


@pytest.mark.parametrize("late", [-0.32, 0.0, 0.28, 0.4])
def test_who_speaks_at_which_lag(
    make_track: Callable, make_survey: Callable, plain_format: Format, tmp_path: Path, late: float
) -> None:
    heard, other = syllables(12, 1), syllables(12, 2)
    sound = listen(speak(tmp_path / "sound.wav", heard))
    tracks = [
        make_track(0, 150, opening=mouths(other, 25, 150)),
        make_track(20, 200, opening=mouths(heard, 45, 200, late)),
        make_track(50, 100, opening=3.0),
    ]
    survey = make_survey(tracks, 250)
    survey = survey._replace(pts=survey.pts - 75)  # the sound begins a second before the picture
    found = follow(survey, plain_format, sound)
    assert found.lag == pytest.approx(late, abs=0.1)  # it hears a little around each frame
    assert found.sure.tolist() == [False, True, False]
    assert found.r[1] > 0.9
    assert found.r[2] == pytest.approx(0, abs=1e-6)


def test_strangers_sounds_are_no_proof(
    make_track: Callable, make_survey: Callable, plain_format: Format, tmp_path: Path
) -> None:
    sound = listen(speak(tmp_path / "sound.wav", syllables(12, 1)))
    survey = make_survey([make_track(0, 200)], 200)
    survey = survey._replace(pts=survey.pts - 75)
    sure = 0
    for seed in range(2, 42):
        survey.tracks[0] = make_track(0, 200, opening=mouths(syllables(12, seed), 25, 200))
        sure += int(follow(survey, plain_format, sound).sure[0])
    assert sure <= 10


def test_movement_is_where_the_mouth_follows(
    make_track: Callable, make_survey: Callable, plain_format: Format, tmp_path: Path
) -> None:
    heard = syllables(17, 1)
    sound = listen(speak(tmp_path / "sound.wav", heard))
    opening = mouths(heard, 0, 400)
    opening[200:] = 2.0
    survey = make_survey([make_track(0, 400, opening=opening)], 400)
    survey = survey._replace(pts=survey.pts - 100)
    moves = movement(survey, plain_format, sound, 0, 0.0)
    assert moves.shape == (400,)
    assert moves[:150].min() > 10 * moves[275:].max()
