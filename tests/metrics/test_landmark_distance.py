"""LMD of known displacements, and of mouths that were copied."""

import pytest
import torch

from lipsync.corpora.landmarks import LIPS
from lipsync.metrics.landmark_distance import LandmarkDistance
from lipsync.metrics.views import View


def test_a_perfect_clip_has_none(face: View) -> None:
    assert LandmarkDistance().score(face, face) == {"lmd": 0, "lmd_pixels": 0}


def test_lips_that_moved(face: View) -> None:
    """In one of two frames all lips are off by (0.03, 0.04), a twentieth of the crop, a tenth of the eyes' distance."""
    landmarks = face.landmarks.clone()
    landmarks[1, list(LIPS)] += torch.tensor([0.03, 0.04])
    found = LandmarkDistance().score(face._replace(landmarks=landmarks), face)
    assert found["lmd"] == pytest.approx(100 * 0.1 / 2, rel=1e-5)
    assert found["lmd_pixels"] == pytest.approx(128 * 0.05 / 2, rel=1e-5)


def test_a_face_that_moved_or_grew_as_a_whole_counts_in_pixels_alone(face: View) -> None:
    whole = face._replace(landmarks=1.2 * face.landmarks - 0.1)
    found = LandmarkDistance().score(whole, face)
    assert found["lmd"] == pytest.approx(0, abs=1e-4)
    offsets = (0.2 * face.landmarks - 0.1)[:, list(LIPS)]
    assert found["lmd_pixels"] == pytest.approx(128 * float(offsets.norm(dim=-1).mean()), rel=1e-5)


def test_eyes_that_fall_together_are_finite(face: View) -> None:
    nothing = face._replace(landmarks=torch.full((2, 468, 2), 0.5))
    assert all(value.isfinite() for value in LandmarkDistance().score(nothing, face).values())


def test_copied_mouths_fail(views: list[View], copies: list[View]) -> None:
    metric, best = LandmarkDistance(), LandmarkDistance()
    for number, (view, truth) in enumerate(zip(copies, views, strict=True)):
        metric.update(number, view, truth)
        best.update(number, truth, truth)
    assert best.compute()["lmd"] == 0
    for scores in metric.by_clip().values():
        assert scores["lmd"] > 1
