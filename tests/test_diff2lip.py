"""What the module refuses, what it gives its optimizer, and what a checkpoint holds."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from oracle import tiny, windows

from lipsync import Diff2Lip, LipsyncError, load
from lipsync.expert import FrozenExpert
from lipsync.networks.syncnet import SyncNet


def test_an_expert_that_knows_nothing_of_the_corpus_is_refused() -> None:
    model = tiny(expert="nobody")
    model.expert = FrozenExpert(SyncNet(width=2, norm="group"))
    count = torch.arange(16)
    batch = windows(16) | {"clip": count, "speaker": count, "first_frame": count}
    model.trainer = SimpleNamespace(datamodule=SimpleNamespace(sample_windows=lambda number, device: batch))
    with pytest.raises(LipsyncError, match=r"expert nobody tells own from foreign sound in \d+% .* fewer than 75%"):
        model.question_expert()
    model.hparams.expert_bar = 0
    model.question_expert()


def test_the_data_must_be_cut_as_the_model_expects() -> None:
    model = tiny(crop_rule="tight")
    model.trainer = SimpleNamespace(ckpt_path=None, datamodule=SimpleNamespace(crop_rule="square"))
    with pytest.raises(LipsyncError, match="crop_rule is tight, the data's square"):
        model.setup("fit")


def test_a_checkpoint_loads_without_arguments(tmp_path: Path) -> None:
    from lightning import Trainer

    model = tiny(prediction="v")
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", default_root_dir=tmp_path)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    for loaded in (load(tmp_path / "x.ckpt"), Diff2Lip.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)):
        assert loaded.prediction == "v"
        for key, value in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], value)


@pytest.mark.parametrize("arguments", [{"prediction": "noise"}, {"loss_weights": {"lipps": 1.0}}])
def test_unknown_choices_are_named(arguments: dict) -> None:
    with pytest.raises(LipsyncError, match=r"noise|lipps"):
        tiny(**arguments)


def test_frozen_layers_stay_out_of_the_optimizer() -> None:
    model = tiny(frozen=("input_blocks.0", "time_embed"))
    model.trainer = SimpleNamespace(max_steps=10)
    held = {name for name, weight in model.unet.named_parameters() if not weight.requires_grad}
    assert held == {
        "input_blocks.0.0.weight", "input_blocks.0.0.bias",
        *(f"time_embed.{n}.{kind}" for n in (0, 2) for kind in ("weight", "bias")),
    }  # fmt: skip
    (group,) = model.configure_optimizers()["optimizer"].param_groups
    assert len(group["params"]) == len(list(model.unet.parameters())) - len(held)
    with pytest.raises(LipsyncError, match="begin with 'encoder'"):
        tiny(frozen=("encoder",))
