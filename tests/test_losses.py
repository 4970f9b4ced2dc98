"""Each term against a closed form."""

import math

import pytest
import torch

from lipsync.corpora.crop import mask
from lipsync.losses import clamp_straight_through, painted_mean, sync_loss


def unit(*angles: float) -> torch.Tensor:
    """Unit vectors in the plane."""
    angle = torch.tensor(angles)
    return torch.stack((angle.cos(), angle.sin()), dim=1)


def test_painted_mean_ignores_the_upper_half() -> None:
    error = torch.zeros(2, 3, 8, 8)
    error[:, :, :4] = 100
    error[0, :, 4:] = 3
    error[1, 0, 4:] = 3
    assert painted_mean(error, mask(8)).tolist() == [3, 1]


def test_clamp_passes_the_gradient() -> None:
    x = torch.tensor([-3.0, 0.5, 2.0], requires_grad=True)
    y = clamp_straight_through(x)
    y.sum().backward()
    assert y.tolist() == [-1, 0.5, 1]
    assert x.grad.tolist() == [1, 1, 1]


def test_sync_loss_is_minus_log_cosine() -> None:
    loss = sync_loss(unit(0, 0, 0), unit(0, math.pi / 3, math.pi / 2))
    assert loss[:2].tolist() == pytest.approx([0, math.log(2)], abs=1e-6)
    assert 10 < loss[2] < 20  # orthogonal: large, yet finite
