"""A tiny run with all five terms, workers, EMA and ramps, by the command a user types, each in processes of its own."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from lipsync.corpora.puppet.write import write_corpus

ROOT = Path(__file__).resolve().parents[1]
RECIPE = {"speakers": 4, "clips": 2, "seconds": 1.6, "size": 64}
COMMAND = [
    str(Path(sys.executable).with_name("lightning")),
    "fit",
    "--config",
    str(ROOT / "experiments" / "base.yaml"),
    "--test_after_fit=false",
    "--model.size=32",
    "--model.unet.channels=8",
    "--model.unet.groups=4",
    "--model.unet.head_channels=8",
    "--model.unet.audio_channels=[8,8]",
    "--model.unet.dropout=0.1",
    "--model.discriminator.channels=4",
    "--model.discriminator.layers=2",
    "--model.discriminator.augment=0.1",
    "--model.loss_weights.gan=0.05",
    "--model.schedule={sync: [0, 6], mesh: [3, 6], gan: [4, 6]}",
    "--model.whole_every=3",
    "--model.warmup=3",
    "--model.decay=0",
    "--data.speakers=4",
    "--data.clips=2",
    "--data.seconds=1.6",
    "--data.track_size=64",
    "--data.val_windows=4",
    "--data.pair_frames=30",
    "--trainer.accelerator=cpu",
    "--trainer.val_check_interval=1000",
    "--trainer.log_every_n_steps=1",
]
# A checkpoint every other step, and no pictures.
CALLBACKS = """
trainer:
  callbacks:
    - {class_path: lipsync.callbacks.EMA, init_args: {decay: 0.9}}
    - {class_path: lipsync.safekeeping.NonFinite}
    - {class_path: lipsync.safekeeping.LastCheckpoint, init_args: {every: 2}}
    - {class_path: lipsync.callbacks.MetricsFile}
    - {class_path: lightning.pytorch.callbacks.LearningRateMonitor}
"""


def written(folder: Path) -> Path:
    """Writes the corpus that all such runs share, and returns its root."""
    write_corpus(folder / "synthetic", **RECIPE, seed=0)
    return folder / "synthetic"


def start(folder: Path, corpus: Path, *arguments: str) -> subprocess.Popen:
    """Starts `lightning fit` in a folder, in a process group of its own."""
    (folder / "callbacks.yaml").write_text(CALLBACKS)
    command = [*COMMAND, "--config=callbacks.yaml", f"--data.root={corpus}", *arguments]
    # A wandb service of pytest's own process would outlive a killed run, and hold its id.
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    with (folder / "log.txt").open("a") as log:
        return subprocess.Popen(command, cwd=folder, env=own, stdout=log, stderr=log, start_new_session=True)


def fit(folder: Path, corpus: Path, *arguments: str, patience: float = 300) -> None:
    """Runs `lightning fit` to its end, or for `patience` seconds."""
    folder.mkdir(exist_ok=True)
    process = start(folder, corpus, *arguments)
    try:
        status = process.wait(patience)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert status == 0, (folder / "log.txt").read_text()[-3000:]


def checkpoint(folder: Path) -> dict:
    return torch.load(folder / "runs" / "base" / "checkpoints" / "last.ckpt", weights_only=True)


def weights(folder: Path) -> dict[str, Tensor]:
    """All that training moves: averaged weights, raw ones, and Adam's state."""
    content = checkpoint(folder)
    flat = {f"average {name}": x for name, x in content["state_dict"].items()}
    flat |= {f"raw {name}": x for name, x in content["raw_weights"].items()}
    for number, state in content["optimizer_states"][0]["state"].items():
        flat |= {f"adam {number} {name}": x for name, x in state.items()}
    return flat


def losses(folder: Path) -> dict[int, str]:
    """The loss of every step, as it was written last: a resumed run repeats what its checkpoint did not hold."""
    found = {}
    tables = sorted((folder / "runs" / "base").glob("metrics*.csv"), key=lambda path: path.stat().st_mtime)
    for table in tables:
        with table.open() as file:
            found |= {int(row["step"]): row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]}
    return found
