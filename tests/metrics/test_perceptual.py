"""The stand-in where there are no weights, LPIPS where there are."""

from pathlib import Path

import pytest
import torch
from torchvision import models

from lipsync.metrics.perceptual import PerceptualDistance
from lipsync.metrics.views import View
from lipsync.perceptual import LPIPS, MeshDistance


def test_without_weights_it_is_the_mesh_distance(views: list[View], copies: list[View]) -> None:
    metric = PerceptualDistance()
    assert metric.score(views[0], views[0]) == {"mesh_distance": 0}
    metric.update(0, copies[0], views[0])
    metric.update(1, copies[1], views[1])
    scores = metric.by_clip()
    expected = MeshDistance()(copies[1].pictures, views[1].pictures).mean()
    assert scores[1]["mesh_distance"] == pytest.approx(float(expected), rel=1e-5)
    assert float(metric.compute()["mesh_distance"]) == pytest.approx(
        sum(s["mesh_distance"] for s in scores.values()) / 2
    )


def test_with_weights_it_is_lpips(tmp_path: Path, views: list[View]) -> None:
    weights = tmp_path / "alexnet.pth"
    torch.save(models.alexnet(weights=None).state_dict(), weights)
    view, truth = (View(*(part[:3] for part in view)) for view in views[:2])
    found = PerceptualDistance("alex", str(weights)).score(view, truth)
    expected = LPIPS("alex", str(weights))(view.pictures, truth.pictures).mean()
    assert found == {"lpips": pytest.approx(float(expected), rel=1e-5)}
