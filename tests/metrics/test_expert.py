"""Accuracy, offsets and curve of experts whose answer is known."""

import pytest
import torch
import torch.nn.functional as F

from lipsync.metrics.expert import HEARD, SHIFTS, ExpertQuality, diagonals

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
    metric.update(**clip(1) | {"audio": clip(1)["audio"].roll(5, 1), "face": clip(1)["face"].roll(5, 1)})
    scores = metric.compute()
    assert scores["accuracy"] == 1
    assert scores["offset_recall"] == 1
    assert scores["offset"] == 0
    assert metric.curve().argmax() == SHIFTS


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


def test_diagonals_read_sounds_at_shifts() -> None:
    cosine = torch.arange(12.0).view(3, 4)[:, :3]  # row: sound, column: face
    scores, present = diagonals(cosine, 1)
    assert scores.tolist() == [[0, 0, 4], [1, 5, 9], [6, 10, 0]]
    assert present.tolist() == [[False, True, True], [True, True, True], [True, True, False]]
