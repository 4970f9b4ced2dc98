"""The residual block that the UNet and its audio encoder are built from."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lipsync.networks.convolution import Conv3x3
from lipsync.networks.group_norm import GroupNorm


class Activation(nn.SiLU):
    """SiLU of what a norm returned, which nobody else reads: without gradients it takes no new memory."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x, inplace=not torch.is_grad_enabled())


class ResidualBlock(nn.Module):
    """Pre-activation residual block with an added embedding; the second convolution starts at zero.

    Args:
        channels: Channels of the input.
        out_channels: Channels of the output; a 1x1 convolution joins the skip where they differ.
        embedding: Width of the embedding.
        groups: Groups of both GroupNorms; must divide both channel counts.
        dropout: Probability, before the second convolution.
        resize: Applied to both branches before the first convolution (pooling, or upsampling); None keeps the size.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        embedding: int,
        groups: int,
        dropout: float = 0.0,
        resize: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.resize = resize
        self.in_layers = nn.Sequential(GroupNorm(groups, channels), Activation(), Conv3x3(channels, out_channels))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, out_channels))
        self.out_layers = nn.Sequential(
            GroupNorm(groups, out_channels),
            Activation(),
            nn.Dropout(dropout),
            zero(Conv3x3(out_channels, out_channels)),
        )
        self.skip_connection = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Returns the block's output: x (N, C, H, W), embedding (N or 1, E) -> (N, C', H', W')."""
        norm, activation, conv = self.in_layers
        h = activation(norm(x))
        if self.resize is not None:
            h, x = self.resize(h), self.resize(x)
        h = conv(h).add_(self.emb_layers(embedding)[:, :, None, None])
        return self.skip_connection(x) + self.out_layers(h)


def zero(layer: nn.Module) -> nn.Module:
    """Returns the layer with its parameters set to zero, so that its branch starts as nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
