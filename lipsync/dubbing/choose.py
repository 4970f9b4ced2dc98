"""Which faces are painted, and which sound each one speaks."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lipsync.corpora.landmarks import NOSE_BASE
from lipsync.dubbing.read import Format
from lipsync.dubbing.remark import Remark, remark, runs, seconds, time_code
from lipsync.dubbing.speaker import follow, listen, movement
from lipsync.dubbing.track import Survey
from lipsync.errors import LipsyncError
from lipsync.preparation.tracks import Track

LISTED = 8  # faces that a message describes


class Part(NamedTuple):
    """The frames [first, last) of a track that are painted, and the number of the sound that the face then speaks."""

    track: int
    first: int
    last: int
    voice: int


def choose(
    video: str | Path, source: Format, survey: Survey, face: str = "largest", others: Iterable[str] = ()
) -> tuple[list[Part], list[Remark]]:
    """Chooses faces by expressions.

    Args:
        face: Which faces speak the first sound: `largest`, of those seen at the same time the most prominent;
            `speaker`, whose mouth moves with the video's own sound; `all`; numbers, "0,3"; or a box in pixels that the
            face lies in, always of four numbers, "y0,y1,x0,x1".
        others: The same for the second sound, the third, ...

    Returns:
        The parts, and a remark for each stretch where `speaker` could not tell and took the largest.

    Raises:
        LipsyncError: An expression that means nothing or no face here, or two that mean the same face.
    """
    parts, remarks, claimed = [], [], {}
    for voice, expression in enumerate([face, *others]):
        if expression == "speaker":
            own, noted = speakers(video, source, survey, voice)
            remarks += noted
        else:
            own = [_whole(survey, track, voice) for track in _tracks(video, source, survey, expression)]
        for part in own:
            if (other := claimed.setdefault(part.track, voice)) != voice:
                told = [face, *others][other]
                raise LipsyncError(f"face {part.track} is claimed by {told!r} and by {expression!r}: give it one sound")
        parts += own
    return parts, remarks


def _tracks(video: str | Path, source: Format, survey: Survey, expression: str) -> list[int]:
    """Numbers of the tracks that an expression means."""
    if expression == "largest":
        return largest(survey, float(source.rate), range(len(survey.tracks)))
    if expression == "all":
        return list(range(len(survey.tracks)))
    try:
        numbers = [float(number) for number in expression.split(",")]
    except ValueError:
        raise LipsyncError(
            f"face {expression!r} is none of largest, speaker, all, numbers as 0,3 or a box y0,y1,x0,x1"
        ) from None
    if len(numbers) == 4:
        y0, y1, x0, x1 = numbers
        places = [place(track) for track in survey.tracks]
        inside = [number for number, (x, y) in enumerate(places) if y0 <= y < y1 and x0 <= x < x1]
        if not inside:
            box = f"y {y0:g} to {y1:g}, x {x0:g} to {x1:g}"
            raise LipsyncError(f"{video}: no face within {box}; {listed(survey, source)}")
        return inside
    if unknown := [number for number in numbers if number not in range(len(survey.tracks))]:
        raise LipsyncError(f"{video}: no face {unknown[0]:g}; {listed(survey, source)}")
    return sorted({int(number) for number in numbers})


def largest(survey: Survey, fps: float, tracks: Iterable[int]) -> list[int]:
    """Chooses among tracks seen at the same time the most prominent, by length times size, whole tracks only."""
    prominence = {number: len(survey.tracks[number]) * side(survey.tracks[number], fps) for number in tracks}
    taken, chosen = np.zeros(len(survey.pts), bool), []
    for number in sorted(prominence, key=lambda number: -prominence[number]):
        part = _whole(survey, number, 0)
        if not taken[part.first : part.last].any():
            taken[part.first : part.last] = True
            chosen.append(number)
    return sorted(chosen)


def speakers(video: str | Path, source: Format, survey: Survey, voice: int) -> tuple[list[Part], list[Remark]]:
    """Chooses at every moment the face whose mouth moves most with the video's own sound.

    Where none is sure to, the largest faces are chosen, with a remark.
    """
    heard, fps = listen(video), float(source.rate)
    why = "the video has no sound" if heard is None else "no mouth moves with the sound"
    owner, best = np.zeros(len(survey.pts), np.int64), np.zeros(len(survey.pts))
    following = follow(survey, source, heard) if heard is not None and survey.tracks else None
    for number in np.flatnonzero(following.sure) if following else ():
        track = survey.tracks[number]
        span = slice(track.first, track.first + len(track))
        moves = movement(survey, source, heard, number, following.lag)
        better = (moves > best[span]) | (owner[span] == 0)
        owner[span][better], best[span][better] = number + 1, moves[better]
    parts = [Part(int(owner[begin]) - 1, begin, end, voice) for begin, end in runs(owner)]
    spans = [(track.first, track.first + len(track)) for track in survey.tracks]
    unheard = [number for number, (begin, end) in enumerate(spans) if not owner[begin:end].any()]
    fallen = [_whole(survey, number, voice) for number in largest(survey, fps, unheard)]
    action = f"{why}: the largest face is painted"
    remarks = [remark(survey, source, (part.first, part.last), "no speaker", part.track, action) for part in fallen]
    return sorted(parts + fallen, key=lambda part: part.first), remarks


def place(track: Track) -> np.ndarray:
    """Where a face is: x, y of its nose base, the median over the frames in which it is seen."""
    return np.median(track.points[NOSE_BASE][track.presence > 0], axis=0)


def side(track: Track, fps: float) -> float:
    """Side of a face's square box in pixels."""
    top, bottom = track.boxes(fps)[0, :2].tolist()
    return bottom - top


def listed(survey: Survey, source: Format) -> str:
    """The first faces in words, on one line."""
    if not survey.tracks:
        return "there is none in any frame"
    told = []
    for number, track in enumerate(survey.tracks[:LISTED]):
        (x, y), start = place(track), time_code(seconds(survey, source, track.first))
        told.append(f"{number} (from {start} at y {y:.0f}, x {x:.0f})")
    more = len(survey.tracks) - len(told)
    return f"there is {', '.join(told)}" + f" and {more} more: see lipsync faces" * (more > 0)


def _whole(survey: Survey, number: int, voice: int) -> Part:
    first = survey.tracks[number].first
    return Part(number, first, first + len(survey.tracks[number]), voice)
