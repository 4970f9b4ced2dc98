"""Voices: their samples, and how long they sound before the picture."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lipsync.dubbing.voices import open_voice
from lipsync.errors import LipsyncError
from lipsync.sound import map_wav


def test_a_sound_of_its_own_begins_with_the_picture(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    sound, video = make_sound(0.5), make_video()
    (tmp_path / "wavs").mkdir()
    voices = [open_voice(path, tmp_path / "wavs", video) for path in (sound, make_sound(0.3, "other.wav"))]
    assert [len(voice.samples) for voice in voices] == [8000, 4800]
    assert np.array_equal(voices[0].samples, map_wav(sound))
    assert (voices[0].path, voices[0].lead) == (sound, 0)


def test_the_videos_own_sound_may_lead(shared: Path, tmp_path: Path) -> None:
    video = shared / "clips" / "fr_hamilton_short.mp4"
    voice = open_voice(video, tmp_path, video)
    # The first frame's pts 10214 of 1/11988 s, after the first sample's on the sound's own clock.
    assert (Fraction(10214, 11988) - voice.lead).denominator in (1, *range(1, 44_101))
    assert float(voice.lead) == pytest.approx(0.844, abs=1e-4)


def test_what_is_wrong_is_one_line(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    video = make_video()
    (tmp_path / "wavs").mkdir()
    for path, message in (("absent.wav", "no such file"), (video, "no sound"), (make_sound(0.0, "empty.wav"), "sound")):
        with pytest.raises(LipsyncError, match=message):
            open_voice(path, tmp_path / "wavs", video)
    assert not list((tmp_path / "wavs").iterdir())
    with pytest.raises(LipsyncError, match=r"cannot be written to .*absent"):
        open_voice(make_sound(0.2), tmp_path / "absent", video)
