"""A run that blows up ends, and leaves the last good checkpoint where a resumption looks for it."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from full_disk import full_disk
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lipsync.callbacks import Divergence
from lipsync.callbacks.divergence import keep
from lipsync.errors import LipsyncError
from lipsync.safekeeping import LastCheckpoint


class Course(LightningModule):
    """A module whose loss at each step is given."""

    def __init__(self, loss: Callable[[int], float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.loss = loss

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.log("train/simple", self.loss(self.global_step))
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def train(folder: Path, loss: Callable[[int], float], steps: int, **options: object) -> Trainer:
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_steps=steps,
        callbacks=[Divergence(options.pop("metric", "train/simple"), patience=50), LastCheckpoint(every=20)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    last = folder / "checkpoints" / "last.ckpt"
    data = DataLoader(torch.zeros(1000, 1))
    trainer.fit(Course(loss), data, ckpt_path=last if last.is_file() else None, weights_only=True)
    return trainer


def steps_in(folder: Path) -> dict[str, int]:
    """Which checkpoints there are, and of which steps."""
    paths = (folder / "checkpoints").iterdir()
    return {path.stem: torch.load(path, weights_only=True)["global_step"] for path in paths}


def test_a_loss_that_stays_high_ends_the_run_and_the_good_checkpoint_is_the_last(tmp_path: Path) -> None:
    # Noisy, as losses are.
    def blows_up(step: int) -> float:
        return (2.0 if step % 30 == 9 else 1.0) if step < 105 else 200.0

    with pytest.raises(LipsyncError, match=r"^step 150: train/simple is .* for 50 steps more than 5 times its best, 1"):
        train(tmp_path, blows_up, 1000)
    # At step 100, where all was well for the last time, the newest was that of step 80.
    assert steps_in(tmp_path) == {"last": 80, "diverged": 150}
    # What one does next: the same command again, with less of something.
    train(tmp_path, lambda step: 1.0, 130)
    assert steps_in(tmp_path) == {"last": 130, "diverged": 150}


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_rise_that_passes_ends_nothing(tmp_path: Path, accumulate: int) -> None:
    trainer = train(tmp_path, lambda step: 200.0 if 100 <= step < 110 else 1.0, 140, accumulate_grad_batches=accumulate)
    assert trainer.global_step == 140
    assert steps_in(tmp_path) == {"last": 140}


def test_what_it_knows_outlives_a_resumption(tmp_path: Path) -> None:
    train(tmp_path, lambda step: 1.0, 40)
    with pytest.raises(LipsyncError, match=r"^step 90: train/simple is .* its best, 1"):
        train(tmp_path, lambda step: 200.0, 300)
    assert steps_in(tmp_path)["last"] == 40


def test_without_the_metric_it_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        train(tmp_path, lambda step: 1.0, 40, metric="train/other")
    told = [record.getMessage() for record in caplog.records if "Divergence" in record.getMessage()]
    assert told == ["Divergence goes unnoticed: training logs no train/other"]


def test_what_diverged_before_any_good_checkpoint_is_not_gone_on_from(tmp_path: Path) -> None:
    with pytest.raises(LipsyncError, match=r"^step 60: .*: begin anew with a lower model.lr$"):
        train(tmp_path, lambda step: 1.0 if step < 15 else 200.0, 1000)
    assert steps_in(tmp_path) == {"diverged": 60}


def test_without_links_and_room_the_good_one_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refused)
    last, good = tmp_path / "last.ckpt", tmp_path / "good.ckpt"
    for content in ("first", "second", "third"):
        last.write_text(content)
        with full_disk(0 if content == "second" else 1000):
            keep(last, good)
        assert good.read_text() == ("first" if content == "second" else content)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.ckpt", "last.ckpt"]
    assert len([record for record in caplog.records if "good.ckpt cannot be written" in record.getMessage()]) == 1
