"""The terms of the objective: one small function each, in float32."""

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


def contrast_loss(audio: Tensor, face: Tensor) -> Tensor:
    """Computes the BCE of the cosines of all pairs of a batch; matching and foreign pairs weigh the same.

    Args:
        audio: (B, E) embeddings as for `sync_loss`; row i belongs to face i and to no other.
        face: (B, E).

    Returns:
        Scalar.
    """
    own, foreign = pair_cosines(audio, face)
    return 0.5 * (-own.clamp_min(1e-6).log().mean() - torch.log1p(-foreign.clamp_max(1 - 1e-6)).mean())


def pair_cosines(audio: Tensor, face: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the cosines of a batch's own pairs (B,) and of all its foreign pairs (B, B - 1), in float32."""
    # Autocast would round a matrix product to 8 bits, where a cosine near 1 has no neighbours left.
    with torch.autocast(audio.device.type, enabled=False):
        cosine = audio.float() @ face.float().T
    foreign = ~torch.eye(len(cosine), dtype=torch.bool, device=cosine.device)
    return cosine.diagonal(), cosine[foreign].view(len(cosine), -1)
