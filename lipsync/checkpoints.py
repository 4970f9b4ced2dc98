"""Checkpoints in and out: ours as Lightning wrote them, and safetensors that carry their own configuration."""

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors
import torch
from safetensors.torch import load_file, save_file

from lipsync.errors import LipsyncError
from lipsync.files import whole

if TYPE_CHECKING:
    from lightning import LightningModule

    from lipsync.diff2lip import Diff2Lip
    from lipsync.networks.syncnet import SyncNet


def read(path: str | Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Reads a checkpoint of this project: its state_dict (EMA weights) and its module's constructor arguments.

    Raises:
        LipsyncError: No such file, or a file that is not a checkpoint of this project.
    """
    path = Path(path)
    if not path.is_file():
        raise LipsyncError(f"{path}: no such checkpoint")
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, "pt") as file:
                arguments = json.loads(file.metadata()["hyper_parameters"])
            return load_file(path), arguments
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        return checkpoint["state_dict"], checkpoint["hyper_parameters"]
    except Exception as error:  # torch, zipfile, pickle and safetensors each have their own
        reason = f"{type(error).__name__} {error}".splitlines()[0][:120]
        raise LipsyncError(f"{path}: not a checkpoint of this project ({reason})") from error


def build(module: "type[LightningModule]", path: str | Path) -> "LightningModule":
    """Builds a module from a checkpoint file with its weights in, ready to use on the CPU.

    Raises:
        LipsyncError: As `read`, or a checkpoint of another module.
    """
    state, arguments = read(path)
    arguments = {key: value for key, value in arguments.items() if not key.startswith("_")}
    try:
        built = module(**arguments)
        built.load_state_dict(state)
    except (TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise LipsyncError(f"{path}: not a checkpoint of {module.__name__} ({reason[:120]})") from error
    return built.eval().requires_grad_(False)


def load(path: str | Path, device: str | torch.device = "cpu") -> "Diff2Lip":
    """Loads a Diff2Lip checkpoint, `.ckpt` or `.safetensors`, with its EMA weights; raises LipsyncError as `build`."""
    from lipsync.diff2lip import Diff2Lip

    return build(Diff2Lip, path).to(device)


def load_expert(name: str) -> "SyncNet":
    """Loads a SyncNet by the name of a shipped expert ("synthetic") or by the path of a SyncExpert checkpoint."""
    from lipsync.expert import SyncExpert

    shipped = resources.files("lipsync.weights") / f"expert_{name}.safetensors"
    if shipped.is_file():
        with resources.as_file(shipped) as path:
            return build(SyncExpert, path).syncnet
    return build(SyncExpert, name).syncnet


def export(checkpoint: str, out: str) -> None:
    """Writes a checkpoint's EMA weights and configuration as safetensors, half the size and safe to share.

    Args:
        checkpoint: A `.ckpt` that `lightning fit` wrote.
        out: The `.safetensors` to write.
    """
    state, arguments = read(checkpoint)
    if not out.endswith(".safetensors"):
        raise LipsyncError(f"{out}: the name of an export ends in .safetensors")
    if not Path(out).parent.is_dir():
        raise LipsyncError(f"{out}: there is no folder {Path(out).parent}")
    with whole(out) as beside:
        save_file({k: v.contiguous() for k, v in state.items()}, beside, {"hyper_parameters": json.dumps(arguments)})
    print(out)
