"""Checkpoints in: ours, other people's (`originals`), and safetensors that carry their own configuration."""

import hashlib
import json
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lipsync import originals
from lipsync.errors import LipsyncError

if TYPE_CHECKING:
    from lightning import LightningModule

    from lipsync.diff2lip import Diff2Lip
    from lipsync.expert import SyncExpert
    from lipsync.networks.syncnet_v2 import SyncNetV2

DISCRIMINATOR = "discriminator."
SHOWN = 4  # differences named in an error
# How torch words its refusal of a pickle that asks for more than tensors.
REFUSAL = re.compile(r"unsupported (global|class|operand)[^,]{,60}", re.IGNORECASE)


class SafeLoading:
    """Gives a LightningModule's `load_from_checkpoint` the default that runs no code of the file's."""

    @classmethod
    def load_from_checkpoint(
        cls, checkpoint_path: str | Path, *arguments: Any, weights_only: bool = True, **others: Any
    ) -> "LightningModule":
        return super().load_from_checkpoint(checkpoint_path, *arguments, weights_only=weights_only, **others)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Raises LipsyncError, before torch would at length, if a run's checkpoint is of another network.

        The discriminator may differ, or be absent, where nothing is trained.
        """
        if self._trainer is not None and self._trainer.state.fn != "fit":
            others = part(checkpoint["state_dict"], DISCRIMINATOR, False)
            checkpoint["state_dict"] = others | part(self.state_dict(), DISCRIMINATOR)
        if differing := originals.differences(checkpoint["state_dict"], self.state_dict()):
            raise LipsyncError(
                f"the checkpoint is of another {type(self).__name__} than the one configured ({shown(differing)}): "
                "give the --config files of its run"
            )


class Checkpoint(NamedTuple):
    """What a file holds.

    Attributes:
        kind: Class that takes it: Diff2Lip, SyncExpert or SyncNetV2.
        state: Its state_dict, EMA weights where there are any.
        arguments: Its constructor's arguments.
        origin: "run" (a `.ckpt` that can be resumed), "export" (safetensors of ours) or "published" (somebody else's).
        steps: Optimizer steps behind it, where the file says.
    """

    kind: str
    state: dict[str, Tensor]
    arguments: dict
    origin: str
    steps: int | None = None


def read(path: str | Path) -> Checkpoint:
    """Reads a checkpoint of this project, or a published one of Diff2Lip, Wav2Lip's SyncNet or SyncNet-v2.

    Nothing in the file is run: a pickle that asks for more than tensors is refused.

    Raises:
        LipsyncError: No such file, or a file that holds no weights of a network known here.
    """
    path = Path(path)
    if not path.is_file():
        raise LipsyncError(f"{path}: no such checkpoint")
    try:
        content, metadata = _open(path)
    except OSError as error:
        raise LipsyncError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # torch, zipfile, pickle and safetensors each have their own
        raise LipsyncError(f"{path}: not a checkpoint ({_reason(path, error)})") from error
    try:
        if "hyper_parameters" in metadata:
            arguments = json.loads(metadata["hyper_parameters"])
            return _ours(content, arguments, "export", int(metadata["steps"]) if "steps" in metadata else None)
        if isinstance(content, dict) and "hyper_parameters" in content:
            return _ours(content["state_dict"], content["hyper_parameters"], "run", content.get("global_step"))
        kind, state, arguments = originals.recognise(content)
    except LipsyncError as error:
        raise LipsyncError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LipsyncError(f"{path}: not a checkpoint of this project ({type(error).__name__} {error})") from error
    return Checkpoint(kind, state, arguments, "published")


def resumable(path: str | Path) -> bool:
    """Whether a file is a Lightning checkpoint, of whatever module, from which a run can go on.

    Raises:
        LipsyncError: As `read`, for a file that is none and holds no weights known here either.
    """
    path = Path(path)
    if path.is_dir() or (path.is_file() and _is_lightning(path)):  # sharded strategies write folders
        return True
    read(path)
    return False


def load(path: str | Path, device: str | torch.device = "cpu") -> nn.Module:
    """Loads a checkpoint, ours or a published one, as the module it belongs to: Diff2Lip, SyncExpert or SyncNetV2.

    Args:
        path: `.ckpt`, `.safetensors`, `.pt`, `.pth`, `.model`: what counts is what is inside.
        device: Where to put it.

    Returns:
        The module with its EMA weights, in eval mode, without gradients.

    Raises:
        LipsyncError: As `read`, or keys and shapes that do not fit; it lists what differs.
    """
    return build(read(path), path).to(device)


def build(checkpoint: Checkpoint, path: str | Path) -> nn.Module:
    """Builds the module that a checkpoint describes, with its weights in; `path` names it in errors."""
    try:
        module = classes()[checkpoint.kind](**checkpoint.arguments)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise LipsyncError(f"{path}: not a checkpoint of {checkpoint.kind} ({error})") from error
    except LipsyncError as error:
        hint = "; say what its shapes do not tell with `lipsync convert`" * (checkpoint.origin == "published")
        raise LipsyncError(f"{path}: {error}{hint}") from error
    fill(module, checkpoint, path)
    return module.eval().requires_grad_(False)


def fill(module: nn.Module, checkpoint: Checkpoint, path: str | Path) -> None:
    """Puts a checkpoint's weights into a module.

    Raises:
        LipsyncError: Keys or shapes differ; it lists them.
    """
    state, wanted = checkpoint.state, module.state_dict()
    if originals.differences(*(part(tensors, DISCRIMINATOR) for tensors in (state, wanted))):
        # It serves training only: published files and exports have none, and a new one may be of another size.
        state, wanted = (part(tensors, DISCRIMINATOR, False) for tensors in (state, wanted))
    if differing := originals.differences(state, wanted):
        raise LipsyncError(f"{path}: does not fit {type(module).__name__} as configured: {shown(differing)}")
    module.load_state_dict(state, strict=False)  # strict but for BatchNorm's counts, as compared above


def fingerprint(module: nn.Module) -> str:
    """Names a module by its weights, whatever file they came in: others have another."""
    weights = hashlib.sha256()
    for tensor in module.state_dict().values():
        weights.update(tensor.cpu().flatten().view(torch.uint8).numpy())
    return weights.hexdigest()[:16]


def shown(differing: list[str]) -> str:
    """Lists the first differences, and how many more there are."""
    return "; ".join(differing[:SHOWN]) + (f"; and {len(differing) - SHOWN} more" * (len(differing) > SHOWN))


def part(state: dict[str, Tensor], prefix: str, within: bool = True) -> dict[str, Tensor]:
    """Returns the entries of a state_dict whose keys begin so, or the others."""
    return {key: tensor for key, tensor in state.items() if key.startswith(prefix) == within}


def take_weights(module: "LightningModule", path: str | Path) -> None:
    """Puts a checkpoint's weights into a module that a config described.

    Raises:
        LipsyncError: As `fill`; a checkpoint of another module, or one that predicts or crops otherwise.
    """
    checkpoint = read(path)
    if checkpoint.kind != type(module).__name__:
        raise LipsyncError(f"{path}: holds a {checkpoint.kind}, not a {type(module).__name__}")
    for name in ("prediction", "crop_rule"):
        theirs = checkpoint.arguments.get(name)
        if name in module.hparams and theirs not in (None, module.hparams[name]):
            raise LipsyncError(f"{path}: its {name} is {theirs}, not {module.hparams[name]}: set model.{name}")
    fill(module, checkpoint, path)


def load_diff2lip(path: str | Path, device: str | torch.device = "cpu") -> "Diff2Lip":
    """Loads a checkpoint that must be of Diff2Lip, as `load` does."""
    return _of_kind("Diff2Lip", path).to(device)


def load_expert(name: str) -> "SyncExpert":
    """Loads an expert by the name of a shipped one ("synthetic") or by the path of a checkpoint, as `load` does."""
    shipped = resources.files("lipsync.weights") / f"expert_{name}.safetensors"
    if shipped.is_file():
        with resources.as_file(shipped) as path:
            return _of_kind("SyncExpert", path)
    return _of_kind("SyncExpert", name)


def load_judge(name: str) -> "SyncExpert | SyncNetV2":
    """Loads who is to judge sync: an expert, as `load_expert`, or SyncNet-v2 by the path of its published weights."""
    if not Path(name).is_file():
        return load_expert(name)
    checkpoint = read(name)
    if checkpoint.kind == "Diff2Lip":
        raise LipsyncError(f"{name}: holds a Diff2Lip, not a SyncNet")
    return build(checkpoint, name)


def classes() -> dict[str, type[nn.Module]]:
    """The modules a checkpoint may be of, by name."""
    from lipsync.diff2lip import Diff2Lip
    from lipsync.expert import SyncExpert
    from lipsync.networks.syncnet_v2 import SyncNetV2

    return {module.__name__: module for module in (Diff2Lip, SyncExpert, SyncNetV2)}


def _open(path: Path) -> tuple[object, dict[str, str]]:
    """The content of a file, and the metadata of a safetensors one; what it is, its first bytes say."""
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:9] == b"{":
        with safetensors.safe_open(path, "pt") as file:
            return load_file(path), file.metadata() or {}
    return torch.load(path, map_location="cpu", weights_only=True), {}


def _is_lightning(path: Path) -> bool:
    try:
        content, _ = _open(path)
    except Exception:
        return False
    return isinstance(content, dict) and "pytorch-lightning_version" in content


def _reason(path: Path, error: Exception) -> str:
    """Says in a few words why a file cannot be read."""
    with path.open("rb") as file:
        head = file.read(512).lstrip().lower()
    if not head:
        return "the file is empty"
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page: download the file itself"
    # torch wraps what it has to say in advice.
    text = " ".join(str(error).split()).split("from a trusted source.")[-1].split("Check the documentation")[0].strip()
    if refusal := REFUSAL.search(text):
        return f"it wants to run code on loading, which is refused: {refusal[0]}"
    if head.startswith(b"pk"):
        return f"truncated or damaged: {text[:80]}"
    return f"{type(error).__name__} {text[:80]}"


def _ours(state: object, arguments: dict, origin: str, steps: int | None) -> Checkpoint:
    kinds = {"unet.": "Diff2Lip", "syncnet.": "SyncExpert", "netcnnlip.": "SyncNetV2"}
    kind = next((kind for prefix, kind in kinds.items() if any(key.startswith(prefix) for key in state)), None)
    if kind is None:
        raise LipsyncError("not a checkpoint of this project (it holds none of its networks)")
    arguments = {key: value for key, value in arguments.items() if not key.startswith("_")}
    return Checkpoint(kind, dict(state), arguments, origin, steps)


def _of_kind(kind: str, path: str | Path) -> nn.Module:
    checkpoint = read(path)
    if checkpoint.kind != kind:
        raise LipsyncError(f"{path}: holds a {checkpoint.kind}, not a {kind}")
    return build(checkpoint, path)
