"""Checkpoints go out and come back equal; anything else is refused in one line that names the file."""

from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer

from lipsync import Diff2Lip, LipsyncError, SyncExpert, load
from lipsync.checkpoints import export, load_expert


def save(module: LightningModule, path: Path) -> Path:
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", default_root_dir=path.parent)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)
    return path


@pytest.fixture
def expert(tmp_path: Path) -> Path:
    return save(SyncExpert(syncnet={"width": 2, "norm": "group"}), tmp_path / "expert.ckpt")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    small = {"channels": 8, "channel_mult": [1, 2], "attention_resolutions": [], "head_channels": 8, "groups": 4}
    return save(Diff2Lip(size=16, unet=small | {"audio_channels": [8], "fold": 2}), tmp_path / "model.ckpt")


def test_export_comes_back_equal(model: Path, expert: Path) -> None:
    export(str(model), str(model.with_suffix(".safetensors")))
    export(str(expert), str(expert.with_suffix(".safetensors")))
    for a, b in (
        (load(model), load(model.with_suffix(".safetensors"))),
        (load_expert(expert), load_expert(expert.with_suffix(".safetensors"))),
    ):
        assert a.state_dict().keys() == b.state_dict().keys()
        assert all(torch.equal(value, b.state_dict()[key]) for key, value in a.state_dict().items())
        assert not any(parameter.requires_grad for parameter in b.parameters())
    assert not list(model.parent.glob("*.part"))


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, expert: Path) -> None:
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.ckpt")
    torch.save({"state_dict": {}, "hyper_parameters": {}, "code": Trainer}, tmp_path / "code.ckpt")
    for name in ("missing.ckpt", "text.ckpt", "text.safetensors", "other.ckpt", "code.ckpt", "expert.ckpt"):
        with pytest.raises(LipsyncError, match=name) as refused:
            load(tmp_path / name)
        assert "\n" not in str(refused.value)
    with pytest.raises(LipsyncError, match="nobody"):
        load_expert("nobody")


def test_an_export_has_its_name(expert: Path, tmp_path: Path) -> None:
    with pytest.raises(LipsyncError, match=r"out\.pt"):
        export(str(expert), str(tmp_path / "out.pt"))
