"""A judge that hears nothing is told from one that does."""

import pytest

from lipsync.evaluation.finish import deafness
from lipsync.evaluation.intervals import Interval


@pytest.mark.parametrize(
    ("truth", "late", "deaf"), [((1.25, 1.31), (1.29, 1.36), True), ((0.5, 0.6), (1.3, 1.4), False)]
)
def test_a_judge_that_hears_no_delay_is_named(truth: tuple, late: tuple, deaf: bool) -> None:
    cells = {
        row: {"lse_d_0": Interval(sum(bounds) / 2, *bounds, 20)}
        for row, bounds in {"truth": truth, "shifted_1": truth, "shifted_10": late}.items()
    }
    notes = deafness(cells)
    assert bool(notes) == deaf
    assert all("10 frames late" in note for note in notes)


def test_nobody_who_listens_is_not_deaf() -> None:
    assert deafness({"truth": {"opening_r": Interval(0.9, 0.8, 1.0, 3)}}) == []
