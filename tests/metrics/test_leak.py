"""Shut and open mouths, by hand and drawn."""

import pytest
import torch

from lipsync.metrics.leak import LipLeak
from lipsync.metrics.views import View


def test_shut_open_and_half(face: View) -> None:
    metric = LipLeak()
    for number, gaps in enumerate(([0.0, 0.0], [0.06, 0.06], [0.04, 0.06])):  # of a mouth 0.2 wide
        landmarks = face.landmarks.clone()
        landmarks[:, 14, 1] += torch.tensor(gaps)
        metric.update(number, face._replace(landmarks=landmarks))
    assert metric.by_clip() == {0: {"leak": 0}, 1: {"leak": 1}, 2: {"leak": 0.5}}
    assert metric.compute()["leak"] == 0.5


def test_drawn_mouths(views: list[View], heads: list) -> None:
    """Copying an open mouth leaks in every frame, a shut one in none."""
    openings = torch.stack([opening for _, opening in heads])
    for frames, leak in ((openings.argmax(1), 1), (openings.argmin(1), 0)):
        for view, frame in zip(views, frames, strict=True):
            held = View(*(part[frame].expand_as(part) for part in view))
            assert LipLeak().score(held)["leak"] == pytest.approx(leak)
