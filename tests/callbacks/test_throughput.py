"""Speed and waiting, of runs whose steps and batches take a known time at least; FLOPs against a real pass."""

import time
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from lipsync.callbacks import Throughput
from lipsync.callbacks.throughput import flops_a_second, frame_flops
from lipsync.networks.unet import UNet

NAP = 0.02  # seconds
UNET = {"channels": 8, "channel_mult": [1, 2], "head_channels": 8, "groups": 4, "audio_channels": [8, 8]}


class Slow(Dataset):
    """Windows, each a while in coming."""

    def __init__(self, nap: float) -> None:
        self.nap = nap

    def __len__(self) -> int:
        return 100

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        time.sleep(self.nap)
        return {"index": torch.tensor(place), "frames": torch.zeros(5, 1)}


class Sleeper(LightningModule):
    """A step that takes a while; validation takes long, and so may the preparations."""

    def __init__(self, nap: float, before: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.nap, self.before = nap, before

    def on_train_start(self) -> None:
        time.sleep(self.before)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        time.sleep(self.nap)
        return self.weight.sum()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        time.sleep(50 * NAP)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def measured(folder: Path, of_step: float, of_window: float, before: float = 0, **options: object) -> dict[str, float]:
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_steps=6,
        callbacks=[Throughput(every=5)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(
        Sleeper(of_step, before), DataLoader(Slow(of_window), batch_size=2), DataLoader(Slow(0), batch_size=100)
    )
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


def test_windows_a_second_and_the_share_that_is_waiting(tmp_path: Path) -> None:
    fed = measured(tmp_path, 3 * NAP, 0, limit_val_batches=0)
    assert 0 < fed["throughput/windows"] <= 2 / (3 * NAP)
    assert fed["throughput/waiting"] < 0.3
    starved = measured(tmp_path, 0, NAP, limit_val_batches=0)
    assert 0 < starved["throughput/windows"] <= 2 / (2 * NAP)
    assert starved["throughput/waiting"] > 0.7
    assert "throughput/utilisation" not in fed  # of a network it does not know


def test_preparations_count_for_nothing(tmp_path: Path) -> None:
    # 50 naps before the first step; five steps take 10.
    found = measured(tmp_path, 2 * NAP, 0, 50 * NAP, limit_val_batches=0)
    assert found["throughput/windows"] > 10 / (40 * NAP)


def test_validation_counts_for_nothing(tmp_path: Path) -> None:
    # 50 naps of validation after the third step; five steps take 10.
    how = {"val_check_interval": 3, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0}
    found = measured(tmp_path, 2 * NAP, 0, **how)
    assert found["throughput/windows"] > 10 / (40 * NAP)


def test_a_profiler_of_the_users_stays(tmp_path: Path) -> None:
    found = measured(tmp_path, 0, 0, limit_val_batches=0, profiler="simple")
    assert "throughput/waiting" not in found
    assert found["throughput/windows"] > 0


def test_flops_are_those_of_a_real_pass() -> None:
    unet = UNet(16, **UNET)
    pictures = torch.zeros(3, 3, 16, 16)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        unet(pictures, torch.zeros(3, dtype=torch.long), pictures, pictures, torch.zeros(3, 80, 16))
    assert frame_flops(unet, 16) == pytest.approx(counter.get_total_flops() / 3, rel=1e-3)
    assert frame_flops(unet.double(), 16) > 1e6


def test_the_ceiling_is_a_matrix_products() -> None:
    before = torch.get_rng_state()
    assert 1e8 < flops_a_second(torch.device("cpu")) < 1e13
    assert torch.equal(torch.get_rng_state(), before)
