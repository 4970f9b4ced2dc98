"""The temporal discriminator: a PatchGAN (arXiv 1611.07004) that sees all frames of a window at once."""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2
WIDEST = 8  # of a layer, in units of the first one's width


class TemporalDiscriminator(nn.Module):
    """Judges every patch of a window whose frames are joined along channels.

    No layer normalises over the batch, so that a window's verdict does not depend on its neighbours.

    Args:
        frames: T, frames in a window.
        channels: Width of the first layer; each halving doubles it, up to eight times.
        layers: Halvings of the resolution.
        spectral: Divide every layer's weights by their largest singular value (arXiv 1802.05957); `renew` once a step.
    """

    def __init__(self, frames: int = 5, channels: int = 64, layers: int = 3, spectral: bool = True) -> None:
        super().__init__()
        widths = [channels * min(2**level, WIDEST) for level in range(layers + 1)]
        before, modules = 3 * frames, []
        for level, width in enumerate(widths):
            # The last one widens what a patch sees, and halves nothing.
            modules += [nn.Conv2d(before, width, 4 if level < layers else 3, 2 if level < layers else 1, 1)]
            modules += [nn.LeakyReLU(SLOPE)]
            before = width
        modules.append(nn.Conv2d(before, 1, 3, 1, 1))
        self.spectral = spectral
        if spectral:
            modules = [spectral_norm(layer) if isinstance(layer, nn.Conv2d) else layer for layer in modules]
        self.patches = nn.Sequential(*modules)
        self.eval()

    def train(self, mode: bool = True) -> "TemporalDiscriminator":
        # In training mode every look at a spectrally normalised weight would turn its vectors further: results would
        # depend on how often a step looks, and two half batches would differ from a whole one.
        return super().train(False)

    @torch.no_grad()
    def renew(self) -> None:
        """Turns the estimates of the largest singular values one power iteration further."""
        for layer in self.patches:
            if self.spectral and isinstance(layer, nn.Conv2d):
                layer.parametrizations.weight.train()
                _ = layer.weight
                layer.parametrizations.weight.eval()

    def forward(self, windows: Tensor) -> Tensor:
        """Returns float32 logits of every patch, above 0 for real: windows (W, T, 3, H, S) -> (W, 1, h, s)."""
        logits = self.patches(windows.flatten(1, 2))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))
