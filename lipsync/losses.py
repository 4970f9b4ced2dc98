"""The terms of the objective: one small function each, in float32."""

from collections.abc import Callable

import torch
from torch import Tensor


def painted_mean(error: Tensor, mask: Tensor) -> Tensor:
    """Averages an error over the painted pixels, and over the channels, of every sample.

    Args:
        error: (N, C, S, S).
        mask: (1, 1, S, S), 1 where the network paints.

    Returns:
        (N,).
    """
    return (error * mask).mean(dim=(1, 2, 3)) / mask.mean()


def clamp_straight_through(x: Tensor) -> Tensor:
    """Clamps to [-1, 1] and lets the gradient pass as if it had not."""
    return x + (x.clamp(-1, 1) - x).detach()


def sync_loss(audio: Tensor, face: Tensor) -> Tensor:
    """Computes the expert's verdict, -log of the cosine, of pairs that belong together (Sec. 3.2; Wav2Lip's form).

    Args:
        audio: (B, E) embeddings of unit length, of features >= 0, so that the cosine is a probability.
        face: (B, E).

    Returns:
        (B,).
    """
    cosine = (audio * face).sum(dim=1)
    return -cosine.clamp_min(1e-6).log()


def sync_term(
    expert: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    mel: Tensor,
    fake: Tensor,
    real: Tensor,
    against_real: bool,
    by_real: bool,
) -> Tensor:
    """Computes the expert's verdict on generated windows, if asked in the light of that on their real frames.

    Args:
        expert: `expert.FrozenExpert`.
        mel: (W, 1, 80, M).
        fake, real: (W, T, 3, S, S).
        against_real: Count only what a window falls behind its real frames.
        by_real: Weigh it by the cosine of its real frames.

    Returns:
        (W,).
    """
    verdict = sync_loss(*expert(mel, fake))
    if not (against_real or by_real):
        return verdict
    with torch.no_grad():
        truth = sync_loss(*expert(mel, real))
    if against_real:
        verdict = (verdict - truth).clamp_min(0)
    return verdict * (-truth).exp() if by_real else verdict
