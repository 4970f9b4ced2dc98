"""Networks on weights and inputs given by a formula: outputs pinned when they equalled the originals'.

A clone without the reference numbers still notices when a network computes something else.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lipsync.networks.syncnet import SyncNet
from lipsync.networks.syncnet_v2 import SyncNetV2
from lipsync.networks.unet import UNet


def waves(*shape: int, phase: float = 0.0) -> Tensor:
    """Fills a tensor with values in [-1, 1] that no permutation leaves alone."""
    steps = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(0.7 * steps + 1e-3 * steps**1.5 + phase).float().view(shape)


def numbered(module: nn.Module) -> nn.Module:
    """With weights given by a formula, about as large as trained ones, in eval mode."""
    module = module.eval().requires_grad_(False)
    for number, (key, value) in enumerate(module.state_dict().items()):
        if value.is_floating_point():
            fan_in = value[0].numel() if value.dim() > 1 else 100
            value.copy_(waves(*value.shape, phase=number) * 1.5 / fan_in**0.5)
            value += 1.0 * (value.dim() == 1 and key.endswith(("weight", "running_var")))
    return module


def unet() -> Tensor:
    network = numbered(UNet(32, 32, (1, 2, 3), num_res_blocks=1, attention_resolutions=(16, 8), head_channels=16))
    images = (waves(2, 3, 32, 32, phase=k) for k in range(3))
    x_t, masked, reference = images
    return network(x_t, torch.tensor([3, 801]), masked, reference, 4 * waves(2, 80, 16))


def wav2lip_syncnet() -> Tensor:
    network = numbered(SyncNet(width=8))
    return torch.cat(network(4 * waves(1, 1, 80, 16), network.faces(waves(1, 5, 3, 96, 96))))


def syncnet_v2() -> Tensor:
    network = numbered(SyncNetV2())
    face = network.embed_face(network.faces(waves(1, 5, 3, 224, 224)))
    return torch.cat([face, network.embed_audio(9 * waves(1, 1, 13, 20))])


PINNED: dict[Callable[[], Tensor], list[float]] = {
    unet: [-1.26048908e-03, -6.07840388e-03, -5.30786215e-03],
    wav2lip_syncnet: [-1.34446267e-02, -9.84566240e-03, 2.80535825e-03],
    syncnet_v2: [1.16939013e-01, 3.71454927e-02, -7.67994228e-02],
}


@pytest.mark.parametrize("output", PINNED, ids=lambda output: output.__name__)
def test_outputs_are_the_pinned_ones(output: Callable[[], Tensor]) -> None:
    values = output().flatten()
    # Weighted sums look at every value and at its place.
    sums = [float((values.double() * waves(values.numel(), phase=k)).mean()) for k in range(3)]
    assert sums == pytest.approx(PINNED[output], rel=1e-3, abs=1e-6)


def test_syncnet_v2_has_the_published_size() -> None:
    assert sum(parameter.numel() for parameter in SyncNetV2().parameters()) == 13_631_616
