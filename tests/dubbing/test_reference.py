"""Which frame is the reference."""

from collections.abc import Callable

import numpy as np
import pytest

from lipsync.dubbing.reference import reference_frame
from lipsync.errors import LipsyncError

OPENING = np.array([1.0, 9, 5, 0, 2, 3, 7])
YAW = np.array([40.0, 0, -5, 0, -30, 10, 0])


def test_self_is_no_frame(make_track: Callable) -> None:
    assert reference_frame(make_track(10, 7), np.ones(7, bool), "self") == -1


def test_first_is_seen_and_fit(make_track: Callable) -> None:
    fit = np.array([False, True, True, True, True, True, True])
    assert reference_frame(make_track(10, 7, unseen=[1]), fit, "first") == 12


def test_closed_is_the_most_closed_frontal_mouth(make_track: Callable) -> None:
    track = make_track(10, 7, opening=OPENING, yaw=YAW, unseen=[3])
    assert reference_frame(track, np.ones(7, bool), "closed") == 15
    assert reference_frame(track, np.arange(7) != 5, "closed") == 12


def test_closed_without_a_frontal_frame(make_track: Callable) -> None:
    track = make_track(0, 6, opening=np.array([1.0, 2, 3, 4, 5, 6]), yaw=np.array([44.0, 43, 20, 22, 41, 42]))
    assert reference_frame(track, np.ones(6, bool), "closed") == 2


@pytest.mark.parametrize("name", ["first", "closed"])
def test_where_only_bridged_frames_are_fit(make_track: Callable, name: str) -> None:
    assert reference_frame(make_track(10, 7, unseen=[3, 4]), np.isin(np.arange(7), [3, 4]), name) == 13


def test_unknown(make_track: Callable) -> None:
    with pytest.raises(LipsyncError, match="'still' is none of self, first, closed"):
        reference_frame(make_track(0, 3), np.ones(3, bool), "still")
