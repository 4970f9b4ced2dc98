"""Which faces are painted, from tracks at known places."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lipsync.dubbing.choose import Part, choose
from lipsync.dubbing.read import Format, read_format
from lipsync.dubbing.track import Survey, survey
from lipsync.errors import LipsyncError
from lipsync.preparation.faces import FaceFinder
from lipsync.sound import write_wav


@pytest.fixture
def three(make_track: Callable, make_survey: Callable) -> Survey:
    """A small face for two seconds, a large one beside it in the second of them, and one in another shot."""
    tracks = [make_track(0, 50, x=20, y=30, chin=8), make_track(25, 25, x=80, y=60), make_track(60, 20, x=50, y=50)]
    return make_survey(tracks, 80, cuts=[60])


@pytest.fixture
def chosen(three: Survey, plain_format: Format) -> Callable[..., dict[int, int]]:
    """The sound of each chosen face, in order, by expressions."""

    def choose_them(face: str, *others: str) -> dict[int, int]:
        parts, remarks = choose("film.mp4", plain_format, three, face, others)
        assert remarks == []
        for part in parts:
            track = three.tracks[part.track]
            assert (part.first, part.last) == (track.first, track.first + len(track))
        return {part.track: part.voice for part in parts}

    return choose_them


@pytest.mark.parametrize(
    ("expressions", "voices"),
    [
        (["largest"], {1: 0, 2: 0}),
        (["all"], {0: 0, 1: 0, 2: 0}),
        (["1"], {1: 0}),
        (["2, 0"], {0: 0, 2: 0}),
        (["0,0,1,1,2"], {0: 0, 1: 0, 2: 0}),
        (["0,100,0,120"], {0: 0, 1: 0, 2: 0}),
        (["0,55,0,60"], {0: 0, 2: 0}),
        (["30,30.5,20,20.5"], {0: 0}),
        (["largest", "0"], {1: 0, 2: 0, 0: 1}),
        (["0", "2", "1"], {0: 0, 2: 1, 1: 2}),
        (["0,55,0,60", "1"], {0: 0, 2: 0, 1: 1}),
    ],
)
def test_expressions(chosen: Callable, expressions: list[str], voices: dict[int, int]) -> None:
    assert chosen(*expressions) == voices


def test_longer_beats_larger(make_track: Callable, make_survey: Callable, plain_format: Format) -> None:
    tracks = [make_track(0, 80, x=20, chin=8), make_track(60, 20, x=80, chin=20)]
    parts, _ = choose("film.mp4", plain_format, make_survey(tracks, 80))
    assert parts == [Part(0, 0, 80, 0)]


@pytest.mark.parametrize(
    ("expressions", "message"),
    [
        (["nobody"], "face 'nobody' is none of largest, speaker, all, numbers as 0,3 or a box y0,y1,x0,x1"),
        ([""], "face '' is none of"),
        (["0;1"], "face '0;1' is none of"),
        (["3"], r"film.mp4: no face 3; there is 0 \(from 0:00:00.000 at y 30, x 20\), 1 \(from 0:00:01.000 at y 60, x"),
        (["-1"], "no face -1"),
        (["1.5"], "no face 1.5"),
        (["nan"], "no face nan"),
        (["0,10,0,10"], r"film.mp4: no face within y 0 to 10, x 0 to 10; there is 0 \("),
        (["55,0,60,0"], "no face within y 55 to 0"),
        (["all", "1"], "face 1 is claimed by 'all' and by '1': give it one sound"),
        (["0", "1", "50,70,70,90"], "face 1 is claimed by '1' and by '50,70,70,90'"),
    ],
)
def test_mistakes_are_one_line(chosen: Callable, expressions: list[str], message: str) -> None:
    with pytest.raises(LipsyncError, match=message) as caught:
        chosen(*expressions)
    assert "\n" not in str(caught.value)


def test_a_long_list_is_cut(make_track: Callable, make_survey: Callable, plain_format: Format) -> None:
    survey = make_survey([make_track(3 * k, 3) for k in range(12)], 36)
    with pytest.raises(LipsyncError, match=r"7 \(.*\) and 4 more: see lipsync faces$"):
        choose("film.mp4", plain_format, survey, "12")


def test_no_face_at_all(make_survey: Callable, plain_format: Format) -> None:
    """A shot without people is no mistake, unless somebody is asked for."""
    survey = make_survey([], 7)
    assert choose("film.mp4", plain_format, survey) == choose("film.mp4", plain_format, survey, "all") == ([], [])
    with pytest.raises(LipsyncError, match=r"film\.mp4: no face 0; there is none in any frame"):
        choose("film.mp4", plain_format, survey, "0")


class Conversation:
    """Two faces beside each other for 20 s: the left one speaks in the first half, the right one in the second."""

    def __init__(self, path: Path, make_track: Callable, make_survey: Callable) -> None:
        rng = np.random.default_rng(0)
        levels = np.interp(np.arange(2400) / 25, np.arange(97), rng.uniform(0, 1, 97))
        noise = rng.normal(0, 1, (2400, 160)) * 3000 * 10 ** (1.5 * (levels - 1))[:, None]
        write_wav(path, noise.ravel().astype(np.int16))
        times, self.video = np.arange(500) / 25, str(path)
        left, right = (8 * np.interp(times, np.arange(2400) / 100, levels) for _ in range(2))
        left[250:], right[:250] = 1, 1
        tracks = [make_track(0, 500, x=30, opening=left), make_track(0, 500, x=90, chin=12, opening=right)]
        # A third shot, of somebody who listens.
        self.survey = make_survey([*tracks, make_track(500, 60, x=60)], 560, cuts=[500])
        self.survey = self.survey._replace(pts=self.survey.pts - 100, end=560)


@pytest.fixture
def conversation(tmp_path: Path, make_track: Callable, make_survey: Callable) -> Conversation:
    return Conversation(tmp_path / "talk.wav", make_track, make_survey)


def test_the_speaker_of_every_moment(conversation: Conversation, plain_format: Format) -> None:
    parts, remarks = choose(conversation.video, plain_format, conversation.survey, "speaker")
    first, second, listener = parts
    assert (first.track, first.first, second.track, second.last) == (0, 0, 1, 500)
    assert first.last == second.first == pytest.approx(250, abs=15)
    assert listener == Part(2, 500, 560, 0)
    (told,) = remarks
    assert (told.start, told.end, told.kind, told.track) == (20, Fraction(560, 25), "no speaker", 2)
    assert told.action == "no mouth moves with the sound: the largest face is painted"


def test_without_sound_the_largest_is_taken_and_said(make_video: Callable, three: Survey, plain_format: Format) -> None:
    parts, remarks = choose(make_video(), plain_format, three, "speaker")
    assert [part.track for part in parts] == [1, 2]
    assert [told.track for told in remarks] == [1, 2]
    assert {told.action for told in remarks} == {"the video has no sound: the largest face is painted"}


def test_a_real_speaker(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    video = shared / "clips" / "grid_bbaf2n.mpg"
    source = read_format(video)
    parts, remarks = choose(video, source, survey(video, source, FaceFinder()), "speaker")
    assert parts == [Part(0, 0, 75, 0)]
    assert remarks == []
