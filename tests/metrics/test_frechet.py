"""The Frechet distance against closed forms and numpy's general eigenvalues."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lipsync.errors import LipsyncError
from lipsync.metrics.frechet import FrechetDistance, Moments, frechet_distance, moments


def gaussian(mean: Tensor, covariance: Tensor, count: int = 1000) -> Moments:
    """Sums that a set of this mean and covariance would have."""
    outer = (count - 1) * covariance + count * torch.outer(mean, mean)
    return Moments(torch.tensor(float(count)), count * mean, outer)


def covariance(size: int) -> Tensor:
    root = torch.randn(size, size, dtype=torch.float64)
    return root @ root.T


def test_covariances_that_commute() -> None:
    """In one dimension (m - n)^2 + (s - t)^2, and in common axes the sum of these."""
    axes, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    s, t, m, n = torch.rand(4, 5, dtype=torch.float64)
    a, b = (gaussian(axes @ mean, axes @ (std**2).diag() @ axes.T) for mean, std in ((m, s), (n, t)))
    expected = ((m - n) ** 2 + (s - t) ** 2).sum()
    torch.testing.assert_close(frechet_distance(a, b), expected, atol=1e-12, rtol=1e-10)


def test_covariances_that_do_not_commute() -> None:
    a, b = covariance(6), covariance(6)
    assert (a @ b - b @ a).abs().max() > 1
    eigenvalues = np.linalg.eigvals((a @ b).numpy())
    means = torch.randn(2, 6, dtype=torch.float64)
    expected = float((means[0] - means[1]).square().sum() + a.trace() + b.trace()) - 2 * np.sqrt(eigenvalues).sum().real
    found = frechet_distance(gaussian(means[0], a, 50), gaussian(means[1], b, 900))
    assert float(found) == pytest.approx(expected, rel=1e-10)
    assert float(frechet_distance(gaussian(means[1], b, 900), gaussian(means[0], a, 50))) == pytest.approx(expected)


def test_a_set_is_at_no_distance_from_itself_also_where_it_is_flat() -> None:
    """Ten frames span nine of a hundred dimensions: rounding must neither go below zero nor grow by the root."""
    features = 100 + torch.randn(10, 100)
    found = frechet_distance(moments(features), moments(features))
    assert 0 <= found < 1e-8
    moved = frechet_distance(moments(features), moments(features + 3))
    assert float(moved) == pytest.approx(100 * 9, rel=1e-6)


def test_sums_of_parts_are_those_of_the_whole() -> None:
    features, other = torch.randn(40, 6), 2 * torch.randn(30, 6)
    metric = FrechetDistance(6)
    metric.update(features[:10], other[:25])
    metric.update(features[10:], other[25:])
    whole = frechet_distance(moments(features), moments(other))
    torch.testing.assert_close(metric.compute(), whole, rtol=1e-12, atol=0)
    mean, spread = features.double().numpy().mean(0), np.cov(features.double().numpy().T)
    sums = moments(features)
    np.testing.assert_allclose(sums.total / sums.count, mean, atol=1e-12)
    direct = gaussian(torch.tensor(mean), torch.tensor(spread), 40)
    torch.testing.assert_close(frechet_distance(direct, moments(other)), whole, rtol=1e-10, atol=0)


def test_one_frame_has_no_spread() -> None:
    with pytest.raises(LipsyncError, match="1 and 5 frames"):
        frechet_distance(moments(torch.zeros(1, 3)), moments(torch.zeros(5, 3)))
