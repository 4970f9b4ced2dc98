"""Which frames of a batch of windows are trained: all of some windows, and one of each other."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lipsync.randomness import integers


class Thinned(NamedTuple):
    """What is trained of B windows of T frames.

    Attributes:
        whole: Numbers of the windows (W,) that are trained with all their frames.
        window, place: Of each frame kept (K,): its window's number, and its own in that.
        complete: Numbers of the frames (W * T,), among the K, that belong to whole windows.
        share: Each frame's part in a mean over windows (K,); sums to 1.
    """

    whole: Tensor
    window: Tensor
    place: Tensor
    complete: Tensor
    share: Tensor


def thin(index: Tensor | np.ndarray, T: int, every: int, seed: int, device: torch.device | str) -> Thinned:
    """Chooses by the windows' indices (B,): every `every`th is whole, and of each other one a random frame is kept.

    How many these are, the host must know: where `index` lies on the host, it need not wait for the device.
    """
    index = torch.as_tensor(index)
    whole = index % every == 0
    one = integers(seed, "frame", index, T)
    kept = whole[:, None] | (torch.arange(T, device=index.device) == one[:, None])
    share = (1 / (len(index) * kept.sum(1, keepdim=True))).expand_as(kept)[kept]
    window, place = kept.nonzero(as_tuple=True)
    chosen = whole.nonzero()[:, 0], window, place, whole[window].nonzero()[:, 0], share
    waits = torch.device(device).type != "cuda"  # elsewhere a tensor may be gone before its copy is made
    return Thinned(*(tensor.to(device, non_blocking=not waits) for tensor in chosen))
