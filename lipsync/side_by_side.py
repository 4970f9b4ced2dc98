"""Work shared out over the cores of a CPU."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

AT_ONCE = 2  # frames of a core: more leave its cache
T = TypeVar("T")


def side_by_side(work: Callable[..., Tensor], *batch: Tensor) -> Tensor:
    """Returns `work(*batch)`, without gradients, for tensors (N, ...) on a CPU: each core works at frames of its own.

    Layer by layer on all cores together, each would wait for the slowest, and for what lies in the others' caches.
    """
    parts = zip(*(tensor.split(AT_ONCE) for tensor in batch), strict=True)
    return torch.cat(on_cores(lambda part: torch.no_grad()(work)(*part), parts))


def on_cores(work: Callable[[object], T], parts: Iterable[object]) -> list[T]:
    """Returns what `work` makes of each part, in their order; each core works at one part at a time."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=take_cores, initargs=(1,)) as cores:
            return list(cores.map(work, parts))
    finally:
        torch.set_num_threads(threads)


def take_cores(count: int) -> None:
    """Has this thread, which may be new, work on so many cores."""
    torch.get_num_threads()  # a new thread's first look takes what any thread has set last, and would undo this
    torch.set_num_threads(count)


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keeps to one core what is too small to share: its helpers, which wait in a loop, would take the other stages'."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
