"""The mean over clips: in the order of clips, each once, without what is undefined, and in two processes as in one."""

import math
import sys
from pathlib import Path
from subprocess import Popen

import pytest
import shares
import torch
from torch import Tensor

from lipsync.metrics.clip_metric import ClipMetric


class Halves(ClipMetric):
    """Means of the two halves of a clip of numbers; NaN of nothing."""

    names = ("first", "second")

    def score(self, clip: Tensor) -> dict[str, Tensor]:
        first, second = clip.tensor_split(2)
        return {"second": second.mean(), "first": first.mean()}


def test_means_and_clips() -> None:
    metric = Halves()
    metric.update(7, torch.tensor([1.0, 3.0]))
    metric.update(index=2, clip=torch.tensor([2.0, 8.0]))
    metric.update(2, clip=torch.tensor([2.0, 8.0]))  # seen again
    assert metric.by_clip() == {2: {"first": 2, "second": 8}, 7: {"first": 1, "second": 3}}
    assert list(metric.by_clip()) == [2, 7]
    means = metric.compute()
    assert list(means) == ["first", "second"]
    assert [float(mean) for mean in means.values()] == [1.5, 5.5]
    assert means["first"].dtype == torch.float64
    metric.reset()
    assert metric.by_clip() == {}


def test_what_is_undefined_is_left_out() -> None:
    metric = Halves()
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert metric.compute() == {}
    metric.update(0, torch.tensor([torch.nan, 4.0]))
    assert metric.compute() == {"second": 4}
    assert metric.by_clip() == {0: {"second": 4}}
    metric.update(1, torch.tensor([5.0, 6.0]))
    assert metric.compute() == {"first": 5, "second": 5}


def test_the_order_of_clips_changes_no_digit() -> None:
    clips = torch.rand(50, 6)
    there, back = Halves(), Halves()
    for number in range(50):
        there.update(number, clips[number])
        back.update(49 - number, clips[49 - number])
    assert there.compute() == back.compute()
    first = math.fsum(row["first"] for row in there.by_clip().values()) / 50
    assert float(there.compute()["first"]) == pytest.approx(first, rel=1e-14)


def test_two_processes_are_one(tmp_path: Path) -> None:
    """Also where there is no clip for the second one, or one clip for both."""
    command = [sys.executable, shares.__file__, str(tmp_path), "1,7"]
    processes = [Popen([*command, str(rank), "2"]) for rank in range(2)]
    assert [process.wait(300) for process in processes] == [0, 0]
    for place, clips in enumerate((1, 7)):
        means, by_clip, distance = shares.scores(clips, 0, 1)
        assert len(by_clip) == clips
        assert distance > 0.1
        for rank in range(2):
            found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)[place]
            assert found[0] == means
            assert found[1] == by_clip
            assert found[2] == pytest.approx(distance, rel=1e-9)
