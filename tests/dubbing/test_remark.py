"""Remarks and their times."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from lipsync.dubbing.read import Format
from lipsync.dubbing.remark import Remark, remark, runs, time_code


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (Fraction(0), "0:00:00.000"),
        (Fraction(1001, 30_000), "0:00:00.033"),
        (Fraction(59_9996, 10_000), "0:01:00.000"),
        (Fraction(3 * 3600 + 25 * 60 + 7) + Fraction(1, 8), "3:25:07.125"),
        (Fraction(36_000), "10:00:00.000"),
    ],
)
def test_time_code(seconds: Fraction, code: str) -> None:
    assert time_code(seconds) == code


def test_times_are_those_of_the_frames(make_survey: Callable, plain_format: Format) -> None:
    survey = make_survey([], 50)
    survey.pts[20:] += 5  # the twentieth comes late
    assert remark(survey, plain_format, (10, 20), "tiny", 3, "left") == Remark(
        Fraction(10, 25), Fraction(25, 25), "tiny", 3, "left"
    )
    assert remark(survey._replace(end=170), plain_format, (49, 50), "tiny", 3, "left").end == Fraction(70, 25)


def test_in_words() -> None:
    told = Remark(Fraction(1), Fraction(3, 2), "profile", 2, "left as it is")
    assert str(told) == "0:00:01.000 to 0:00:01.500: profile (face 2): left as it is"
    assert str(told._replace(track=-1, kind="no face")) == "0:00:01.000 to 0:00:01.500: no face: left as it is"


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([], []),
        ([0, 0], []),
        ([1, 1], [(0, 2)]),
        ([0, 1, 1, 2, 0, 2], [(1, 3), (3, 4), (5, 6)]),
    ],
)
def test_runs(kinds: list[int], expected: list[tuple[int, int]]) -> None:
    assert list(runs(np.array(kinds, np.int64))) == expected
