"""The temporal discriminator: what it sees, and its spectral norm."""

import pytest
import torch

from lipsync.networks.discriminator import TemporalDiscriminator


def test_every_patch_has_a_verdict_and_every_frame_a_part_in_it() -> None:
    network = TemporalDiscriminator(frames=5, channels=8, layers=3)
    windows = torch.randn(2, 5, 3, 32, 64, requires_grad=True)
    logits = network(windows)
    assert logits.shape == (2, 1, 4, 8)
    logits[0].sum().backward()
    assert (windows.grad[0].abs().amax(dim=(1, 2, 3)) > 0).all()
    assert windows.grad[1].abs().max() == 0  # no part in its neighbour's verdict


def test_the_largest_singular_value_comes_to_one_by_renewal_alone() -> None:
    torch.manual_seed(0)
    network = TemporalDiscriminator(channels=8, layers=2).double()
    layer = network.patches[2]
    with torch.no_grad():
        layer.parametrizations.weight.original.normal_()
    network.train()
    before = layer.weight.clone()
    network(torch.randn(1, 5, 3, 16, 16, dtype=torch.float64))
    assert torch.equal(layer.weight, before)  # looking changes nothing
    for _ in range(100):
        network.renew()
    assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-3)


def test_its_verdict_is_float32_under_autocast() -> None:
    network, windows = TemporalDiscriminator(channels=8, layers=1), torch.randn(2, 5, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(windows)
    assert logits.dtype == torch.float32
    assert network.double()(windows.double()).dtype == torch.float64


def test_without_it_weights_are_plain() -> None:
    network = TemporalDiscriminator(channels=8, layers=1, spectral=False)
    network.renew()
    assert {name.split(".")[-1] for name in network.state_dict()} == {"weight", "bias"}
