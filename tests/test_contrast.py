"""The expert's objectives against closed forms; negatives that are none; one large batch in chunks."""

import math

import pytest
import torch
import torch.nn.functional as F

from lipsync.contrast import bce, cosines, info_nce, margin, negative_weights, objective, two_way_accuracy
from lipsync.errors import LipsyncError

TEMPERATURE = 0.07


def apart(count: int) -> torch.Tensor:
    """Weights of a batch of windows of different clips."""
    places = torch.arange(count)
    return negative_weights(places, places, torch.zeros_like(places), 5)


def test_overlapping_windows_are_no_negatives() -> None:
    clip, speaker = torch.tensor([0, 0, 0, 1]), torch.tensor([7, 7, 7, 8])
    weights = negative_weights(clip, speaker, torch.tensor([10, 14, 15, 10]), frames=5)
    expected = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 0]]) / 8
    torch.testing.assert_close(weights, expected)


def test_foreign_share_weighs_the_two_sorts() -> None:
    clip, speaker = torch.tensor([0, 0, 1, 2]), torch.tensor([7, 7, 7, 8])
    first = torch.tensor([0, 20, 0, 0])
    weights = negative_weights(clip, speaker, first, 5, foreign_share=0.2)
    strangers = speaker[:, None] != speaker
    assert weights[strangers].sum() == pytest.approx(0.2)
    assert weights[strangers].unique().numel() == 1
    assert weights[~strangers].sum() == pytest.approx(0.8)
    assert weights.diagonal().tolist() == [0, 0, 0, 0]
    # One sort only has all the weight.
    assert negative_weights(clip[:3], speaker[:3], first[:3], 5, 0.2).sum() == pytest.approx(1)
    assert negative_weights(clip[:1], speaker[:1], first[:1], 5).tolist() == [[0]]


def test_everything_at_one_half_is_the_plateau() -> None:
    """A constant embedding at cosine one half is the ln 2 that users report."""
    assert bce(torch.full((6, 6), 0.5), apart(6)) == pytest.approx(math.log(2), abs=1e-6)


def test_bce_is_that_of_torch() -> None:
    cosine = torch.rand(5, 5)
    own = F.binary_cross_entropy(cosine.diagonal(), torch.ones(5))
    foreign = cosine[~torch.eye(5, dtype=torch.bool)]
    expected = 0.5 * (own + F.binary_cross_entropy(foreign, torch.zeros(20)))
    assert bce(cosine, apart(5)) == pytest.approx(float(expected), rel=1e-5)


def test_margin_is_zero_once_they_are_apart() -> None:
    cosine = torch.full((4, 4), 0.3).fill_diagonal_(0.7)
    assert margin(cosine, apart(4)) == 0
    assert margin(cosine.fill_diagonal_(0.5), apart(4)) == pytest.approx(0.1)
    assert margin(torch.full((4, 4), 0.5), apart(4)) == pytest.approx(0.2)


def test_info_nce_is_cross_entropy_both_ways() -> None:
    cosine = torch.rand(6, 6)
    logits, target = cosine / TEMPERATURE, torch.arange(6)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2 / math.log(6)
    assert info_nce(cosine, apart(6)) == pytest.approx(float(expected), rel=1e-5)
    assert info_nce(torch.full((6, 6), 0.5), apart(6)) == pytest.approx(1, rel=1e-5)


def test_an_overlapping_window_costs_nothing() -> None:
    clip, first = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 2, 0, 0])
    weights = negative_weights(clip, clip, first, 5)
    cosine = torch.rand(4, 4).requires_grad_()
    for name in ("bce", "margin", "info_nce"):
        (gradient,) = torch.autograd.grad(objective(name, cosine, weights), cosine)
        assert gradient.isfinite().all()
        assert gradient[0, 1] == gradient[1, 0] == 0
        assert gradient[2, 3] >= 0
    with pytest.raises(LipsyncError, match="triplet"):
        objective("triplet", cosine, weights)


def test_cosines_are_float32_under_autocast() -> None:
    audio, face = (F.normalize(torch.rand(6, 32), dim=1) for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        under = cosines(audio, face)
    assert under.dtype == torch.float32
    assert torch.equal(under, cosines(audio, face))
    assert under[2, 4] == pytest.approx(float(audio[2] @ face[4]))  # row: sound, column: face


def test_two_way_accuracy_counts_ties_half() -> None:
    cosine = torch.tensor([[0.9, 0.1, 0.5], [0.9, 0.8, 0.6], [0.2, 0.9, 0.5]])
    chosen = ~torch.eye(3, dtype=torch.bool)
    # Of each face (column): own against foreign sounds: tie and win, win and loss, tie and loss.
    assert two_way_accuracy(cosine, chosen) == pytest.approx((1.5 + 1 + 0.5) / 6)
    assert two_way_accuracy(cosine, chosen & False).isnan()
