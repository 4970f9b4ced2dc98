"""Several processes that do the same at the same moment, and what each of them wrote."""

import multiprocessing
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

PATIENCE = 120  # seconds


def together(function: Callable[[], object], notes: Path, times: int = 2) -> list[list[str]]:
    """Runs a function in so many forked processes; returns the paths that each of them gave a file, in order."""
    notes.mkdir()
    context = multiprocessing.get_context("fork")  # with whatever a test has put in the place of something
    start = context.Barrier(times)

    def run(number: int) -> None:
        torch.set_num_threads(1)  # the parent's OpenMP threads are not in a fork, which would wait for them for ever
        # Whatever is published is renamed into place.
        with open(notes / str(number), "w") as written:
            sys.addaudithook(lambda event, args: written.write(f"{args[1]}\n") if event == "os.rename" else None)
            start.wait(PATIENCE)
            function()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: these only compute
        processes = [context.Process(target=run, args=(number,)) for number in range(times)]
        for process in processes:
            process.start()
    for process in processes:
        process.join(PATIENCE)
        process.kill()
    assert [process.exitcode for process in processes] == [0] * times
    return [(notes / str(number)).read_text().splitlines() for number in range(times)]
