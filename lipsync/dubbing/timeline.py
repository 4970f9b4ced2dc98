"""Which frame of the source is shown when, where the sound is longer or shorter than the video; and those frames."""

import math
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lipsync.dubbing.read import Format, PlaneFrame, read_planes
from lipsync.errors import LipsyncError, check_choice

LENGTHS = ("video", "audio", "loop", "bounce", "hold")
BLOCK = 32  # frames in memory while a video is played backwards


class Timeline(NamedTuple):
    """The output's frames: numbers of the source's, pts from 0 and durations in its ticks, each (F,) int64."""

    numbers: np.ndarray
    pts: np.ndarray
    durations: np.ndarray


def timeline(pts: np.ndarray, end: int, time_base: Fraction, rate: Fraction, length: str, sound: Fraction) -> Timeline:
    """Lays out the output; in ticks, so nothing drifts however long it is.

    With `video` every frame has its own time and the sound adapts. Otherwise frames are shown that begin while there is
    sound, and the last is cut or prolonged by at most half a frame to end with it. Where the video is the shorter one,
    `audio` is an error; `loop` starts again; `bounce` goes back and forth, each turning frame once; `hold` shows the
    last frame on a grid of the average rate.

    Args:
        pts: (N,) of the source's frames.
        end: Of the last of them, in ticks.
        rate: Average frames a second.
        length: video, audio, loop, bounce or hold.
        sound: Seconds of sound from the first frame on.

    Raises:
        LipsyncError: No such length, no sound to be as long as, or with `audio` too much of it.
    """
    check_choice("length", length, LENGTHS)
    durations, count = np.diff(pts, append=end), len(pts)
    if length == "video":
        return Timeline(np.arange(count), pts - pts[0], durations)
    stop = round(sound / time_base)
    if stop < 1:
        raise LipsyncError(f"--length {length}: there is no sound after the video's first frame; choose video")

    step, whole = max(1 / (rate * time_base), Fraction(1)), end - int(pts[0])
    numbers = np.arange(count)
    if stop > whole + step / 2:
        if length == "audio":
            raise LipsyncError(
                f"--length audio: the sound lasts {seconds(sound)}, the video {seconds(whole * time_base)}; choose "
                "loop, bounce or hold to fill the rest, or video to cut the sound"
            )
        if length == "hold" or count == 1:
            held = np.arange(math.ceil((stop - whole) / step) + 1)
            grid = (2 * held * step.numerator + step.denominator) // (2 * step.denominator)
            numbers = np.append(numbers, np.full(len(held) - 1, count - 1))
            durations = np.append(durations, np.diff(grid))
        else:
            order = np.append(numbers, numbers[-2:0:-1]) if length == "bounce" else numbers
            numbers = np.tile(order, -(-stop // int(durations[order].sum())))
            durations = durations[numbers]
    begins = np.cumsum(durations) - durations
    shown = int(np.searchsorted(begins, stop))
    numbers, begins, durations = numbers[:shown], begins[:shown], durations[:shown].copy()
    shortest = min(int(durations[-1]), int(step)) // 2
    durations[-1] = max(stop - int(begins[-1]), shortest)
    return Timeline(numbers, begins, durations)


def leftover(shown: Timeline, pts: np.ndarray, end: int, time_base: Fraction, sound: Fraction) -> str:
    """Says in words what the lengths of sound and video cost, to a millisecond; empty where they agree."""
    out = int(shown.pts[-1] + shown.durations[-1]) * time_base
    video = (end - int(pts[0])) * time_base
    costs = {
        "of sound cut": sound - out,
        "of silence after the sound": out - max(sound, Fraction(0)),
        "of video cut": video - out,
        "of video added": out - video,
    }
    return ", ".join(f"{seconds(cost)} {what}" for what, cost in costs.items() if cost >= Fraction(1, 1000))


def seconds(value: Fraction) -> str:
    """Writes a time for people: 3.2 s, 0.04 s."""
    return f"{float(round(value, 3)):g} s"


def play(video: str | Path, source: Format, pts: np.ndarray, shown: Timeline, first: int = 0) -> Iterator[PlaneFrame]:
    """Reads the output's frames from position `first` on; their planes may be painted in place.

    Forwards the video is decoded once through, and a held frame once; backwards it is decoded in blocks, each from the
    key frame before it. Time, pts and duration are the output's, the number is the source's.

    Args:
        pts: (N,) of the source's frames as they were surveyed.

    Raises:
        LipsyncError: A frame that was surveyed can no longer be decoded.
    """
    place = first
    for stretch in _stretches(shown.numbers[first:]):
        for number, planes in _pictures(video, source, pts, stretch):
            ticks = int(shown.pts[place])
            yield PlaneFrame(number, ticks * source.time_base, ticks, int(shown.durations[place]), planes)
            place += 1


def _stretches(numbers: np.ndarray) -> list[np.ndarray]:
    """Splits frame numbers where the direction changes: in each they rise by 0 or 1, or they fall by 1."""
    steps = np.diff(numbers)
    back = np.append(False, steps == -1)
    turns = np.flatnonzero((back[1:] != back[:-1]) | (abs(steps) > 1)) + 1
    return np.split(numbers, turns) if len(numbers) else []


def _pictures(
    video: str | Path, source: Format, pts: np.ndarray, stretch: np.ndarray
) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
    """Number and planes of each frame of a stretch."""
    if len(stretch) > 1 and stretch[1] < stretch[0]:
        for begin in range(0, len(stretch), BLOCK):
            block = list(_pictures(video, source, pts, stretch[begin : begin + BLOCK][::-1]))
            while block:
                yield block.pop()
        return
    start = int(stretch[0])
    with closing(read_planes(video, source, first=(start, int(pts[start])))) as frames:
        for number, times in zip(*np.unique(stretch, return_counts=True), strict=True):
            frame = next(frames, None)
            if frame is None or (frame.number, frame.pts) != (number, pts[number]):
                raise LipsyncError(f"{video}: frame {number} can no longer be decoded; has the file changed?")
            for _ in range(times - 1):
                yield frame.number, tuple(plane.copy() for plane in frame.planes)
            yield frame.number, frame.planes
