"""Checkpoints go out and come back equal, published ones come in, and anything else is refused in one line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from safetensors import safe_open
from torch import Tensor, nn

from lipsync import Diff2Lip, LipsyncError, SyncExpert, load
from lipsync.checkpoints import DISCRIMINATOR, fingerprint, load_diff2lip, load_expert, part, read, take_weights
from lipsync.exports import convert, export
from lipsync.networks.syncnet import SyncNet
from lipsync.networks.syncnet_v2 import SyncNetV2
from lipsync.networks.unet import UNet

# The original's layout, smaller: what a published file's shapes must tell.
NARROW = {"channels": 64, "channel_mult": [1, 1, 2], "num_res_blocks": 1, "attention_resolutions": [32, 16]}


def save(module: LightningModule, path: Path) -> Path:
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", default_root_dir=path.parent)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path, weights_only=False)
    return path


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Compares all but the discriminator, which only a run's checkpoint holds."""
    a, b = (part(state, DISCRIMINATOR, False) for state in (a, b))
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


def randomised(module: nn.Module) -> nn.Module:
    """With no two parameters alike: a layer that starts at zero would hide a mistaken key."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.05)
    return module.eval()


@pytest.fixture
def expert(tmp_path: Path) -> Path:
    return save(SyncExpert(syncnet={"width": 2, "norm": "group"}), tmp_path / "expert.ckpt")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    small = {"channels": 8, "channel_mult": [1, 2], "attention_resolutions": [], "head_channels": 8, "groups": 4}
    return save(Diff2Lip(size=16, unet=small | {"audio_channels": [8], "fold": 2}), tmp_path / "model.ckpt")


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    return randomised(UNet(64, **NARROW))


@pytest.fixture
def published(tmp_path: Path, unet: nn.Module) -> Path:
    """A Diff2Lip as its authors save it: a bare state_dict."""
    torch.save(unet.state_dict(), tmp_path / "published.pt")
    return tmp_path / "published.pt"


def test_export_comes_back_equal(model: Path, expert: Path) -> None:
    export(str(model), str(model.with_suffix(".safetensors")))
    export(str(expert), str(expert.with_suffix(".safetensors")))
    for path in (model, expert):
        ours, exported = load(path), load(path.with_suffix(".safetensors"))
        assert same(ours.state_dict(), exported.state_dict())
        assert json.dumps(ours.hparams) == json.dumps(exported.hparams)  # in which a tuple is a list
        assert not any(parameter.requires_grad for parameter in exported.parameters())
        card = path.with_suffix(".md").read_text()
        assert f"# {path.stem}.safetensors" in card
        kept = part(dict(ours.named_parameters()), DISCRIMINATOR, False)
        assert f"{sum(p.numel() for p in kept.values()):,} parameters" in card
    assert not list(model.parent.glob("*.part"))


def test_published_diff2lip_tells_its_architecture(published: Path, unet: nn.Module) -> None:
    model = load(published)
    assert isinstance(model, Diff2Lip)
    assert same(model.unet.state_dict(), unet.state_dict())
    assert (model.size, model.prediction, model.crop_rule) == (64, "eps", "tight")
    assert model.hparams.unet == NARROW


LAYOUTS = [(128, [1, 1, 2, 3, 4], 2), (64, [1, 2, 3, 4], 3), (128, [1, 1, 1], 1)]


@pytest.mark.parametrize(("size", "mult", "blocks"), LAYOUTS)
def test_levels_and_blocks_are_read_off_the_shapes(tmp_path: Path, size: int, mult: list[int], blocks: int) -> None:
    unet = UNet(size, 64, mult, blocks)
    torch.save(unet.state_dict(), tmp_path / "x.pt")
    model = load(tmp_path / "x.pt")
    assert model.hparams.size == size
    assert same(model.unet.state_dict(), unet.state_dict())
    attended = [side for side in (32, 16, 8) if side in [size >> level for level in range(len(mult))]]
    expected = {"channels": 64, "channel_mult": mult, "num_res_blocks": blocks, "attention_resolutions": attended}
    assert model.hparams.unet == expected


def test_the_official_file(weights: Callable[[str], dict[str, Tensor]], tmp_path: Path) -> None:
    torch.save(weights("tfg_128_official"), tmp_path / "official.pt")
    model = load(tmp_path / "official.pt")
    assert model.hparams.unet["channel_mult"] == [1, 1, 2, 3, 4]
    assert sum(p.numel() for p in model.unet.parameters()) == 101_670_630
    assert same(model.unet.state_dict(), weights("tfg_128_official"))


def test_published_syncnets(tmp_path: Path) -> None:
    colour, second = randomised(SyncNet()), randomised(SyncNetV2())
    parallel = {f"module.{key}": value for key, value in colour.state_dict().items()}
    nested = {"state_dict": parallel, "optimizer": None, "global_step": 7, "global_epoch": 1}
    torch.save(nested, tmp_path / "lipsync_expert.pth")
    # The published file is of 2017: the old format, without BatchNorm's counts.
    old = {k: v for k, v in second.state_dict().items() if "num_batches" not in k}
    torch.save(old, tmp_path / "syncnet_v2.model", _use_new_zipfile_serialization=False)
    expert, judge = load(tmp_path / "lipsync_expert.pth"), load(tmp_path / "syncnet_v2.model")
    assert isinstance(expert, SyncExpert)
    assert same(expert.syncnet.state_dict(), colour.state_dict())
    assert same(load_expert(str(tmp_path / "lipsync_expert.pth")).syncnet.state_dict(), colour.state_dict())
    assert isinstance(judge, SyncNetV2)
    assert same(judge.state_dict(), second.state_dict())
    with pytest.raises(LipsyncError, match="holds a SyncNetV2, not a SyncExpert"):
        load_expert(str(tmp_path / "syncnet_v2.model"))
    with pytest.raises(LipsyncError, match="holds a SyncExpert, not a Diff2Lip"):
        load_diff2lip(tmp_path / "lipsync_expert.pth")


def test_half_precision_is_lifted(published: Path, unet: nn.Module) -> None:
    torch.save({k: v.half() for k, v in unet.state_dict().items()}, published)
    assert {value.dtype for value in load(published).state_dict().values()} == {torch.float32}


def test_convert_takes_what_shapes_do_not_tell(published: Path, tmp_path: Path) -> None:
    convert(str(published), crop_rule="voxceleb2", head_channels=16)
    converted = load(tmp_path / "published.safetensors")
    assert (converted.crop_rule, converted.hparams.unet["head_channels"]) == ("voxceleb2", 16)
    assert same(converted.state_dict(), load(published).state_dict())
    assert read(tmp_path / "published.safetensors").origin == "export"
    assert "whose terms apply" in (tmp_path / "published.md").read_text()
    with pytest.raises(LipsyncError, match="would be overwritten"):
        convert(str(tmp_path / "published.safetensors"))
    with pytest.raises(LipsyncError, match=r"head_channels 24 does not divide"):
        convert(str(published), head_channels=24)
    with pytest.raises(LipsyncError, match="not a checkpoint of Diff2Lip"):
        convert(str(published), head_channels=0)
    with pytest.raises(LipsyncError, match=r"oval.*square, tight, voxceleb2"):
        convert(str(published), crop_rule="oval")


def test_what_comes_in_goes_out_in_the_originals_layout(published: Path, unet: nn.Module, tmp_path: Path) -> None:
    convert(str(published))
    export(str(tmp_path / "published.safetensors"), str(tmp_path / "again.pt"))
    assert same(torch.load(tmp_path / "again.pt", weights_only=True), unet.state_dict())


def test_what_the_original_cannot_run_is_not_written_for_it(model: Path, expert: Path, tmp_path: Path) -> None:
    with pytest.raises(LipsyncError, match=r"fold is 2, not 1; groups is 4, not 32"):
        export(str(model), str(tmp_path / "out.pt"))
    with pytest.raises(LipsyncError, match=r"width is 2, not 32; norm is group, not batch"):
        export(str(expert), str(tmp_path / "out.pt"))
    assert not (tmp_path / "out.pt").exists()


def test_training_starts_from_published_weights(published: Path, unet: nn.Module) -> None:
    fits = Diff2Lip(size=64, unet=NARROW, crop_rule="tight")
    take_weights(fits, published)
    assert same(fits.unet.state_dict(), unet.state_dict())
    for arguments, told in (
        ({"unet": NARROW | {"channels": 32}, "crop_rule": "tight"}, r"head_channels 64"),
        ({"unet": NARROW}, "crop_rule is tight, not square: set model.crop_rule"),
        ({"unet": NARROW, "crop_rule": "tight", "prediction": "v"}, "prediction is eps, not v"),
    ):
        with pytest.raises(LipsyncError, match=told):
            take_weights(Diff2Lip(size=64, **arguments), published)


def test_one_wrong_key_or_shape_is_named(published: Path, unet: nn.Module) -> None:
    state = unet.state_dict()
    del state["middle_block.1.qkv.weight"]
    torch.save(state, published)
    with pytest.raises(LipsyncError, match=r"published.*middle_block\.1\.qkv\.weight is missing$"):
        load(published)
    state = unet.state_dict() | {"middle_block.1.qkv.weight": torch.zeros(3, 3, 1), "extra": torch.zeros(1)}
    torch.save(state, published)
    with pytest.raises(LipsyncError, match=r"extra is not known; .*qkv\.weight is \(3, 3, 1\), not \(384, 128, 1\)$"):
        load(published)


def test_a_file_that_contains_itself_is_no_trap(tmp_path: Path) -> None:
    content: dict = {}
    content["model"] = content
    torch.save(content, tmp_path / "loop.pt")
    with pytest.raises(LipsyncError, match="holds no weights"):
        load(tmp_path / "loop.pt")


def test_an_export_names_no_private_path(tmp_path: Path) -> None:
    small = {"channels": 8, "channel_mult": [1], "attention_resolutions": [], "head_channels": 8, "groups": 4}
    private = {"init_from": "/home/anna/start.pt", "expert": "/home/anna/expert.ckpt"}
    path = save(Diff2Lip(size=16, unet=small | {"audio_channels": [8]}, **private), tmp_path / "private.ckpt")
    export(str(path), str(tmp_path / "out.safetensors"))
    assert "anna" not in (tmp_path / "out.md").read_text()
    assert load(tmp_path / "out.safetensors").hparams.init_from is None
    path = save(Diff2Lip(size=16, unet=small | {"audio_channels": [8]}, expert="synthetic"), tmp_path / "named.ckpt")
    export(str(path), str(tmp_path / "named.safetensors"))
    assert load(tmp_path / "named.safetensors").hparams.expert == "synthetic"


def test_a_card_written_by_hand_stays(model: Path, tmp_path: Path) -> None:
    (tmp_path / "out.md").write_text("My own words")
    export(str(model), str(tmp_path / "out.safetensors"))
    assert (tmp_path / "out.md").read_text() == "My own words"


class Intruder:
    """Asks the unpickler to make a folder."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("intruded",)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for zipped in (True, False):
        torch.save({"unet": Intruder()}, tmp_path / "trap.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(LipsyncError, match=r"trap\.pt.*wants to run code on loading, which is refused.*mkdir"):
            load(tmp_path / "trap.pt")
    assert not (tmp_path / "intruded").exists()


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, expert: Path, published: Path) -> None:
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    (tmp_path / "empty.pt").touch()
    (tmp_path / "page.pt").write_text("\n<!DOCTYPE html><html><body>Sign in to download</body></html>")
    whole = published.read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    torch.save({"state_dict": {}, "hyper_parameters": {}, "code": Trainer}, tmp_path / "code.ckpt")
    told = {
        "missing.ckpt": "no such checkpoint",
        "text.ckpt": "not a checkpoint",
        "text.safetensors": "not a checkpoint",
        "empty.pt": "the file is empty",
        "page.pt": "a web page: download the file itself",
        "cut.pt": "truncated or damaged",
        "other.ckpt": "weights of no network known here",
        "list.ckpt": "holds no weights",
        "code.ckpt": "wants to run code",
    }
    for name, message in told.items():
        with pytest.raises(LipsyncError, match=rf"{name}: .*{message}") as refused:
            load(tmp_path / name)
        assert "\n" not in str(refused.value)
    with pytest.raises(LipsyncError, match="nobody"):
        load_expert("nobody")


