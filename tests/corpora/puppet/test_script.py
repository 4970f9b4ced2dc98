"""Scripts sound like speech, and their articulation closes where it must."""

import numpy as np
import pytest

from lipsync.corpora.puppet.script import (
    CONTROL_RATE,
    FPS,
    PHONES,
    Articulation,
    Segment,
    articulate,
    blend,
    write_script,
)

SECONDS = 4.0


@pytest.fixture(scope="module")
def articulations() -> list[Articulation]:
    return [articulate(write_script(SECONDS, np.random.default_rng(seed)), SECONDS) for seed in range(20)]


def inside(segments: list[Segment]) -> list[Segment]:
    return [segment for segment in segments if segment.end <= SECONDS]


def test_phones_last_as_long_as_in_speech(articulations):
    for articulation in articulations:
        durations = {True: [], False: []}
        for symbol, start, end, _ in articulation.segments:
            durations[symbol == "_"].append(end - start)
        assert min(durations[False]) >= 0.0599
        assert max(durations[False]) <= 0.1601
        assert min(durations[True]) >= 0.1499
        assert max(durations[True]) <= 0.6001


def test_segments_follow_one_another_and_cover_the_clip(articulations):
    for articulation in articulations:
        starts = [segment.start for segment in articulation.segments]
        ends = [segment.end for segment in articulation.segments]
        assert starts[0] == 0
        assert starts[1:] == ends[:-1]
        assert ends[-1] >= SECONDS


def test_lips_meet_on_a_frame_of_every_labial(articulations):
    count = 0
    for articulation in articulations:
        opening = articulation.at_frames("opening")
        for symbol, start, end, _ in inside(articulation.segments):
            if PHONES[symbol].labial:
                frames = np.arange(len(opening)) / FPS
                assert opening[(frames >= start) & (frames <= end)].min() < 1e-6, (symbol, start)
                count += 1
    assert count > 50


def test_pauses_are_closed_and_silent(articulations):
    for articulation in articulations:
        time = np.arange(len(articulation.opening)) / CONTROL_RATE
        for symbol, start, end, _ in articulation.segments:
            if symbol == "_":
                pause = (time >= start + 0.02) & (time <= end - 0.02)
                for name in ("opening", "voice", "noise"):
                    assert np.abs(getattr(articulation, name)[pause]).max(initial=0) < 1e-6


def test_open_vowels_open_the_mouth_and_rounded_ones_round_it():
    def steady(symbol: str) -> Articulation:
        return articulate([Segment(symbol, 0.0, 0.4, 1.0)], 0.4)

    assert steady("a").opening == pytest.approx(PHONES["a"].opening)
    assert steady("u").rounding == pytest.approx(1.0)
    assert steady("i").spread == pytest.approx(1.0)
    assert steady("e").formants == pytest.approx(np.tile(PHONES["e"].formants, (80, 1)))


def test_trajectories_are_smooth(articulations):
    for articulation in articulations:
        assert np.abs(np.diff(articulation.opening)).max() < 0.08  # a control value is 5 ms
        assert np.abs(np.diff(articulation.spread)).max() < 0.06


def test_blend_weighs_neighbours_by_their_grip():
    target, grip = np.repeat([0.0, 1.0], 100), np.repeat([1.0, 3.0], 100)
    assert blend(np.full(200, 0.7), grip, 0.05) == pytest.approx(0.7)
    # Half of the kernel on either side of the boundary: 3 / (1 + 3), but for the half value at its centre.
    assert blend(target, grip, 0.1)[99:101].mean() == pytest.approx(0.75, abs=0.01)


def test_same_seed_same_script():
    one, other, third = (write_script(3.0, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert one == other
    assert one != third
