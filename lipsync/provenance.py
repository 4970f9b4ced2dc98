"""Where a run's figures come from: provenance.json of its folder, an entry for every time it was started."""

import hashlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import numpy as np
import torch

from lipsync.corpora.records import MANIFEST
from lipsync.files import whole

PROVENANCE = "provenance.json"
PACKAGE = Path(__file__).parent


def record(folder: Path, corpus: Path | None, seed: int | None) -> None:
    """Adds an entry to a run's provenance.json.

    Args:
        folder: The run's.
        corpus: That of its data, if they are a corpus on disk.
        seed: The run's.
    """
    entry = {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "directory": os.getcwd(),
        "seed": seed,
        "git": git_state(PACKAGE),
        "corpus": None if corpus is None else corpus_state(corpus),
        "machine": machine(),
        "python": platform.python_version(),
        "packages": packages(),
    }
    path = folder / PROVENANCE
    folder.mkdir(parents=True, exist_ok=True)
    with whole(path) as beside:
        beside.write_text(json.dumps([*entries(folder), entry], indent=1) + "\n", encoding="utf-8")


def entries(folder: Path) -> list[dict]:
    """Reads a run's provenance.json, oldest entry first; there are none of a run that has no such file."""
    path = folder / PROVENANCE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def git_state(package: Path) -> dict[str, str | bool] | None:
    """The commit of the code, whether it was changed since, and by what (a hash); None where it is in no repository."""
    commit = git(package, "rev-parse", "HEAD")
    # Installed into an environment that itself lies in somebody's repository, it is not of that repository.
    if commit is None or git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    changes = git(package, "diff", "HEAD", "--", ".") or b""
    added = git(package, "ls-files", "--others", "--exclude-standard", "-z") or b""
    for name in sorted(filter(None, added.split(b"\0"))):
        changes += name + (package / os.fsdecode(name)).read_bytes()
    state: dict[str, str | bool] = {"commit": commit.decode().strip(), "dirty": bool(changes)}
    return state | ({"diff": hashlib.sha256(changes).hexdigest()[:16]} if changes else {})


def git(folder: Path, *words: str) -> bytes | None:
    """What a git command prints; None where it fails, or where there is no git."""
    try:
        told = subprocess.run(["git", "--no-optional-locks", *words], cwd=folder, capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout if told.returncode == 0 else None


def corpus_state(root: Path) -> dict[str, str]:
    """A corpus by the hash of its manifest: another clip or measurement gives another."""
    manifest = hashlib.sha256(np.memmap(root / MANIFEST, mode="r"))
    return {"root": str(root), "manifest": manifest.hexdigest()[:16]}


def machine() -> str:
    """The machine in words."""
    count = torch.cuda.device_count()
    gpus = f"{count} {torch.cuda.get_device_name()}" if count else "no GPU"
    return f"{os.cpu_count()} CPU cores ({platform.machine()}, {platform.system()}), {gpus}"


def packages() -> dict[str, str]:
    """The versions of this package and of what it needs."""
    needed = [re.match(r"[\w.-]+", line)[0] for line in requires("lipsync") or [] if "extra ==" not in line]
    found = {}
    for name in ["lipsync", *needed]:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # for another platform
            continue
    return found
