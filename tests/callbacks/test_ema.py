"""EMA against the recursion written out, its place in checkpoints, and metrics.json."""

import json
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from lipsync.callbacks import EMA, MetricsFile


class Line(LightningModule):
    """One weight that gradient descent moves by a known amount a step."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.unet.weight, 0.0)
        self.seen: list[float] = []

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return -self.unet.weight.sum()  # every step adds the learning rate, 1

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.seen.append(self.unet.weight.item())
        self.log("val/weight", self.unet.weight.mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def train(folder: Path, steps: int, ckpt_path: str | None = None) -> tuple[Line, Trainer]:
    module = Line()
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_steps=steps,
        callbacks=[EMA(decay=0.3), MetricsFile()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        val_check_interval=2,
        check_val_every_n_epoch=None,
    )
    data = DataLoader(torch.zeros(100, 1))
    trainer.fit(module, data, DataLoader(torch.zeros(1, 1)), ckpt_path=ckpt_path, weights_only=True)
    return module, trainer


def averages(steps: int) -> list[float]:
    """The weight is n after n steps; its average by the recursion, warm from the third step on."""
    average, course = 0.0, []
    for n in range(1, steps + 1):
        decay = (2 / 11, 3 / 12)[n - 1] if n < 3 else 0.3
        average = decay * average + (1 - decay) * n
        course.append(average)
    return course


def test_validation_sees_the_average_and_training_goes_on_raw(tmp_path: Path) -> None:
    module, _ = train(tmp_path, steps=6)
    assert module.seen == pytest.approx([averages(6)[k] for k in (1, 3, 5)])
    assert module.unet.weight.item() == pytest.approx(averages(6)[-1])  # the end of fit leaves the average in place
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["val/weight"] == pytest.approx(averages(6)[-1])
    assert metrics["step"] == 6


def test_a_checkpoint_holds_both_and_resumes_exactly(tmp_path: Path) -> None:
    _, trainer = train(tmp_path, steps=6)
    trainer.save_checkpoint(tmp_path / "six.ckpt")
    checkpoint = torch.load(tmp_path / "six.ckpt", weights_only=True)
    assert checkpoint["state_dict"]["unet.weight"].item() == pytest.approx(averages(6)[-1])
    assert checkpoint["raw_weights"]["unet.weight"].item() == 6

    resumed, _ = train(tmp_path, steps=10, ckpt_path=str(tmp_path / "six.ckpt"))
    straight, _ = train(tmp_path, steps=10)
    assert resumed.unet.weight.item() == straight.unet.weight.item() == pytest.approx(averages(10)[-1])
