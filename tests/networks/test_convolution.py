"""Winograd's way gives what the direct one gives, where it is taken, and follows the weights."""

import copy

import pytest
import torch
from torch import Tensor

from lipsync.networks.convolution import INPUT, KERNEL, OUTPUT, Conv3x3, winograd
from lipsync.networks.residual_block import Activation


def layer(channels: int = 128, out_channels: int = 144) -> Conv3x3:
    return Conv3x3(channels, out_channels).eval()


def exact(conv: Conv3x3, x: Tensor) -> Tensor:
    """A direct convolution in float64."""
    return torch.nn.functional.conv2d(x.double(), conv.weight.double(), conv.bias.double(), padding=1)


def test_the_matrices_convolve_a_line_exactly() -> None:
    signal, kernel = torch.randn(6, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    into, weigh, back = (torch.tensor(matrix, dtype=torch.float64) for matrix in (INPUT, KERNEL, OUTPUT))
    found = back @ ((weigh @ kernel) * (into @ signal))
    torch.testing.assert_close(found, signal.unfold(0, 3, 1) @ kernel, atol=1e-13, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(
    ("n", "height", "width"),
    [(1, 16, 16), (3, 16, 20), (11, 16, 16), (2, 36, 64), (1, 128, 128)],  # 11 and 36: the last part is smaller
)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_equals_a_direct_convolution(n: int, height: int, width: int, memory_format: torch.memory_format) -> None:
    conv, x = layer(), torch.randn(n, 128, height, width).contiguous(memory_format=memory_format)
    found, wanted = conv(x), exact(conv, x)
    assert conv._known is not None
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.double(), wanted, atol=2e-5, rtol=0)
    assert (found.double() - wanted).pow(2).mean().sqrt() < 2e-6


def test_elsewhere_it_is_torchs_own() -> None:
    conv, x = layer(), torch.randn(1, 128, 16, 16)
    small, narrow = torch.randn(1, 128, 12, 12), layer(32, 32)
    conv(x).sum().backward()
    assert conv.weight.grad.abs().max() > 0
    with torch.no_grad():
        conv(small)
        conv(x[..., :-1])
        narrow(x[:, :32])
        with torch.autocast("cpu", torch.bfloat16):
            assert conv(x).dtype == torch.bfloat16
        copy.deepcopy(conv).double()(x.double())
        assert conv._known is narrow._known is None
        conv(x)
    assert conv._known is not None


@torch.no_grad()
def test_follows_the_weights() -> None:
    conv, other, x = layer(), layer(), torch.randn(1, 128, 16, 16)

    def right() -> None:
        torch.testing.assert_close(conv(x).double(), exact(conv, x), atol=2e-5, rtol=0)

    right()
    conv.load_state_dict(other.state_dict())
    right()
    raw, conv.weight.data = conv.weight.data, torch.randn_like(conv.weight) / 30  # as an average is shown
    right()
    conv.weight.data = raw
    right()
    with torch.enable_grad():
        conv(x).sum().backward()
    torch.optim.AdamW(conv.parameters(), lr=0.01).step()
    right()
    with torch.inference_mode():
        right()
    kept = conv._known[1]
    conv(x)
    assert conv._known[1] is kept
    assert copy.deepcopy(conv)._known is None
    assert conv.state_dict().keys() == {"weight", "bias"}


def test_a_shift_stays_a_shift() -> None:
    conv, x = layer(), torch.randn(1, 128, 16, 16)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[5, 7, 0, 2] = 1  # looks up and to the right
        found = conv(x) - conv.bias[:, None, None]
    torch.testing.assert_close(found[0, 5, 1:, :-1], x[0, 7, :-1, 1:], atol=1e-5, rtol=0)
    assert found[0, 5, 0].abs().max() < 1e-5
    found[0, 5] = 0
    assert not found.any()


def test_an_activation_takes_no_memory_where_nothing_is_learned() -> None:
    x = torch.randn(4, requires_grad=True)
    y = Activation()(x)
    assert y.data_ptr() != x.data_ptr()
    with torch.no_grad():
        z = x.detach().clone()
        assert Activation()(z).data_ptr() == z.data_ptr()
        torch.testing.assert_close(z, y)


def test_of_nothing_the_bias_is_left() -> None:
    with torch.no_grad():
        found = winograd(torch.zeros(1, 4, 16, 16), torch.zeros(36, 4, 3), torch.tensor([1.0, 2.0, 3.0]))
    assert found.shape == (1, 3, 16, 16)
    assert torch.equal(found[0, :, 0, 0], torch.tensor([1.0, 2.0, 3.0]))
