"""The best checkpoint: that of the highest value, also over a resumption."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from full_disk import FullDisk
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lipsync.callbacks import Best


class Scored(LightningModule):
    """A module whose validations score what they are told to."""

    def __init__(self, scores: Sequence[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.scores = scores

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return -self.weight.sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/sync", self.scores[self.global_step - 1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def train(
    folder: Path, scores: Sequence[float], steps: int, callback: Best, resumed: Path | None = None, full: int = -1
) -> None:
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_steps=steps,
        callbacks=[callback, FullDisk(full)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        val_check_interval=1,
        check_val_every_n_epoch=None,
    )
    data = DataLoader(torch.zeros(100, 1))
    trainer.fit(Scored(scores), data, DataLoader(torch.zeros(1, 1)), ckpt_path=resumed, weights_only=True)


def kept(folder: Path) -> int:
    return torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["global_step"]


def test_the_highest_is_kept_also_over_a_resumption(tmp_path: Path) -> None:
    scores = [0.1, 0.5, float("nan"), 0.5, 0.3, 0.4, 0.6]
    train(tmp_path, scores, 2, Best())
    best = tmp_path / "checkpoints" / "best.ckpt"
    assert kept(tmp_path) == 2
    train(tmp_path, scores, 6, Best(), best)
    assert kept(tmp_path) == 2
    train(tmp_path, scores, 7, Best(), best)
    assert kept(tmp_path) == 7
    assert torch.load(best, weights_only=True)["callbacks"]["Best"] == {"best": pytest.approx(0.6)}


def test_without_the_metric_it_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        train(tmp_path, [0.1, 0.2, 0.3], 3, Best("val/other"))
    assert [record.getMessage() for record in caplog.records if "best.ckpt" in record.getMessage()] == [
        "No best.ckpt is kept: validation logs no val/other"
    ]
    assert not (tmp_path / "checkpoints" / "best.ckpt").exists()


def test_a_first_score_that_is_none_is_no_best(tmp_path: Path) -> None:
    train(tmp_path, [float("nan"), -0.5, -0.6], 3, Best())
    assert kept(tmp_path) == 2


def test_a_full_disk_leaves_the_best_before_and_the_next_better_one_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, [0.1, 0.5, 0.05], 3, Best(), full=1)
    assert kept(tmp_path) == 1
    assert len([record for record in caplog.records if "best.ckpt cannot be written" in record.getMessage()]) == 1
    train(tmp_path / "again", [0.1, 0.5, 0.3], 3, Best(), full=1)
    assert kept(tmp_path / "again") == 3
