"""Accuracy, offsets and curve of experts whose answer is known."""

import pytest
import torch
import torch.nn.functional as F

from lipsync.metrics.expert import HEARD, SHIFTS, ExpertQuality, best_shift, shifted_scores

WINDOWS = 46


def clip(number: int, late: int = 0, loud: float = 0.0) -> dict[str, torch.Tensor | int]:
    """Windows that all look different; the sound of window i is that of the face `late` windows before."""
    features = torch.eye(2 * WINDOWS)
    return {
        "audio": features[WINDOWS // 2 - late :][:WINDOWS],
        "face": features[WINDOWS // 2 :][:WINDOWS],
        "opening": torch.arange(WINDOWS + 4.0),
        "mels": torch.full((WINDOWS, 80, 16), loud),
        "clip": number,
        "speaker": number,
    }


def test_a_perfect_expert() -> None:
    metric = ExpertQuality()
    metric.update(**clip(0))
    apart = {name: clip(1)[name].roll(WINDOWS, 1) for name in ("audio", "face")}  # nothing in common with clip 0
    metric.update(**clip(1) | apart)
    scores = metric.compute()
    for name in ("accuracy", "accuracy_all", "auc", "offset_recall"):
        assert scores[name] == 1
    assert scores["offset"] == 0
    assert max(range(2 * SHIFTS + 1), key=metric.curve.__getitem__) == SHIFTS


def test_a_guessing_expert() -> None:
    metric = ExpertQuality()
    for number in range(3):
        still = F.normalize(torch.ones(WINDOWS, 8), dim=1)
        metric.update(**clip(number) | {"audio": still, "face": still})
    scores = metric.compute()
    assert scores["accuracy"] == scores["accuracy_all"] == pytest.approx(0.5)
    assert scores["auc"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("late", "recall"), [(0, 1), (1, 1), (-1, 1), (4, 0), (-7, 0)])
def test_the_offset_of_the_data_is_found(late: int, recall: float) -> None:
    metric = ExpertQuality()
    metric.update(**clip(0, late))
    scores = metric.compute()
    assert scores["offset"] == late
    assert scores["offset_recall"] == recall


def test_silence_is_not_asked_for_an_offset() -> None:
    metric = ExpertQuality()
    metric.update(**clip(0, 4, loud=HEARD - 0.2))
    metric.update(**clip(1))
    assert metric.compute()["offset_recall"] == 1


def test_only_pairs_that_differ_count_for_accuracy() -> None:
    """The mouth opens in the second half only; there the expert is right, elsewhere it is wrong."""
    metric = ExpertQuality()
    audio = torch.eye(WINDOWS)
    opening = (torch.arange(WINDOWS + 4) >= WINDOWS // 2 + 4).float()
    metric.update(audio, audio, opening, torch.zeros(WINDOWS, 80, 16), 0, 0)
    assert metric.compute()["accuracy"] == 1
    metric.reset()
    metric.update(audio, audio, torch.zeros(WINDOWS + 4), torch.zeros(WINDOWS, 80, 16), 0, 0)
    assert metric.compute()["accuracy"].isnan()  # nothing differs: nothing to ask


def test_scores_are_those_of_shifted_sounds() -> None:
    audio, face = torch.arange(6.0).view(3, 2), torch.eye(3)[:, :2] + torch.tensor([0.0, 1.0])
    scores, present = shifted_scores(audio, face, 1)
    cosine = audio @ face.T
    expected = [
        [0, cosine[0, 0], cosine[1, 0]],
        [cosine[0, 1], cosine[1, 1], cosine[2, 1]],
        [cosine[1, 2], cosine[2, 2], 0],
    ]
    torch.testing.assert_close(scores, torch.tensor(expected))
    assert present.tolist() == [[False, True, True], [True, True, True], [True, True, False]]


@pytest.mark.parametrize("late", [-3, 0, 6])
def test_best_shift_of_a_short_clip(late: int) -> None:
    face = F.normalize(torch.rand(20, 8) - 0.3, dim=1)
    shift, confidence = best_shift(*shifted_scores(face.roll(late, 0), face, SHIFTS))
    assert shift == late
    assert confidence > 0.3
