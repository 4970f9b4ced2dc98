"""The processes that prepare: each takes one source after the other, and never two the same at once."""

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch
from filelock import FileLock

LOCKS = ".locks"  # in the corpus
CHECKED = 0.5  # seconds between a worker's looks at whether its parent lives
AHEAD = 4  # items a process that wait in its queue

Item, Result = TypeVar("Item"), TypeVar("Result")


def alone(root: Path, source: str | None = None) -> FileLock:
    """A lock on a source, by its id, or on the manifest: while it is held (`with`), others wait.

    It holds on other machines, too; it is the kernel's and ends with the process, however that ends. Some thousand
    files serve all sources, so that two may have to wait for each other. Who needs both takes the manifest's first.
    """
    (root / LOCKS).mkdir(exist_ok=True)
    name = "manifest" if source is None else hashlib.sha256(source.encode()).hexdigest()[:3]
    return FileLock(root / LOCKS / name)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Computes on one thread, for the same numbers on every machine, and for one process a core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def work(
    function: Callable[[Item], Result], items: list[Item], processes: int, prepare_worker: Callable[[], None]
) -> Iterator[tuple[Item, Result]]:
    """Applies a function to all items, in several processes where there is more than one item, as they get done.

    Args:
        function: Of a module, as is `prepare_worker`, which every process calls first.
    """
    processes = min(processes, len(items))
    if processes <= 1:
        with one_thread():
            prepare_worker()
            for item in items:
                yield item, function(item)
        return
    # Spawned: a forked process cannot use CUDA, nor threads that its parent had.
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _begin, (os.getpid(), prepare_worker))
    try:
        waiting = iter(items)
        running: dict[Future, Item] = {}
        while True:
            for item in islice(waiting, AHEAD * processes - len(running)):
                running[pool.submit(function, item)] = item
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(parent: int, prepare_worker: Callable[[], None]) -> None:
    def watch() -> None:
        # A parent that was killed cannot stop its children, who would wait for work for ever.
        while os.getppid() == parent:
            time.sleep(CHECKED)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    torch.set_num_threads(1)
    prepare_worker()
