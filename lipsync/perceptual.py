"""Perceptual distances between pictures: LPIPS, and one on the features of the face mesh, which needs no download."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.hub import get_dir
from torchmetrics.functional.image.lpips import _NoTrainLpips as Lpips
from torchvision import models

from lipsync.errors import LipsyncError, check_choice
from lipsync.networks.face_mesh import FaceMesh, pad_same

# What torchvision calls the networks whose features LPIPS compares.
NETS = {"alex": ("alexnet", models.AlexNet_Weights), "vgg": ("vgg16", models.VGG16_Weights)}
DOWNLOAD = "download"
# Side, in pixels, at which the face mesh looks at a face: less than the 192 it was made for, at half the cost.
MESH_SIDE = 128


class Frozen(nn.Module):
    """Holds a network that only lets gradients through: no training mode, no place in optimizer or checkpoint."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        # In a tuple it is no part of the module: neither parameters() nor state_dict() knows it.
        self.held = (network.eval().requires_grad_(False),)

    @property
    def network(self) -> nn.Module:
        return self.held[0]

    def _apply(self, function: object, recurse: bool = True) -> "Frozen":
        self.network._apply(function)
        return super()._apply(function, recurse)


class LPIPS(Frozen):
    """The learned perceptual distance (arXiv 1801.03924) on AlexNet's or VGG's features.

    Args:
        net: `alex` (the released code's) or `vgg` (the paper's).
        weights: File of torchvision's classifier of that name, or `download`; None takes what a download left behind.

    Raises:
        LipsyncError: No such network; no weights, or a file that holds others.
    """

    def __init__(self, net: str = "alex", weights: str | None = None) -> None:
        check_choice("lpips_net", net, NETS)
        super().__init__(Lpips(net=net, pnet_rand=True))
        state = classifier(net, weights)
        features = {key.removeprefix("features."): value for key, value in state.items() if key.startswith("features")}
        wanted = self.network.net.state_dict()
        # LPIPS names a layer by its slice and its place in torchvision's `features`.
        given = {key: features.get(key.split(".", 1)[1]) for key in wanted}
        if any(value is None or value.shape != wanted[key].shape for key, value in given.items()):
            raise LipsyncError(f"{weights}: not torchvision's weights of {NETS[net][0]}")
        self.network.net.load_state_dict(given)

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        """Computes the distance of pictures (N, 3, H, W) in [-1, 1]: (N,)."""
        exact = next(self.network.parameters()).dtype
        with torch.autocast(generated.device.type, enabled=False):  # it subtracts features inside
            return self.network(generated.to(exact), real.to(exact)).flatten()


class MeshDistance(Frozen):
    """LPIPS's form with all weights alike, on what the shipped face mesh sees in the lower half of a face.

    A distance of its own: its values are not LPIPS's.
    """

    def __init__(self) -> None:
        mesh = FaceMesh.pretrained()
        # The deeper levels know where a face is, not how it looks.
        super().__init__(nn.ModuleList([mesh.stem, mesh.trunk[:3], mesh.trunk[3:6]]))

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Returns maps of unit-length features, finest first, of pictures (N, 3, S, S) in [-1, 1]."""
        lower = pictures[:, :, pictures.shape[2] // 2 :]
        size = (MESH_SIDE // 2, MESH_SIDE)
        x = pad_same((F.interpolate(lower, size, mode="bilinear", align_corners=False) + 1) / 2)
        maps = []
        for level in self.network:
            x = level(x)
            seen = x.to(torch.promote_types(x.dtype, torch.float32))
            maps.append(seen / (seen.square().sum(dim=1, keepdim=True) + 1e-8).sqrt())
        return maps

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        """Computes the distance of pictures (N, 3, S, S) in [-1, 1]: (N,)."""
        with torch.no_grad():
            wanted = self.features(real)
        pairs = zip(self.features(generated), wanted, strict=True)
        return torch.stack([(a - b).square().sum(1).flatten(1).mean(1) for a, b in pairs]).mean(0)


def classifier(net: str, weights: str | None) -> dict[str, Tensor]:
    """Reads torchvision's weights of the network named, from a file, from an earlier download, or now from the net.

    Raises:
        LipsyncError: They cannot be had.
    """
    published = NETS[net][1].DEFAULT
    if weights == DOWNLOAD:
        try:
            return published.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:  # the latter where the file's hash is wrong
            raise LipsyncError(f"{published.url}: cannot be downloaded ({error})") from error
    path = Path(get_dir(), "checkpoints", Path(published.url).name) if weights is None else Path(weights)
    if not path.is_file():
        raise LipsyncError(
            f"{path}: no weights for LPIPS: set model.lpips_weights to a file of torchvision's {NETS[net][0]} or to "
            f"{DOWNLOAD}, or replace the term: model.loss_weights.lpips=0, model.loss_weights.mesh=0.25"
        )
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch, pickle and zipfile each have their own
        raise LipsyncError(f"{path}: not torchvision's weights of {NETS[net][0]} ({type(error).__name__})") from error
