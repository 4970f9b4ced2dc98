"""Perceptual distances: zero for equals, growing with blur and shift; weights that cannot be had are an error."""

import urllib.request
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchmetrics.functional.image.lpips import _NoTrainLpips
from torchvision import models
from torchvision.models.vgg import cfgs, make_layers

from lipsync.errors import LipsyncError
from lipsync.perceptual import LPIPS, MeshDistance


def face() -> torch.Tensor:
    """A smooth picture with a dark bar for a mouth, (1, 3, 64, 64)."""
    torch.manual_seed(0)
    picture = F.interpolate(torch.rand(1, 3, 8, 8), 64, mode="bicubic").clamp(0, 1) * 0.4 + 0.4
    picture[..., 44:50, 20:44] = 0.1
    return picture * 2 - 1


def test_the_mesh_distance_sees_blur_and_mouths_and_no_upper_half() -> None:
    distance, real = MeshDistance(), face()
    assert distance(real, real).item() == 0
    blurred = [F.avg_pool2d(real, k, 1, k // 2, count_include_pad=False) for k in (3, 5, 9)]
    found = [distance(picture, real).item() for picture in blurred]
    assert 0 < found[0] < found[1] < found[2]
    shut = real.clone()
    shut[..., 44:50, 20:44] = real[..., 40:41, 20:44]
    assert distance(shut, real).item() > 0.001
    above = real.clone()
    above[..., :30, :] = 0
    assert distance(above, real).item() == 0

    generated = blurred[1].clone().requires_grad_()
    distance(generated, real).sum().backward()
    assert generated.grad[..., 32:, :].abs().max() > 0
    assert not list(distance.parameters())
    assert not distance.state_dict()
    assert not distance.network.train(False).training
    assert distance.double()(real.double(), blurred[0].double()).dtype == torch.float64


@pytest.mark.parametrize(("net", "ends"), [("alex", (2, 5, 8, 10, 12)), ("vgg", (4, 9, 16, 23, 30))])
def test_lpips_with_weights_of_a_file_is_that_of_torchmetrics(net: str, ends: tuple[int, ...], tmp_path: Path) -> None:
    torch.manual_seed(1)
    features = models.alexnet(weights=None).features if net == "alex" else make_layers(cfgs["D"])
    torch.save(nn.ModuleDict({"features": features}).state_dict(), tmp_path / "weights.pth")
    distance = LPIPS(net, str(tmp_path / "weights.pth"))

    reference = _NoTrainLpips(net=net, pnet_rand=True)
    for part, (first, end) in enumerate(pairwise((0, *ends)), 1):
        setattr(reference.net, f"slice{part}", features[first:end])
    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    other = torch.rand(2, 3, 64, 64) * 2 - 1
    torch.testing.assert_close(distance(pictures, other), reference(pictures, other).flatten())
    assert distance(pictures, pictures).abs().max() == 0
    assert not list(distance.parameters())


@pytest.mark.parametrize(("net", "content"), [("vgg", "alexnet"), ("alex", "list"), ("alex", "text"), ("alex", None)])
def test_weights_that_are_not_there_or_others_are_named(
    tmp_path: Path, net: str, content: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    path = tmp_path / "weights.pth"
    if content == "alexnet":
        torch.save({f"features.{n}.weight": torch.zeros(2) for n in range(12)}, path)
    elif content == "list":
        torch.save([1, 2], path)
    elif content == "text":
        path.write_text("<html>")
    with pytest.raises(LipsyncError, match=r"not torchvision's weights of|lpips_weights"):
        LPIPS(net, None if content is None else str(path))


def test_a_download_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(urllib.request, "_opener", None)  # it would remember another way out
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody answers
    with pytest.raises(LipsyncError, match=r"alexnet-.*\.pth: cannot be downloaded"):
        LPIPS("alex", "download")


def test_no_such_network() -> None:
    with pytest.raises(LipsyncError, match="squeeze"):
        LPIPS("squeeze")
