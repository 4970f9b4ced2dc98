"""Correlations against closed forms, and the meter against what FaceMesh says of an empty picture."""

import numpy as np
import pytest
import torch

from lipsync.errors import LipsyncError
from lipsync.metrics.opening import MouthMeter, OpeningAgreement, OpeningCorrelation, correlation
from lipsync.metrics.views import View


def test_correlation_is_pearsons() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 40))
    expected = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(correlation(torch.tensor(a), torch.tensor(b)), expected, atol=1e-12)


def test_a_still_mouth_correlates_with_nothing() -> None:
    assert correlation(torch.ones(9), torch.arange(9.0)) == 0


def test_scores_of_known_clips() -> None:
    """Three sines of different frequency are orthogonal; one clip is followed, one not, one in reverse."""
    phase = torch.arange(60) / 60 * 2 * torch.pi
    true = torch.stack([(k * phase).sin() for k in (1, 2, 3)])
    measured = torch.stack([2 * true[0] + 5, (7 * phase).sin(), -true[2]])
    metric = OpeningCorrelation()
    metric.update(measured[:2], true[:2])
    metric.update(measured[2:], true[2:])
    scores = metric.compute()
    assert scores["opening_correlation"] == pytest.approx(0, abs=1e-6)
    assert scores["opening_correlation_worst"] == pytest.approx(-1, abs=1e-6)
    assert scores["opening_correlation_shuffled"] == pytest.approx(0, abs=1e-6)
    pooled = np.corrcoef(measured.flatten(), true.flatten())[0, 1]
    assert scores["opening_correlation_pooled"] == pytest.approx(pooled, abs=1e-6)
    # Per clip all may be well while the clips' levels are not: that is what `pooled` is for.
    assert pooled < 0.5


def test_shuffled_leaves_out_a_clips_own_truth() -> None:
    true = torch.randn(4, 50)
    metric = OpeningCorrelation()
    metric.update(true, true)
    expected = (np.corrcoef(true.numpy()).sum() - 4) / 12
    assert metric.compute()["opening_correlation_shuffled"] == pytest.approx(expected, abs=1e-6)
    assert metric.compute()["opening_correlation"] == pytest.approx(1)


def test_the_meter_reads_a_face_of_any_size(shared) -> None:
    faces = np.load(shared / "reference" / "faces" / "facemesh.npz")
    points = faces["landmarks"][:3]
    gap = np.linalg.norm(points[:, 13, :2] - points[:, 14, :2], axis=1)
    nose = np.linalg.norm(points[:, 168, :2] - points[:, 2, :2], axis=1)
    pictures = torch.tensor(faces["inputs"][:3]).permute(0, 3, 1, 2).float() / 127.5 - 1
    meter = MouthMeter()
    np.testing.assert_allclose(meter(pictures), gap / nose, atol=2e-3)
    half = torch.nn.functional.avg_pool2d(pictures, 2)
    np.testing.assert_allclose(meter(half), gap / nose, atol=0.06)


def opened(face: View, gaps: list[float]) -> View:
    """The face with its lower lip so far down, a frame each, in lengths of its nose."""
    landmarks = face.landmarks[:1].repeat(len(gaps), 1, 1)
    landmarks[:, 14, 1] += 0.2 * torch.tensor(gaps)
    return face._replace(landmarks=landmarks)


def test_agreement_is_pearsons_r(face: View) -> None:
    measured, given = np.random.default_rng(0).random((2, 12))
    found = OpeningAgreement().score(opened(face, measured.tolist()), torch.tensor(given))
    assert found["opening_r"] == pytest.approx(np.corrcoef(measured, given)[0, 1], abs=1e-5)
    assert OpeningAgreement().score(opened(face, [0.1, 0.3]), torch.tensor([5.0, 9.0]))["opening_r"] == pytest.approx(1)
    assert OpeningAgreement().score(opened(face, [0.3, 0.1]), torch.tensor([5.0, 9.0]))["opening_r"] == pytest.approx(
        -1
    )


def test_unknown_openings_are_not_asked_for(face: View) -> None:
    metric = OpeningAgreement()
    metric.update(0, opened(face, [0.1, 0.9, 0.2]), torch.tensor([1.0, torch.nan, 2.0]))
    metric.update(1, opened(face, [0.1, 0.9]), torch.tensor([1.0, torch.nan]))
    metric.update(2, opened(face, [0.1, 0.9]), torch.tensor([1.0, 1.0]))
    assert metric.by_clip() == {0: {"opening_r": pytest.approx(1)}, 1: {}, 2: {}}
    assert metric.compute()["opening_r"] == pytest.approx(1)
    with pytest.raises(LipsyncError, match="2 frames"):
        metric.update(3, opened(face, [0.1, 0.9]), torch.zeros(3))


def test_copied_mouths_do_not_follow(views: list[View], copies: list[View], heads: list) -> None:
    for view, copied, (_, opening) in zip(views, copies, heads, strict=True):
        assert OpeningAgreement().score(view, opening)["opening_r"] > 0.85
        assert OpeningAgreement().score(copied, opening)["opening_r"] < 0.5