def test_an_export_has_its_name_and_place(expert: Path, tmp_path: Path) -> None:
    with pytest.raises(LipsyncError, match=r"out\.bin: the name must end in \.safetensors"):
        export(str(expert), str(tmp_path / "out.bin"))
    with pytest.raises(LipsyncError, match="there is no folder"):
        export(str(expert), str(tmp_path / "absent" / "out.safetensors"))


def test_metadata_names_the_module(model: Path, tmp_path: Path) -> None:
    export(str(model), str(tmp_path / "out.safetensors"))
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        assert file.metadata()["module"] == "Diff2Lip"
        assert file.metadata()["steps"] == "0"


def test_convert_on_the_command_line(published: Path) -> None:
    command = [sys.executable, "-m", "lipsync", "convert", str(published), "--crop_rule", "tight"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str(published.with_suffix(".safetensors"))
    assert isinstance(load(published.with_suffix(".safetensors")), Diff2Lip)
    published.write_text("<html>")
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr == f"lipsync: {published}: not a checkpoint (a web page: download the file itself)\n"


def test_fingerprints_tell_weights_apart() -> None:
    layer = nn.Linear(2, 2)
    before = fingerprint(layer)
    assert before == fingerprint(layer)
    with torch.no_grad():
        layer.bias[0] += 1e-6
    assert fingerprint(layer) != before
