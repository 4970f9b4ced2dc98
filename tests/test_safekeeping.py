"""Steps that are not finite move nothing, and end a run in the end; checkpoints outlive errors and other machines."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from full_disk import FullDisk
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lipsync.callbacks import EMA
from lipsync.errors import LipsyncError
from lipsync.safekeeping import LastCheckpoint, NonFinite


class Line(LightningModule):
    """One weight, moved by 1 a step, whose loss is not finite at the steps named."""

    def __init__(self, broken: tuple[int, ...] = (), fails_at: int | None = None) -> None:
        super().__init__()
        self.unet = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.unet.weight, 0.0)
        self.broken, self.fails_at = broken, fails_at
        self.course: list[float] = []

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.course.append(self.unet.weight.item())
        if self.global_step == self.fails_at:
            raise RuntimeError("the disk is full")
        return -self.unet.weight.sum() * (float("nan") if self.global_step in self.broken else 1.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # Momentum and decay would move the weight even where the gradient is zero.
        return torch.optim.SGD(self.parameters(), lr=1.0, momentum=0.5, weight_decay=0.1)


class Numbers(LightningDataModule):
    """Batches of one clip each, named by its number."""

    def train_dataloader(self) -> DataLoader:
        return DataLoader([{"clip": n} for n in range(100)])

    def clip_names(self, clips: Tensor) -> list[str]:
        return [f"clip{n}" for n in clips.unique().tolist()]


def train(folder: Path, module: Line, steps: int, **arguments: object) -> Trainer:
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_steps=steps,
        callbacks=[
            FullDisk(*arguments.pop("full", ())),
            EMA(0.5),
            NonFinite(arguments.pop("limit", 3)),
            LastCheckpoint(arguments.pop("every", 1000)),
        ],
        plugins=arguments.pop("plugins", None),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accumulate_grad_batches=arguments.pop("accumulate", 1),
    )
    trainer.fit(module, datamodule=Numbers(), weights_only=True, **arguments)
    return trainer


def test_a_step_that_is_not_finite_moves_nothing_and_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = Line(broken=(2, 4))
    with caplog.at_level(logging.WARNING):
        trainer = train(tmp_path, module, steps=6)
    assert trainer.global_step == 6
    assert module.course[3] == module.course[2] != module.course[1]
    assert module.course[5] == module.course[4] != module.course[3]
    # The average of the finite steps alone: nothing moved in the others.
    plain = Line()
    train(tmp_path / "plain", plain, steps=4)
    assert module.course[:3] == plain.course[:3]
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["callbacks"]["NonFinite"] == {"skipped": 2}
    told = [record.getMessage() for record in caplog.records if "not finite" in record.getMessage()]
    assert len(told) == 2
    assert "step 2" in told[0]
    assert "its clips: clip2" in told[0]


def test_many_in_a_row_end_the_run_with_a_checkpoint(tmp_path: Path) -> None:
    module = Line(broken=tuple(range(4, 50)))
    with pytest.raises(LipsyncError, match=r"step 6: .* its clips: clip6; 3 such steps in a row: lower model.lr"):
        train(tmp_path, module, steps=50)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 7
    assert last["raw_weights"]["unet.weight"].item() == module.course[4]


class Steep(Line):
    """Its gradient is finite, yet not when a GradScaler multiplies it by more than 2048."""

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return 1e35 * super().training_step(batch, batch_idx)


def scaled() -> MixedPrecision:
    """What `16-mixed` is on a GPU."""
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))


def test_under_a_loss_scale_steps_are_skipped_and_named_alike(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module, plain = Line(broken=(2, 4)), Line(broken=(2, 4))
    with caplog.at_level(logging.WARNING):
        trainer = train(tmp_path, module, steps=6, plugins=scaled())
    told = [record.getMessage() for record in caplog.records if "not finite" in record.getMessage()]
    assert ["its clips: clip2" in told[0], "its clips: clip4" in told[1]] == [True, True]
    assert len(told) == 2
    train(tmp_path / "plain", plain, steps=6)
    assert trainer.global_step == 6
    assert module.course == plain.course  # moved by 1, not by the scale
    last, without = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (tmp_path, tmp_path / "plain")
    )
    assert last["state_dict"] == without["state_dict"]  # the average
    assert last["MixedPrecision"]["scale"] == 65536 / 4  # halved at each

    resumed = Line(broken=(2, 4))
    again = train(tmp_path, resumed, steps=8, plugins=scaled(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert again.precision_plugin.scaler.get_scale() == 65536 / 4


def test_the_search_for_the_loss_scale_is_no_news_until_it_lasts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = Steep()
    with caplog.at_level(logging.WARNING):
        trainer = train(tmp_path, module, steps=7, plugins=scaled(), limit=6)
    assert not [record for record in caplog.records if "not finite" in record.getMessage()]
    assert trainer.precision_plugin.scaler.get_scale() == 2048
    assert module.course[:6] == [0] * 6  # 65536, ..., 4096 were too much
    assert module.course[6] == pytest.approx(1e35)
    with pytest.raises(LipsyncError, match=r"step 3: .* its clips: clip3; 4 such steps in a row"):
        train(tmp_path / "impatient", Steep(), steps=7, plugins=scaled(), limit=4)


def test_an_error_leaves_the_last_whole_step(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="disk is full"):
        train(tmp_path, Line(fails_at=5), steps=9)
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 5

    resumed, straight = Line(), Line()
    train(tmp_path, resumed, steps=9, ckpt_path=last)
    train(tmp_path / "straight", straight, steps=9)
    assert resumed.course == straight.course[5:]
    assert torch.equal(resumed.unet.weight, straight.unet.weight)


def test_other_processes_are_not_waited_for(tmp_path: Path) -> None:
    trainer = SimpleNamespace(state=SimpleNamespace(fn="fit"), global_step=3, world_size=2)
    keeper = LastCheckpoint()
    keeper.finished = 3
    keeper.on_exception(trainer, None, RuntimeError())  # it would have written through the trainer


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_run_goes_on_with_another_accumulation(tmp_path: Path, before: int, after: int) -> None:
    first, then = Line(), Line()
    train(tmp_path, first, steps=3, accumulate=before)
    trainer = train(tmp_path, then, steps=5, accumulate=after, ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert trainer.global_step == 5
    assert len(then.course) == 2 * after
    straight = Line()
    train(tmp_path / "straight", straight, steps=5)
    assert then.unet.weight.item() == pytest.approx(straight.unet.weight.item())


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "last.ckpt" in record.getMessage()]


def test_a_full_disk_leaves_the_checkpoint_before_and_the_next_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    trainer = train(tmp_path, Line(), steps=6, every=2, full=(3, 4, 5))  # steps 4 and 6 are not written
    assert trainer.global_step == 6
    assert torch.load(last, weights_only=True)["global_step"] == 2
    assert [path.name for path in last.parent.iterdir()] == ["last.ckpt"]
    assert ["cannot be written" in told(caplog)[0], "ended at step 6" in told(caplog)[1]] == [True, True]
    assert len(told(caplog)) == 2
    train(tmp_path / "later", Line(), steps=7, every=2, full=(3,))
    later = torch.load(tmp_path / "later" / "checkpoints" / "last.ckpt", weights_only=True)
    assert later["global_step"] == 7
    assert len(told(caplog)) == 3


def test_of_two_processes_none_waits_for_the_one_whose_disk_is_full(tmp_path: Path) -> None:
    trainer = Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        strategy="ddp_spawn",
        devices=2,
        max_steps=5,
        limit_val_batches=0,
        callbacks=[FullDisk(1, 3), LastCheckpoint(every=2)],  # steps 2 and 4 are not written
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(BoringModel())
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 5
