"""GroupNorm by parts gives what float64 gives, in the format that it was given, where torch's own would lose digits."""

import pytest
import torch
from torch import Tensor, nn

from lipsync.networks.group_norm import GroupNorm


def layer(groups: int = 4, channels: int = 64) -> GroupNorm:
    norm = GroupNorm(groups, channels)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_()
    return norm


def last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def worst(found: Tensor, norm: nn.GroupNorm, x: Tensor) -> float:
    """Largest difference from float64."""
    exact = nn.functional.group_norm(
        x.double().contiguous(), norm.num_groups, norm.weight.double(), norm.bias.double(), norm.eps
    )
    return (found - exact).abs().max().item()


@torch.no_grad()
@pytest.mark.parametrize(("n", "height", "width"), [(1, 32, 32), (3, 40, 28), (2, 128, 128)])
def test_equals_float64(n: int, height: int, width: int) -> None:
    norm, x = layer(), last(torch.randn(n, 64, height, width) * 3 + 1)
    found = norm(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert worst(found, norm, x) < 3e-6


@torch.no_grad()
def test_torchs_own_loses_digits_there() -> None:
    norm, x = layer(), last(torch.randn(1, 64, 256, 256) * 3 + 1)
    assert worst(nn.GroupNorm.forward(norm, x), norm, x) > 3 * worst(norm(x), norm, x)


@torch.no_grad()
def test_a_map_of_one_level_is_the_bias() -> None:
    norm = layer()
    found = norm(last(torch.full((2, 64, 32, 32), 7.0)))
    torch.testing.assert_close(found, norm.bias.detach()[:, None, None].expand_as(found), atol=1e-3, rtol=0)


def test_elsewhere_it_is_torchs_own() -> None:
    norm, x = layer(), torch.randn(1, 64, 32, 32)
    for given in (x, last(x[..., :31, :]), torch.randn(2, 64, 9)):
        with torch.no_grad():
            assert torch.equal(norm(given), nn.GroupNorm.forward(norm, given))
    norm(last(x).requires_grad_()).square().sum().backward()
    assert norm.weight.grad.abs().min() > 0
    with torch.no_grad():
        assert norm.bfloat16()(last(x).bfloat16()).dtype == torch.bfloat16
