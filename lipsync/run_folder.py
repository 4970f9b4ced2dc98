"""Where a run leaves its files: runs/NAME, unique unless resumed, and how `last` finds it again."""

import os
import re
from collections.abc import Iterator
from itertools import count, takewhile
from pathlib import Path

from jsonargparse import Namespace

from lipsync.errors import LipsyncError
from lipsync.evaluation.clips import is_unfinished

RUN = "LIPSYNC_RUN"


def newest(wanted: Path) -> Path:
    """Finds the last checkpoint of the newest run of this name, numbered or not."""
    found = [path for path in wanted.parent.glob(f"{wanted.name}*/checkpoints/last.ckpt") if is_run(path, wanted.name)]
    if not found:
        raise LipsyncError(f"--ckpt_path last: no run in {wanted} has a checkpoint")
    return max(found, key=lambda path: path.stat().st_mtime)


def is_run(checkpoint: Path, name: str) -> bool:
    """Whether a checkpoint's run is NAME or NAME-2, NAME-3, ..."""
    return re.fullmatch(re.escape(name) + r"(-\d+)?", checkpoint.parent.parent.name) is not None


def run_folder(wanted: Path, checkpoint: str | None, subcommand: str, evaluating: bool = False) -> Path:
    """Chooses the folder: a resumed run's own, one named for the subcommand inside it, or `wanted`, numbered if taken.

    An evaluation goes on in its last folder if that is unfinished. Every process of a run sees the first one's choice
    through the environment.
    """
    if RUN in os.environ:
        return Path(os.environ[RUN])
    inside = checkpoint is not None and Path(checkpoint).parent.name == "checkpoints"
    folder = Path(checkpoint).parent.parent if inside else wanted
    if subcommand != "fit":
        folder = going_on(folder / subcommand) if evaluating else free(folder / subcommand)
    elif checkpoint is None:
        folder = free(wanted)
    os.environ[RUN] = str(folder)
    return folder


def numbered(folder: Path) -> Iterator[Path]:
    """Yields the folder, it-2, it-3, ...; under a sweep, whose trials begin at once, of a name with wandb's run id."""
    if "WANDB_SWEEP_ID" in os.environ:
        folder = folder.with_name(f"{folder.name}-{os.environ['WANDB_RUN_ID']}")
    return (folder.with_name(folder.name + f"-{n}" * (n > 1)) for n in count(1))


def free(folder: Path) -> Path:
    """Returns the first of these that does not exist yet."""
    return next(path for path in numbered(folder) if not path.exists())


def going_on(folder: Path) -> Path:
    """Returns the last of these that exists, if its evaluation is unfinished, else a free one."""
    taken = list(takewhile(Path.exists, numbered(folder)))
    return taken[-1] if taken and is_unfinished(taken[-1]) else free(folder)


def relocate(node: Namespace | list, old: str, new: str) -> None:
    """Replaces, in place, the folder `old` by `new` at the head of every string of a config."""
    for key, value in list(node.items() if isinstance(node, Namespace) else enumerate(node)):
        if isinstance(value, str) and (value == old or value.startswith(f"{old}/")):
            node[key] = new + value[len(old) :]
        elif isinstance(value, Namespace | list):
            relocate(value, old, new)
