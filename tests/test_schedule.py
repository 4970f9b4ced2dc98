"""The weights of the terms where their course bends."""

import pytest

from lipsync.errors import LipsyncError
from lipsync.schedule import PAPER_WEIGHTS, Schedule


def test_a_term_rises_in_its_stage_and_is_absent_before() -> None:
    schedule = Schedule({"sync": 0.5, "mesh": 1.0, "lpips": 0.0}, {"sync": [10, 4], "mesh": [3, 0]})
    assert schedule.at(0) == {"simple": 1.0, "vb": 1.0, "l2": 1.0}
    assert schedule.at(3) == {"simple": 1.0, "vb": 1.0, "l2": 1.0, "mesh": 1.0}
    assert "sync" not in schedule.at(9)
    assert [schedule.at(step)["sync"] for step in (10, 11, 12, 13, 14, 99)] == pytest.approx(
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.5]
    )
    assert schedule.start("sync") == 10
    assert schedule.at(None) == {"simple": 1.0, "vb": 1.0, "l2": 1.0, "mesh": 1.0, "sync": 0.5, "gan": 0.5}
    assert not schedule.wants("lpips")


def test_the_defaults_are_the_authors_in_two_stages() -> None:
    schedule = Schedule(None, None)
    assert schedule.at(None) == {name: weight for name, weight in PAPER_WEIGHTS.items() if name != "mesh"}
    assert schedule.at(9_999) == {"simple": 1.0, "vb": 1.0, "l2": 1.0}
    assert 0 < schedule.at(10_000)["gan"] < 0.001


@pytest.mark.parametrize(
    ("weights", "stages", "named"),
    [({"lipps": 1.0}, None, "loss_weights: no such term"), (None, {"lipps": [0, 1]}, "schedule: no such term")]
    + [(None, {"gan": stage}, "schedule.gan") for stage in ([1], [-1, 2], [1, 2, 3])],
)
def test_mistakes_are_named(weights: dict | None, stages: dict | None, named: str) -> None:
    with pytest.raises(LipsyncError, match=named):
        Schedule(weights, stages)
