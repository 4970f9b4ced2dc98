"""The sequential adversarial term: a temporal discriminator, what it is shown, and both sides' losses (Sec. 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from lipsync.errors import check_choice
from lipsync.networks.discriminator import TemporalDiscriminator
from lipsync.randomness import uniform

REGIONS = ("lower", "whole")


def bce(logits: Tensor, real: bool) -> Tensor:
    """Computes -log of the probability that logits give to what is so (the paper's log form)."""
    return F.softplus(-logits if real else logits)


def hinge(logits: Tensor, real: bool) -> Tensor:
    """Computes how far logits stay on the wrong side of 1 (real) or -1 (arXiv 1705.02894)."""
    return F.relu(1 - logits if real else 1 + logits)


def least_squares(logits: Tensor, real: bool) -> Tensor:
    """Computes the squared distance to 1 (real) or -1 (arXiv 1611.04076)."""
    return (logits - (1 if real else -1)) ** 2


LOSSES = {"bce": bce, "hinge": hinge, "least_squares": least_squares}


class Adversary(nn.Module):
    """Tells real from generated windows, and says how well a generated one passes for real.

    Args:
        loss: `bce` (the paper's), `hinge` or `least_squares`.
        region: `lower` (what is painted) or `whole` crop.
        r1: Weight of the R1 penalty, the squared gradient at real windows (arXiv 1801.04406, eq. 9); 0 is without.
        augment: Move windows, real and generated alike, by up to this share of their side, and change their brightness
            by up to as much.
        frames, channels, layers, spectral: Of `networks.discriminator.TemporalDiscriminator`.

    Raises:
        LipsyncError: No such loss or region.
    """

    def __init__(
        self,
        loss: str = "bce",
        region: str = "lower",
        r1: float = 0.0,
        augment: float = 0.0,
        frames: int = 5,
        channels: int = 64,
        layers: int = 3,
        spectral: bool = True,
    ) -> None:
        super().__init__()
        check_choice("discriminator.loss", loss, LOSSES)
        check_choice("discriminator.region", region, REGIONS)
        self.loss, self.hinge, self.region, self.r1, self.augment = LOSSES[loss], loss == "hinge", region, r1, augment
        self.network = TemporalDiscriminator(frames, channels, layers, spectral)

    def view(self, windows: Tensor, seed: int, index: Tensor) -> Tensor:
        """Returns what the network is shown of windows (W, T, 3, S, S); what changes is a function of (seed, index)."""
        if self.region == "lower":
            windows = windows[..., windows.shape[-2] // 2 :, :]
        if not (self.augment and len(windows)):
            return windows
        W, T, _, height, width = windows.shape
        drawn = (2 * uniform(seed, "discriminator", index, (3,)) - 1).to(windows.dtype) * self.augment
        moves = torch.eye(2, 3, dtype=windows.dtype, device=windows.device).repeat(W, 1, 1)
        moves[:, :, 2] = 2 * drawn[:, :2]  # the side is 2 long
        grid = F.affine_grid(moves, (W, 3 * T, height, width), align_corners=False)
        moved = F.grid_sample(windows.flatten(1, 2), grid, padding_mode="reflection", align_corners=False)
        return moved.view_as(windows) + drawn[:, 2, None, None, None, None]

    def passing(self, fake: Tensor) -> Tensor:
        """Computes the generator's term, L_GAN of eq. 9 in its non-saturating form, of views (W, T, 3, H, S): (W,).

        The discriminator's weights get no gradient from it.
        """
        weights = {name: weight.detach() for name, weight in self.network.named_parameters()}
        logits = functional_call(self.network, weights, fake)
        # Past 1 a hinge would let the generator rest; its own side is linear.
        return (-logits if self.hinge else self.loss(logits, True)).flatten(1).mean(1)

    def judging(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the discriminator's own loss of views (W, T, 3, H, S), and which of both it gets right.

        Returns:
            Loss (W,), the R1 penalty in it; share of patches (W,) rightly told.
        """
        real = real.detach().requires_grad_(bool(self.r1))
        logits = self.network(torch.cat((real, fake.detach())))
        is_real, is_fake = logits.chunk(2)
        loss = 0.5 * (self.loss(is_real, True) + self.loss(is_fake, False)).flatten(1).mean(1)
        if self.r1:
            (slope,) = torch.autograd.grad(is_real.flatten(1).mean(1).sum(), real, create_graph=True)
            loss = loss + 0.5 * self.r1 * slope.flatten(1).square().sum(1)
        right = torch.cat((is_real > 0, is_fake < 0), dim=1).float()
        return loss, right.flatten(1).mean(1)
