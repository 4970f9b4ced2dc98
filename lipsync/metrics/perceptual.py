"""Perceptual distance of a generated clip from the true one, by the networks of `lipsync.perceptual`."""

import torch
from torch import Tensor

from lipsync.metrics.clip_metric import ClipMetric
from lipsync.metrics.views import BATCH, View, match
from lipsync.perceptual import LPIPS, MeshDistance


class PerceptualDistance(ClipMetric):
    """Mean distance of a clip's frames; 0 is best.

    `lpips` where its weights are given; otherwise `mesh_distance`, another measure with values of its own, of the lower
    half alone.

    Args:
        net: `alex` or `vgg`, whose features LPIPS compares.
        weights: File of torchvision's weights of that network, or `download`.
    """

    def __init__(self, net: str = "alex", weights: str | None = None) -> None:
        super().__init__()
        self.names = ("mesh_distance",) if weights is None else ("lpips",)
        self.distance = MeshDistance() if weights is None else LPIPS(net, weights)

    @torch.no_grad()
    def score(self, view: View, truth: View) -> dict[str, Tensor]:
        """Compares two clips of the same frames."""
        match(view, truth)
        pairs = zip(view.pictures.float().split(BATCH), truth.pictures.float().split(BATCH), strict=True)
        with torch.autocast(view.pictures.device.type, enabled=False):
            return {self.names[0]: torch.cat([self.distance(*pair) for pair in pairs]).mean()}
