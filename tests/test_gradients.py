"""Every term's gradient against finite differences, and with activations computed again."""

import pytest
import torch
from oracle import ALONE, TINY, small_heads, terms_of, tiny, windows
from torch import nn
from torchvision import models

from lipsync.expert import FrozenExpert
from lipsync.networks.syncnet import SyncNet
from lipsync.perceptual import LPIPS, MeshDistance


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of AlexNet's layers as LPIPS wants them, with weights drawn at random."""
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(nn.ModuleDict({"features": models.alexnet(weights=None).features}).state_dict(), path)
    return str(path)


@pytest.mark.parametrize("term", ["simple", "vb", "l2", "sync", "lpips", "mesh", "gan", "discriminator"])
@pytest.mark.parametrize("prediction", ["x_0", "eps"])
def test_every_terms_gradient_is_its_slope(term: str, prediction: str, alexnet: str) -> None:
    torch.manual_seed(4)
    weight = "gan" if term == "discriminator" else term
    critic = {"channels": 4, "layers": 2, "r1": 1.0, "augment": 0.1}
    # With eps the estimate leaves [-1, 1], where the clamp's slope is a lie by design: without it, then.
    how = {"prediction": prediction, "literal": prediction == "eps", "timesteps": 20}
    model = small_heads(tiny(**how, loss_weights=ALONE | {weight: 1.0}, discriminator=critic))
    model.expert = FrozenExpert(SyncNet(width=4, norm="group", face_size=(17, 32)).double())
    model.perceptual["mesh"] = MeshDistance().double()
    if term == "lpips":
        model.perceptual["lpips"] = LPIPS("alex", alexnet).double()
    batch = {name: x.double() if x.is_floating_point() else x for name, x in windows().items()}
    batch["frames"] *= 0.5

    learning = model.discriminator if term == "discriminator" else model.unet
    # The variational term sees the estimate detached: it has a slope in the variance's half of the head only.
    weights = [model.unet.out[-1].weight] if term == "vb" else list(learning.parameters())
    ways = [torch.randn_like(weight) for weight in weights]
    if term == "vb":
        ways[0][: len(ways[0]) // 2] = 0
    terms = terms_of(model, batch)
    slopes = torch.autograd.grad(terms[term], weights, allow_unused=True)
    along = sum((slope * way).sum() for slope, way in zip(slopes, ways, strict=True) if slope is not None)
    if term == "gan":
        own = list(model.discriminator.parameters())
        assert all(
            slope is None for slope in torch.autograd.grad(terms_of(model, batch)["gan"], own, allow_unused=True)
        )

    values, h = [], 1e-7
    for step in (h, -2 * h):
        with torch.no_grad():
            for weight, way in zip(weights, ways, strict=True):
                weight += step * way
        values.append(terms_of(model, batch)[term].item())
    assert along.item() == pytest.approx((values[0] - values[1]) / (2 * h), rel=2e-4, abs=1e-9)
    assert abs(along.item()) > 1e-8


def test_recomputed_activations_give_the_same_gradient() -> None:
    batch, gradients = windows(), []
    for again in (False, True):
        torch.manual_seed(2)
        model, passes = small_heads(tiny(unet=TINY | {"checkpointing": again})), []
        for stage in (*model.unet.input_blocks, model.unet.middle_block, *model.unet.output_blocks):
            stage.register_forward_pre_hook(lambda stage, _, passes=passes: passes.append(stage))
        double = {name: x.double() if x.is_floating_point() else x for name, x in batch.items()}
        terms_of(model, double)["loss"].backward()
        assert {passes.count(stage) for stage in passes} == {2 if again else 1}
        gradients.append([weight.grad for weight in model.unet.parameters()])
    for kept, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, recomputed)
