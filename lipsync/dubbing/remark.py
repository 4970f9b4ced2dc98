"""What a viewer may wonder about, with its time."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from lipsync.dubbing.read import Format
from lipsync.dubbing.track import Survey

MISSED = Fraction(1, 4)  # seconds that a header may promise too much


class Remark(NamedTuple):
    """One thing about a stretch of the source video.

    Attributes:
        start, end: Seconds since its first frame.
        kind: `no face`, `profile`, `tiny`, `border` (cut off by the picture's), `huge`, `no speaker` or `broken off`.
        track: Number of the face, or -1.
        action: What is done about it, in words.
    """

    start: Fraction
    end: Fraction
    kind: str
    track: int
    action: str

    def __str__(self) -> str:
        face = "" if self.track < 0 else f" (face {self.track})"
        return f"{time_code(self.start)} to {time_code(self.end)}: {self.kind}{face}: {self.action}"


def remark(survey: Survey, source: Format, frames: tuple[int, int], kind: str, track: int, action: str) -> Remark:
    """Remarks on the frames [first, last)."""
    start, end = (seconds(survey, source, frame) for frame in frames)
    return Remark(start, end, kind, track, action)


def seconds(survey: Survey, source: Format, frame: int) -> Fraction:
    """When a frame begins, since the first; that after the last is the video's end."""
    pts = survey.end if frame == len(survey.pts) else int(survey.pts[frame])
    return (pts - int(survey.pts[0])) * source.time_base


def time_code(seconds: Fraction) -> str:
    """Writes h:mm:ss.mmm."""
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60}:{minutes % 60:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"


def broken_off(survey: Survey, source: Format) -> list[Remark]:
    """A remark if a video has fewer frames than its header says."""
    if source.still or source.end is None or source.end <= survey.end:
        return []
    missing = (source.end - survey.end) * source.time_base
    if missing <= max(MISSED, 2 / source.rate):
        return []
    end = (survey.end - int(survey.pts[0])) * source.time_base
    action = f"the file breaks off, {float(missing):.2f} s cannot be read"
    return [Remark(end, end + missing, "broken off", -1, action)]


def runs(kinds: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yields [begin, end) of every longest stretch of (T,) equal values other than 0."""
    edges = np.flatnonzero(kinds[1:] != kinds[:-1]) + 1
    pairs = pairwise([0, *edges.tolist(), len(kinds)])
    yield from ((begin, end) for begin, end in pairs if begin < end and kinds[begin])
