"""A batch shared out over the cores of a CPU."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

AT_ONCE = 2  # frames of a core: more leave its cache


def side_by_side(work: Callable[..., Tensor], *batch: Tensor) -> Tensor:
    """Returns `work(*batch)`, without gradients, for tensors (N, ...) on a CPU: each core works at frames of its own.

    Layer by layer on all cores together, each would wait for the slowest, and for what lies in the others' caches.
    """
    threads = torch.get_num_threads()
    parts = zip(*(tensor.split(AT_ONCE) for tensor in batch), strict=True)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as cores:
            return torch.cat(list(cores.map(lambda part: torch.no_grad()(work)(*part), parts)))
    finally:
        torch.set_num_threads(threads)
