"""The UNet as the original computes it: eager, NCHW, float32, direct convolutions, attention in three steps, and the
sound embedded again at every time step. Same weights, same result within rounding."""

from contextlib import ExitStack
from unittest.mock import patch

import torch
from torch import Tensor

from lipsync.networks import convolution, unet
from lipsync.networks.unet import Attention, UNet


def unfused(self: Attention, x: Tensor) -> Tensor:
    """`Attention.forward`, which keeps its matrix of weights (N heads, HW, HW)."""
    n, channels, height, width = x.shape
    qkv = self.qkv(self.norm(x).flatten(2))
    q, k, v = qkv.view(-1, 3 * self.head_channels, height * width).chunk(3, dim=1)
    weights = (q.transpose(1, 2) @ (k * self.head_channels**-0.5)).softmax(dim=2)
    read = (v @ weights.transpose(1, 2)).reshape(n, channels, height * width)
    return x + self.proj_out(read).view_as(x)


def plainly(network: UNet, *inputs: Tensor) -> Tensor:
    """Runs `network.forward` as the original would."""
    with ExitStack() as stack:
        for module in (convolution, unet):
            stack.enter_context(patch.object(module, "saves", lambda _: False))  # a mock would keep every tensor
        stack.enter_context(patch.object(Attention, "forward", unfused))
        return network(*inputs)


def drawn(network: UNet) -> UNet:
    """Gives every weight a value, those that start at zero too, so that nothing is nothing times something."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 1.0 if parameter.dim() == 1 else 0.0, 0.02)
    return network.eval()
