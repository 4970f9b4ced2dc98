"""Frechet distance of two sets of features, taken for Gaussians (the FID's formula, arXiv 1706.08500, Eq. 6)."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from lipsync.errors import LipsyncError


class Moments(NamedTuple):
    """What is kept of a set of features; those of two sets together are the sums, part by part.

    Attributes:
        count: () of features.
        total: (F,), their sum.
        outer: (F, F), the sum of their outer products.
    """

    count: Tensor
    total: Tensor
    outer: Tensor


def moments(features: Tensor) -> Moments:
    """Sums up features (N, F), in float64."""
    features = features.double()
    return Moments(features.new_tensor(len(features)), features.sum(dim=0), features.T @ features)


def frechet_distance(a: Moments, b: Moments) -> Tensor:
    """Computes |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)): means and (unbiased) covariances of two sets.

    Returns:
        () float64, at least 0, in squared units of the features.

    Raises:
        LipsyncError: A set of fewer than two features.
    """
    if min(a.count, b.count) < 2:
        raise LipsyncError(f"a Frechet distance of {int(a.count)} and {int(b.count)} frames: it takes 2 of each")
    (mean_a, root_a, variance_a), (mean_b, root_b, variance_b) = gaussian(a), gaussian(b)
    # The eigenvalues of C_a C_b are the squared singular values of the roots' product, which loses no digits.
    cross = torch.linalg.svdvals(root_a @ root_b).sum()
    return ((mean_a - mean_b).square().sum() + variance_a + variance_b - 2 * cross).clamp_min(0)


def gaussian(sums: Moments) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (F,), square root (F, F) and trace of the covariance."""
    mean = sums.total / sums.count
    covariance = (sums.outer - sums.count * torch.outer(mean, mean)) / (sums.count - 1)
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp_min(0)  # rounding leaves a little below
    return mean, (vectors * values.sqrt()) @ vectors.T, values.sum()


class FrechetDistance(Metric):
    """Frechet distance of all generated frames' features from all true ones'; 0 is best.

    Args:
        dimensions: F.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        for side in ("generated", "true"):
            for name, shape in (("count", ()), ("total", (dimensions,)), ("outer", (dimensions, dimensions))):
                zeros = torch.zeros(shape, dtype=torch.float64)
                self.add_state(f"{side}_{name}", zeros, dist_reduce_fx="sum")

    def update(self, features: Tensor, true_features: Tensor) -> None:
        """Takes features (N, F) of generated and (M, F) of true frames."""
        for side, given in (("generated", features), ("true", true_features)):
            for name, value in moments(given)._asdict().items():
                setattr(self, f"{side}_{name}", getattr(self, f"{side}_{name}") + value)

    def compute(self) -> Tensor:
        sides = ("generated", "true")
        return frechet_distance(*(Moments(*(getattr(self, f"{s}_{n}") for n in Moments._fields)) for s in sides))
