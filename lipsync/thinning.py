"""Which frames of a batch of windows are trained: all of some windows, and one of each other."""

from typing import NamedTuple

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


def thin(index: Tensor, T: int, every: int, seed: int) -> Thinned:
    """Chooses by the windows' indices (B,): every `every`th is whole, and of each other one a random frame is kept.

    How many these are, the host must know: it reads the index once, and chooses by itself.
    """
    device, index = index.device, index.cpu()
    whole = index % every == 0
    one = integers(seed, "frame", index, T)
    kept = whole[:, None] | (torch.arange(T) == one[:, None])
    share = (1 / (len(index) * kept.sum(1, keepdim=True))).expand_as(kept)[kept]
    window, place = kept.nonzero(as_tuple=True)
    chosen = whole.nonzero()[:, 0], window, place, whole[window].nonzero()[:, 0], share
    return Thinned(*(tensor.to(device) for tensor in chosen))
