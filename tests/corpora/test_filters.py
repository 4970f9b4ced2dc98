"""Filters let through what lies within their bounds, count what they remove, and guess nothing."""

import numpy as np
import pytest

from lipsync.corpora.filters import NAMES, Removal, check, judge, removals
from lipsync.errors import LipsyncError

MEASURED = {
    "yaw": np.array([5, 20, 40, 60], np.float32),
    "sharpness": np.array([0.1, 0.2, 0.3, 0.1], np.float32),
    "sync_confidence": np.array([0.5, np.nan, 0.1, np.nan]),
}


def test_bounds_are_included_and_may_be_open() -> None:
    passes = judge("corpus", MEASURED, {"yaw": [20, 40], "sharpness": [0.2, None]})
    assert {name: passed.tolist() for name, passed in passes.items()} == {
        "yaw": [False, True, True, False],
        "sharpness": [False, True, True, False],
    }
    assert judge("corpus", MEASURED, {"yaw": [None, 20]})["yaw"].tolist() == [True, True, False, False]
    assert judge("corpus", MEASURED, {"yaw": [None, None]})["yaw"].all()
    assert judge("corpus", MEASURED, {}) == {}


def test_what_was_not_measured_is_named_with_the_way_to_measure_it() -> None:
    with pytest.raises(
        LipsyncError, match="sync_confidence of 2 of the 4 clips of corpus is unknown: run `lipsync sync`"
    ):
        judge("corpus", MEASURED, {"sync_confidence": [0.1, None]})
    with pytest.raises(LipsyncError, match="roll of 1 of the 2 clips of corpus is unknown: prepare them again"):
        judge("corpus", {"roll": np.array([1, np.nan])}, {"roll": [None, 10]})


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"age": [1, 2]}, "'age' is none of face, presence, .*, seconds, sync_confidence"),
        ({"yaw": [3, 2]}, r"yaw \[3, 2\] is not \[least, most\]"),
        ({"yaw": [3]}, r"yaw \[3\] is not"),
        ({"yaw": [1, 2, 3]}, r"yaw \[1, 2, 3\] is not"),
    ],
)
def test_wrong_filters_are_refused(filters: dict, message: str) -> None:
    with pytest.raises(LipsyncError, match=message):
        check(filters)


def test_every_name_may_be_filtered_by() -> None:
    check({name: [0, None] for name in NAMES})
    assert len(set(NAMES)) == 15


def test_what_filters_remove_is_counted_alone_and_in_all() -> None:
    passes = {
        "yaw": np.array([True, False, False, True, True]),
        "luma": np.array([True, False, True, False, False]),
    }
    seconds = 3600 * np.array([1.0, 2, 4, 8, 16])
    assert removals(passes, seconds) == {
        "yaw": Removal(clips=2, hours=6.0, alone_clips=1, alone_hours=4.0),
        "luma": Removal(clips=3, hours=26.0, alone_clips=2, alone_hours=24.0),
        "together": Removal(clips=4, hours=30.0, alone_clips=4, alone_hours=30.0),
    }
    assert removals({}, seconds) == {"together": Removal(0, 0.0, 0, 0.0)}
