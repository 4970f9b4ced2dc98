"""Frames on cores of their own: in order, without gradients, and the threads as they were."""

import threading

import pytest
import torch
from torch import Tensor

from lipsync.side_by_side import AT_ONCE, on_one_core, side_by_side


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> int:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_parts_come_back_in_order(threads: int, count: int) -> None:
    seen, weight = [], torch.ones(3, requires_grad=True)
    workers = threading.Barrier(min(threads, -(-count // AT_ONCE)), timeout=20)

    def work(a: Tensor, b: Tensor) -> Tensor:
        if not seen:
            workers.wait()  # all begin before one ends
        seen.append((len(a), torch.get_num_threads(), threading.get_ident()))
        return a * weight + b

    a, b = torch.randn(2, count, 3)
    found = side_by_side(work, a, b)
    assert torch.equal(found, a + b)
    assert not found.requires_grad
    assert sum(length for length, _, _ in seen) == count
    assert max(length for length, _, _ in seen) <= AT_ONCE
    assert {inside for _, inside, _ in seen} == {1}
    assert torch.get_num_threads() == threads


def test_an_error_is_raised_and_leaves_the_threads_as_they_were(threads: int) -> None:
    def work(a: Tensor) -> Tensor:
        raise ValueError("no such face")

    with pytest.raises(ValueError, match="no such face"):
        side_by_side(work, torch.zeros(5, 1))
    assert torch.get_num_threads() == threads


def test_one_core_for_what_is_within(threads: int) -> None:
    @on_one_core()
    def work() -> None:
        assert torch.get_num_threads() == 1
        raise ValueError("within")

    with pytest.raises(ValueError, match="within"):
        work()
    assert torch.get_num_threads() == threads
