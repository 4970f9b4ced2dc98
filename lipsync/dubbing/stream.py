"""Stages of a stream that overlap: each may run in a thread of its own, a few items ahead of the next."""

import traceback
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import TypeVar

import torch

from lipsync.side_by_side import take_cores

T = TypeVar("T")


def ahead(items: Iterable[T], depth: int) -> Iterator[T]:
    """Makes the items in a thread, in their order and up to `depth` of them before they are asked for.

    What making them raises is raised here, after the items before it. The thread starts with the first item asked for.
    It ends, and a generator among `items` is closed, with the last item, with an error on either side, or with
    `close()`: hold it in `contextlib.closing` where it may be left early.

    torch.inference_mode and no_grad are a thread's own: a stage that computes must enter them itself.
    """
    room, made, stopped = Semaphore(depth), SimpleQueue(), Event()
    failed: list[BaseException] = []
    cores = torch.get_num_threads()

    def make() -> None:
        take_cores(cores)
        try:
            source = iter(items)
            try:
                while room.acquire() and not stopped.is_set():
                    made.put([next(source)])
            except StopIteration:
                pass
            finally:
                if hasattr(source, "close"):
                    source.close()
        except BaseException as error:
            # Or the stages before this one, which its frames hold, would live as long as the error.
            traceback.clear_frames(error.__traceback__)
            failed.append(error)
        made.put([])

    # A daemon, or a stream that nobody closed would keep the interpreter from ending.
    thread = Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        while item := made.get():
            room.release()
            yield item.pop()
        if failed:
            raise failed.pop()
    finally:
        stopped.set()
        room.release()
        thread.join()
