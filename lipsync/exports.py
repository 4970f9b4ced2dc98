"""Checkpoints out: safetensors with a model card, and the layout that the original's code loads."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from lipsync import originals
from lipsync.checkpoints import DISCRIMINATOR, Checkpoint, build, part, read
from lipsync.errors import LipsyncError
from lipsync.files import whole


def convert(path: str, out: str | None = None, crop_rule: str | None = None, head_channels: int | None = None) -> None:
    """Writes anybody's checkpoint as a safetensors file of this project, every key and shape verified.

    Args:
        path: A published Diff2Lip `.pt`, Wav2Lip's `lipsync_expert.pth`, `syncnet_v2.model`, or a checkpoint of ours.
        out: The `.safetensors` to write; without, PATH with that ending.
        crop_rule: How faces were cut out for a Diff2Lip: `tight` unless told otherwise.
        head_channels: Channels of an attention head, which shapes do not tell: 64 unless told otherwise.
    """
    checkpoint = read(path)
    told = {"crop_rule": crop_rule, "head_channels": head_channels}
    if checkpoint.kind != "Diff2Lip" and (unfit := [name for name, value in told.items() if value is not None]):
        raise LipsyncError(f"{path}: holds a {checkpoint.kind}, which has no {' and no '.join(unfit)}")
    arguments = dict(checkpoint.arguments)
    if crop_rule is not None:
        arguments["crop_rule"] = crop_rule
    if head_channels is not None:
        arguments["unet"] = arguments["unet"] | {"head_channels": head_channels}
    checkpoint = checkpoint._replace(arguments=arguments)
    build(checkpoint, path)
    out = out or str(Path(path).with_suffix(".safetensors"))
    if Path(out).exists() and Path(out).samefile(path):
        raise LipsyncError(f"{path}: would be overwritten: name another file with --out")
    write(checkpoint, out)


def export(checkpoint: str, out: str) -> None:
    """Writes a checkpoint's EMA weights and configuration, half the size and safe to share, with a model card.

    Args:
        checkpoint: A `.ckpt` that `lightning fit` wrote, or any other that `lipsync.load` reads.
        out: The `.safetensors` to write; or, in the layout that the original's code loads, `.pt`.
    """
    found = read(checkpoint)
    found = found._replace(state=part(found.state, DISCRIMINATOR, False))  # it serves training only
    build(found, checkpoint)
    if Path(out).suffix == ".pt":
        write_original(found, out)
    else:
        write(found, out)


def write(checkpoint: Checkpoint, out: str) -> None:
    """Writes a checkpoint as safetensors that `load` reads, and its model card beside it as `.md`."""
    _check_place(out, ".safetensors")
    # Paths of the machine that trained it are nobody else's business; names of shipped experts stay.
    private = {"init_from": None, "lpips_weights": None}
    if Path(checkpoint.arguments.get("expert") or "").suffix:
        private["expert"] = None
    arguments = {key: private.get(key, value) for key, value in checkpoint.arguments.items()}
    checkpoint = checkpoint._replace(arguments=arguments)
    metadata = {"hyper_parameters": json.dumps(checkpoint.arguments), "module": checkpoint.kind}
    if checkpoint.steps is not None:
        metadata["steps"] = str(checkpoint.steps)
    with whole(out) as beside:
        save_file({key: value.contiguous() for key, value in checkpoint.state.items()}, beside, metadata)
        beside.chmod(0o644)  # safetensors makes it the writer's alone
    text = Path(out).with_suffix(".md")
    # A card that somebody wrote by hand, or another text, stays.
    if not text.exists() or text.read_text(encoding="utf-8").startswith(f"# {Path(out).name}\n"):
        with whole(text) as beside:
            beside.write_text(card(checkpoint, Path(out).name), encoding="utf-8")
    print(out)


def write_original(checkpoint: Checkpoint, out: str) -> None:
    """Writes a checkpoint as the original's code saves it: a bare state_dict under the original's keys."""
    _check_place(out, ".pt")
    if problems := originals.obstacles(checkpoint.kind, checkpoint.arguments):
        raise LipsyncError(f"{out}: the original's code cannot run this network: {'; '.join(problems)}")
    prefix = {"Diff2Lip": "unet.", "SyncExpert": "syncnet.", "SyncNetV2": ""}[checkpoint.kind]
    state = {key.removeprefix(prefix): value for key, value in checkpoint.state.items()}
    with whole(out) as beside:
        torch.save({"state_dict": state} if checkpoint.kind == "SyncExpert" else state, beside)
    print(out)


def card(checkpoint: Checkpoint, name: str) -> str:
    """Composes the model card: what it is, how it was made, how to use it, what it must not be used for."""
    parameters = sum(value.numel() for value in checkpoint.state.values() if value.is_floating_point())
    use = {
        "Diff2Lip": f"lipsync dub talk.mp4 speech.wav dubbed.mp4 --checkpoint {name}",
        "SyncExpert": f"lightning fit --config experiments/base.yaml --model.expert={name}",
        "SyncNetV2": f"python -c \"import lipsync; judge = lipsync.load('{name}')\"",
    }[checkpoint.kind]
    published = checkpoint.origin == "published"
    origin = "converted from a published checkpoint, whose terms apply" if published else "trained with lipsync"
    trained = "" if checkpoint.steps is None else f", {checkpoint.steps} steps"
    return (
        f"# {name}\n\n{checkpoint.kind}, {parameters:,} parameters; {origin}{trained}.\n\n"
        f"```json\n{json.dumps(checkpoint.arguments, indent=2)}\n```\n\n## Use\n\n```bash\n{use}\n```\n\n"
        "## Limits\n\nA face that is made to speak must belong to somebody who agreed to it, and what is shown must be "
        "called synthetic.\n"
    )


def _check_place(out: str, suffix: str) -> None:
    if Path(out).suffix != suffix:
        raise LipsyncError(f"{out}: the name must end in {suffix}")
    if not Path(out).parent.is_dir():
        raise LipsyncError(f"{out}: there is no folder {Path(out).parent}")
