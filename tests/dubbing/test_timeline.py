"""The layout of each length in closed form, and that playing it gives the source's own pixels in every order."""

import math
import weakref
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipsync.dubbing import timeline as module
from lipsync.dubbing.read import PlaneFrame, read_format, read_planes
from lipsync.dubbing.timeline import BLOCK, LENGTHS, Timeline, leftover, play, timeline
from lipsync.errors import LipsyncError

TICK = Fraction(1, 600)
PTS = np.array([1000, 1024, 1048, 1096])  # 25 fps, one frame of double length, first pts not 0
END = 1120


def laid(length: str, ticks: float, pts: np.ndarray = PTS, end: int = END, tick: Fraction = TICK) -> Timeline:
    return timeline(pts, end, tick, Fraction(25), length, Fraction(ticks) * tick)


@pytest.mark.parametrize("sound", [-3, 0, 1, 120, 9999])
def test_video_is_every_frame_whatever_the_sound(sound: int) -> None:
    numbers, pts, durations = laid("video", sound)
    assert numbers.tolist() == [0, 1, 2, 3]
    assert pts.tolist() == [0, 24, 48, 96]
    assert durations.tolist() == [24, 24, 48, 24]


@pytest.mark.parametrize(
    ("ticks", "durations"),
    [
        (120, [24, 24, 48, 24]),
        (100.6, [24, 24, 48, 12]),  # a frame that begins while there is sound is shown, for half its time at least
        (96, [24, 24, 48]),
        (90, [24, 24, 42]),
        (49, [24, 24, 12]),
        (48, [24, 24]),
        (1, [12]),
        (131.6, [24, 24, 48, 36]),  # to half a frame longer than the video
    ],
)
@pytest.mark.parametrize("length", ["audio", "loop", "bounce", "hold"])
def test_a_longer_video_is_cut(length: str, ticks: float, durations: list[int]) -> None:
    shown = laid(length, ticks)
    assert shown.durations.tolist() == durations
    assert shown.numbers.tolist() == list(range(len(durations)))
    assert shown.pts.tolist() == [0, 24, 48, 96][: len(durations)]


def test_loop() -> None:
    shown = laid("loop", 300)
    assert shown.numbers.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2]
    assert shown.durations.tolist() == [24, 24, 48, 24] * 2 + [24, 24, 12]
    assert shown.pts.tolist() == [0, 24, 48, 96, 120, 144, 168, 216, 240, 264, 288]


def test_bounce() -> None:
    shown = laid("bounce", 300)
    assert shown.numbers.tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]
    assert shown.durations.tolist() == [24, 24, 48, 24, 48, 24, 24, 24, 48, 12]
    assert laid("bounce", 100, np.array([5, 29]), 53).numbers.tolist() == [0, 1, 0, 1, 0]


def test_hold_fills_up_on_the_average_grid() -> None:
    shown = laid("hold", 200)
    assert shown.numbers.tolist() == [0, 1, 2, 3, 3, 3, 3, 3]
    assert shown.pts.tolist() == [0, 24, 48, 96, 120, 144, 168, 192]
    assert shown.durations.tolist() == [24, 24, 48, 24, 24, 24, 24, 12]
    # Where the average is no whole number of ticks, the grid does not drift: 30000/1001 on a clock of milliseconds.
    held = timeline(np.arange(2) * 33, 67, Fraction(1, 1000), Fraction(30000, 1001), "hold", Fraction(3600))
    assert len(held.pts) == 2 + math.ceil((3600 - 0.067) * 30 / 1.001)
    assert held.pts[2:].tolist() == [
        67 + math.floor(Fraction(1001 * k, 30) + Fraction(1, 2)) for k in range(len(held.pts) - 2)
    ]


@pytest.mark.parametrize("length", ["loop", "bounce", "hold"])
def test_one_frame_is_held(length: str) -> None:
    shown = laid(length, 100, np.array([0]), 24)
    assert shown.numbers.tolist() == [0] * 5
    assert shown.durations.tolist() == [24] * 4 + [12]


def test_a_tick_a_frame() -> None:
    """Old AVI files count time in frames: the end is the nearest one."""
    for sound, frames in ((2.4, 2), (2.6, 3), (7.4, 7)):
        shown = laid("loop", sound, np.arange(4), 4, Fraction(1, 25))
        assert len(shown.numbers) == frames
        assert set(shown.durations) == {1}


@settings(deadline=None)  # a machine may be busy
@given(
    length=st.sampled_from(LENGTHS[2:]),
    steps=st.lists(st.integers(1, 5000), min_size=1, max_size=40),
    start=st.integers(-(10**12), 10**12),
    sound=st.fractions(Fraction(1, 40), 60),
    clock=st.sampled_from([25, 1000, 12800, 90000]),
    rate=st.sampled_from([Fraction(25), Fraction(30000, 1001), Fraction(12), Fraction(7, 3)]),
)
def test_always_as_long_as_the_sound(
    length: str, steps: list[int], start: int, sound: Fraction, clock: int, rate: Fraction
) -> None:
    sound = min(sound, Fraction(3000 * sum(steps), len(steps) * clock))  # 3000 frames are enough
    pts = start + np.cumsum([0, *steps[:-1]])
    shown = timeline(pts, int(pts[-1]) + steps[-1], Fraction(1, clock), rate, length, sound)
    out = Fraction(int(shown.durations.sum()), clock)
    assert abs(out - sound) <= max(1 / rate, Fraction(1, clock)) / 2
    assert (shown.durations > 0).all()
    assert shown.pts.tolist() == [0, *np.cumsum(shown.durations)[:-1].tolist()]
    assert (shown.pts < sound * clock + Fraction(1, 2)).all()
    # But for the last, and for those that hold adds, each frame has its own duration.
    own = np.array(steps)[shown.numbers] == shown.durations
    assert own[: len(steps) if length == "hold" or len(steps) == 1 else None][:-1].all()


