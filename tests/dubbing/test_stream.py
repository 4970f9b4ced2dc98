"""A stage in a thread of its own: order, overlap, errors of either side, and no thread left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import closing
from itertools import count, islice

import pytest
import torch

from lipsync.dubbing import stream as module
from lipsync.dubbing.stream import ahead
from lipsync.errors import LipsyncError


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


class Numbers:
    """Counts from 0 and keeps book: how many were made, in which thread, where the generator ended."""

    def __init__(self, stop: int | None = None, error: BaseException | None = None) -> None:
        self.stop, self.error = stop, error
        self.made, self.thread, self.closed_in = 0, None, None

    def __iter__(self) -> Iterator[int]:
        try:
            for number in islice(count(), self.stop):
                self.made, self.thread = number + 1, threading.current_thread()
                yield number
            if self.error is not None:
                raise self.error
        finally:
            self.closed_in = threading.current_thread()


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize("items", [[], [None, 0, "", ()], range(100), Numbers(100)])
def test_all_items_in_order(items: object, depth: int) -> None:
    assert list(ahead(items, depth)) == list(items)


def test_made_in_one_other_thread() -> None:
    numbers = Numbers(3)
    assert list(ahead(iter(numbers), 1)) == [0, 1, 2]
    assert numbers.thread is numbers.closed_in is not threading.current_thread()


def test_as_many_cores_as_the_taker_has() -> None:
    before = torch.get_num_threads()

    def items() -> Iterator[int]:
        other = threading.Thread(target=torch.set_num_threads, args=(1,))  # before this one's first look at it
        other.start()
        other.join()
        yield torch.get_num_threads()

    try:
        torch.set_num_threads(3)
        assert list(ahead(items(), 1)) == [3]
    finally:
        torch.set_num_threads(before)


def test_nothing_is_made_before_it_is_wanted() -> None:
    numbers = Numbers()
    stream = ahead(iter(numbers), 3)
    time.sleep(0.02)
    assert numbers.made == 0
    stream.close()
    assert numbers.thread is None


@pytest.mark.parametrize("depth", [1, 4])
def test_bounded(depth: int) -> None:
    numbers = Numbers()
    with closing(ahead(iter(numbers), depth)) as stream:
        for taken in range(1, 4):
            assert next(stream) == taken - 1
            deadline = time.monotonic() + 5
            while numbers.made < taken + depth and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(0.02)
            assert numbers.made == taken + depth


def test_items_are_not_kept() -> None:
    class Item:
        """Something a weak reference can be made to."""

    def items() -> Iterator[Item]:
        for _ in range(20):
            yield Item()

    alive, most = weakref.WeakSet(), 0
    for item in ahead(items(), 2):
        alive.add(item)
        most = max(most, len(alive))
        del item
    assert most == 1


def test_stages_overlap() -> None:
    """Three stages that each wait 20 ms an item take the time of one."""

    def slowly(items: object) -> Iterator[int]:
        for item in items:
            time.sleep(0.02)
            yield item

    start = time.perf_counter()
    assert list(ahead(slowly(ahead(slowly(ahead(slowly(range(20)), 2)), 2)), 2)) == list(range(20))
    assert time.perf_counter() - start < 0.9


@pytest.mark.parametrize("error", [LipsyncError("a.mp4: broken"), KeyboardInterrupt(), SystemExit(3), MemoryError()])
def test_errors_of_the_maker_come_after_its_items(error: BaseException) -> None:
    seen = []
    with pytest.raises(type(error)) as raised:  # noqa: PT012
        for item in ahead(iter(Numbers(5, error)), 2):
            seen.append(item)
    assert raised.value is error
    assert seen == [0, 1, 2, 3, 4]


def test_a_thing_that_is_not_iterable() -> None:
    with pytest.raises(TypeError, match="not iterable"):
        list(ahead(5, 2))


@pytest.mark.parametrize("error", [LipsyncError, KeyboardInterrupt])
@pytest.mark.parametrize("taken", [1, 5])
def test_errors_of_the_taker_stop_the_maker(error: type, taken: int) -> None:
    numbers = Numbers()
    with pytest.raises(error), closing(ahead(iter(numbers), 3)) as stream:  # noqa: PT012
        for item in stream:
            if item == taken - 1:
                raise error
    assert numbers.closed_in is numbers.thread is not None
    assert not numbers.thread.is_alive()


def test_an_abandoned_stream_stops() -> None:
    numbers = Numbers()
    assert list(islice(ahead(iter(numbers), 3), 2)) == [0, 1]
    assert numbers.closed_in is not None


def test_what_a_maker_raises_after_the_end_is_nobodys() -> None:
    waiting = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        waiting.wait(5)
        raise ValueError("too late")

    stream = ahead(items(), 2)
    assert next(stream) == 0
    timer = threading.Timer(0.05, waiting.set)
    timer.start()
    stream.close()
    assert waiting.is_set()
    assert next(stream, None) is None
    timer.join()


def test_ctrl_c_while_it_waits() -> None:
    def slowly() -> Iterator[int]:
        for number in range(50):
            time.sleep(0.2)
            yield number

    # A shell's background jobs ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(ahead(slowly(), 1))
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("ending", ["raise SystemExit(3)", "raise ValueError(next(stream))", "pass"])
def test_an_open_stream_does_not_keep_the_interpreter(ending: str) -> None:
    start = "import itertools, runpy; stream = runpy.run_path({!r})['ahead'](itertools.count(), 2); next(stream); "
    command = [sys.executable, "-c", start.format(module.__file__) + ending]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == {"raise SystemExit(3)": 3, "pass": 0}.get(ending, 1)


def stage(items: object, fail_at: int | None = None) -> Iterator[int]:
    for item in items:
        if item == fail_at:
            raise LipsyncError("the stage failed")
        yield item + 1


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_nested_stages_end_together_with_any_of_them(failing: int) -> None:
    """While the error is still at hand, no thread of an earlier stage lives on."""
    numbers, before = Numbers(), threading.active_count()
    stream = iter(numbers)
    for number in range(3):
        stream = ahead(stage(stream, 10 if number == failing else None), 2)
    with pytest.raises(LipsyncError, match="the stage failed") as raised:
        list(stream)
    assert threading.active_count() == before
    assert numbers.closed_in is not None
    assert raised.value.__traceback__ is not None


def test_nested_stages_end_when_they_are_left() -> None:
    numbers, before = Numbers(), threading.active_count()
    stream = iter(numbers)
    for _ in range(3):
        stream = ahead(stage(stream), 2)
    assert next(stream) == 3
    assert threading.active_count() == before + 3
    stream.close()
    assert threading.active_count() == before
    assert numbers.closed_in is not None
