"""The expert's objective: own pairs of mouth and sound against all others of a batch, none that overlap in time."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lipsync.errors import check_choice

MARGIN_OWN, MARGIN_FOREIGN = 0.7, 0.3  # UniSync's
TEMPERATURE = 0.07


def cosines(audio: Tensor, face: Tensor) -> Tensor:
    """Returns the cosines (B, B) of embeddings (B, E) of unit length, row: sound, column: face; in float32."""
    # Autocast would round a matrix product to 8 bits, where a cosine near 1 has no neighbours left.
    with torch.autocast(audio.device.type, enabled=False):
        return audio.float() @ face.float().T


def negative_weights(
    clip: Tensor, speaker: Tensor, first_frame: Tensor, frames: int, foreign_share: float | None = None
) -> Tensor:
    """Weighs a batch's foreign pairs; windows of one clip that overlap are no negatives.

    Args:
        clip, speaker, first_frame: (B,) int64: where each window comes from.
        frames: T, frames in a window.
        foreign_share: Weight, together, of pairs of two speakers; pairs of one speaker have the rest. None weighs all
            alike. Where a batch has pairs of one sort only, they have all the weight.

    Returns:
        (B, B) float32 that sums to 1, 0 for own and overlapping pairs; all 0 if there is no negative.
    """
    overlapping = (clip[:, None] == clip) & ((first_frame[:, None] - first_frame).abs() < frames)
    foreign = (speaker[:, None] != speaker) & ~overlapping
    same = (speaker[:, None] == speaker) & ~overlapping
    alike = [(1.0, foreign | same)]
    sorts = alike if foreign_share is None else [(foreign_share, foreign), (1 - foreign_share, same)]
    weights = torch.zeros(overlapping.shape, device=clip.device)
    for share, sort in sorts:
        weights = weights + share * sort / sort.sum().clamp(min=1)
    return weights / weights.sum().clamp(min=torch.finfo(torch.float32).tiny)


def bce(cosine: Tensor, weights: Tensor) -> Tensor:
    """Computes the BCE of the cosine itself (Wav2Lip's loss); own and foreign pairs weigh the same: ln 2 at cosine 1/2.

    Args:
        cosine: (B, B) in [0, 1], own pairs on the diagonal.
        weights: (B, B) of `negative_weights`.

    Returns:
        Scalar.
    """
    own = -cosine.diagonal().clamp_min(1e-6).log().mean()
    return 0.5 * (own - (weights * torch.log1p(-cosine.clamp_max(1 - 1e-6))).sum())


def margin(cosine: Tensor, weights: Tensor) -> Tensor:
    """Computes how far own pairs stay below 0.7 and foreign ones above 0.3 (UniSync); else as `bce`."""
    own = (MARGIN_OWN - cosine.diagonal()).clamp_min(0).mean()
    return 0.5 * (own + (weights * (cosine - MARGIN_FOREIGN).clamp_min(0)).sum())


def info_nce(cosine: Tensor, weights: Tensor) -> Tensor:
    """Computes the cross-entropy of finding one's own among all others, in both directions; else as `bce`.

    (arXiv 1807.03748, eq. 4.) A negative's weight multiplies its odds; those of weight 0 are out. In units of
    ln(batch) it starts at 1.
    """
    n = len(cosine)
    own = torch.eye(n, device=cosine.device)
    logits = cosine / TEMPERATURE + (weights * n * (n - 1) + own).log()
    target = torch.arange(n, device=cosine.device)
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / math.log(max(n, 2))


OBJECTIVES = {"bce": bce, "margin": margin, "info_nce": info_nce}


def objective(name: str, cosine: Tensor, weights: Tensor) -> Tensor:
    """Computes the objective of that name.

    Raises:
        LipsyncError: There is none of that name.
    """
    check_choice("objective", name, OBJECTIVES)
    return OBJECTIVES[name](cosine, weights)


def two_way_accuracy(cosine: Tensor, chosen: Tensor) -> Tensor:
    """Counts how often a face's own sound scores above a foreign one's; a tie counts half.

    Args:
        cosine: (B, B), row: sound, column: face.
        chosen: (B, B) bool: which foreign pairs are asked about.

    Returns:
        Scalar in [0, 1]; NaN if none is asked about.
    """
    above = 0.5 * (1 + (cosine.diagonal() - cosine).sign())
    return (above * chosen).sum() / chosen.sum()
