"""Time codes, and what is said of a file that breaks off."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from lipsync.dubbing.read import Format
from lipsync.dubbing.remark import Remark, broken_off, runs, time_code


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (Fraction(0), "0:00:00.000"),
        (Fraction(59_9996, 10_000), "0:01:00.000"),
        (Fraction(3723) + Fraction(1001, 30_000), "1:02:03.033"),
    ],
)
def test_time_code(seconds: Fraction, code: str) -> None:
    assert time_code(seconds) == code


def test_runs_of_equal_values() -> None:
    assert list(runs(np.array([0, 1, 1, 2, 0, 0, 3]))) == [(1, 3), (3, 4), (6, 7)]
    assert list(runs(np.array([], int))) == []


def test_a_file_that_breaks_off(make_survey: Callable, plain_format: Format) -> None:
    """50 frames from pts 100 on, a tick each: the header may promise a quarter of a second too much."""
    survey = make_survey([], 50)
    for end in (None, 140, 150, 156):
        assert broken_off(survey, plain_format._replace(end=end)) == []
    assert broken_off(survey, plain_format._replace(end=200, still=True)) == []
    (found,) = broken_off(survey, plain_format._replace(end=200))
    assert found == Remark(Fraction(2), Fraction(4), "broken off", -1, "the file breaks off, 2.00 s cannot be read")
    assert str(found) == "0:00:02.000 to 0:00:04.000: broken off: the file breaks off, 2.00 s cannot be read"