def test_errors() -> None:
    with pytest.raises(LipsyncError, match=r"0\.221 s, the video 0\.2 s; choose loop, bounce or hold to fill the rest"):
        laid("audio", 132.6)
    with pytest.raises(LipsyncError, match="'forever' is none of video, audio, loop, bounce, hold"):
        laid("forever", 120)
    for length in LENGTHS[1:]:
        with pytest.raises(LipsyncError, match="no sound after the video's first frame; choose video"):
            laid(length, 0)


@pytest.mark.parametrize(
    ("length", "ticks", "words"),
    [
        ("video", 120, ""),
        ("video", 720, "1 s of sound cut"),
        ("video", 30, "0.15 s of silence after the sound"),
        ("video", -60, "0.2 s of silence after the sound"),
        ("audio", 48, "0.12 s of video cut"),
        ("audio", 49, "0.018 s of silence after the sound, 0.1 s of video cut"),
        ("audio", 120.3, ""),
        ("hold", 720, "1 s of video added"),
    ],
)
def test_words(length: str, ticks: float, words: str) -> None:
    assert leftover(laid(length, ticks), PTS, END, TICK, ticks * TICK) == words


@pytest.fixture(params=[("video.mp4", "libx264"), ("video.mpg", "mpeg2video")], ids=["mp4", "mpg"])
def clip(request: pytest.FixtureRequest, make_video: Callable) -> tuple:
    """A video of 80 frames with few key frames, its format, its frames' pts and their planes."""
    name, codec = request.param
    ticks = (1200, Fraction(1, 30_000)) if codec == "libx264" else (1, Fraction(1, 25))
    path = make_video(name, [ticks[0] * k for k in range(80)], (48, 32), ticks[1], codec=codec, gop=30)
    source = read_format(path)
    frames = list(read_planes(path, source))
    assert len(frames) == 80
    return path, source, np.array([frame.pts for frame in frames]), [frame.planes for frame in frames]


def order(name: str) -> list[int]:
    there, back = list(range(80)), list(range(78, 0, -1))
    return {
        "once": there,
        "loop": there + there + there[:7],
        "bounce": there + back + there + back[:33],
        "hold": there + [79] * 5,
        "still": [0] * 6,
        "steps": [5, 5, 6, 6, 6, 9, 8, 7, 7, 3, 4, 79, 78, 0],
    }[name]


@pytest.mark.parametrize("name", ["once", "loop", "bounce", "hold", "still", "steps"])
def test_playing_gives_every_frame_its_pixels(clip: tuple, name: str) -> None:
    path, source, pts, planes = clip
    numbers = order(name)
    shown = Timeline(np.array(numbers), 100 * np.arange(len(numbers)), np.arange(len(numbers)) + 1)
    count = 0
    for place, frame in enumerate(play(path, source, pts, shown)):
        assert frame[:4] == (numbers[place], 100 * place * source.time_base, 100 * place, place + 1)
        for ours, original in zip(frame.planes, planes[numbers[place]], strict=True):
            assert np.array_equal(ours, original)
            ours[:] = 0  # painted in place: no other frame may see it
        count += 1
    assert count == len(numbers)


@pytest.mark.parametrize("first", [1, 79, 80, 100, 157, 158, 160, 236, 237])
def test_playing_from_the_middle(clip: tuple, first: int) -> None:
    path, source, pts, planes = clip
    numbers = order("bounce")[:237]
    shown = Timeline(np.array(numbers), np.arange(237), np.ones(237, np.int64))
    frames = list(play(path, source, pts, shown, first))
    assert [frame.pts for frame in frames] == list(range(first, 237))
    assert [frame.number for frame in frames] == numbers[first:]
    assert all(np.array_equal(frame.planes[0], planes[frame.number][0]) for frame in frames)


def test_no_more_than_a_block_is_alive(clip: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    path, source, pts, _ = clip
    alive, most, decoded = 0, 0, 0

    def died() -> None:
        nonlocal alive
        alive -= 1

    def counted(*arguments: object, **how: object) -> Iterator[PlaneFrame]:
        nonlocal alive, most, decoded
        for frame in read_planes(*arguments, **how):
            weakref.finalize(frame.planes[0], died)
            alive, decoded = alive + 1, decoded + 1
            most = max(most, alive)
            yield frame

    monkeypatch.setattr(module, "read_planes", counted)
    numbers = np.array(order("bounce") + [46] * 100)
    shown = Timeline(numbers, np.arange(len(numbers)), np.ones_like(numbers))
    assert sum(1 for _ in play(path, source, pts, shown)) == len(numbers)
    assert BLOCK <= most <= BLOCK + 3
    # Each frame once, held ones too.
    assert decoded == len(order("bounce")) + 1


def test_a_file_that_lost_frames(make_video: Callable) -> None:
    path = make_video()
    source = read_format(path)
    pts = np.array([frame.pts for frame in read_planes(path, source)])
    shown = Timeline(np.arange(11), np.arange(11), np.ones(11, np.int64))
    with pytest.raises(LipsyncError, match="frame 10 can no longer be decoded; has the file changed"):
        list(play(path, source, np.append(pts, pts[-1] + 512), shown))
    with pytest.raises(LipsyncError, match="frame 4 can no longer be decoded"):
        list(play(path, source, pts + 3 * (np.arange(10) >= 4), shown))
