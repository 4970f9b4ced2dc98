"""One process against two: windows that each trains in a second, and the time that waiting for the others takes.

    python -m tests.benchmarks.processes FOLDER [--rounds 3] [--steps 60] [-- LIGHTNING ARGUMENTS]

`experiments/base.yaml` without what is not training, a thread and the same windows for every process, reading included.
Both run in turn; the first 20 steps do not count.
"""

import argparse
import csv
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import torch

from tests.benchmarks.machine import in_words, table

ROOT = Path(__file__).resolve().parents[2]
EVERY = 10  # steps between two entries of the log
WARM = 20
CALLBACKS = f"""
trainer:
  callbacks:
    - class_path: lipsync.callbacks.Throughput
      init_args: {{every: {EVERY}}}
"""


def windows_a_second(folder: Path, corpus: Path, processes: int, steps: int, others: list[str]) -> float:
    """Trains, and returns the median over the run's last stretches, of all processes together."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    (folder / "callbacks.yaml").write_text(CALLBACKS)
    command = [str(Path(sys.executable).with_name("lightning")), "fit"]
    command += [f"--config={path}" for path in (ROOT / "experiments" / "base.yaml", folder / "callbacks.yaml")]
    command += ["--test_after_fit=false", f"--data.root={corpus}", "--data.speakers=8", "--data.clips=2"]
    command += ["--data.workers=0", f"--trainer.devices={processes}", "--trainer.accelerator=cpu"]
    command += [f"--trainer.max_steps={steps}", "--trainer.val_check_interval=1000000", "--model.gradients_every=0"]
    command += [f"--trainer.log_every_n_steps={EVERY}", f"--trainer.default_root_dir={folder / 'run'}"]
    command += ["--trainer.strategy=ddp"] * (processes > 1)
    quiet = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    subprocess.run([*command, *others], env=quiet, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    with (folder / "run" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("throughput/windows")]
    return statistics.median(float(row["throughput/windows"]) for row in rows if int(row["step"]) >= WARM)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("others", nargs="*")
    arguments = parser.parse_args()
    corpus = arguments.folder / "synthetic"  # which the first run writes
    arguments.folder.mkdir(parents=True, exist_ok=True)
    found: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(arguments.rounds):
        for processes, rates in found.items():
            rates.append(
                windows_a_second(arguments.folder, corpus, processes, arguments.steps, arguments.others) / processes
            )
    one = statistics.median(found[1])
    rows = [
        [processes, f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})",
         f"{statistics.median(rates) / one:.2f}"]
        for processes, rates in found.items()
    ]  # fmt: skip
    print(f"{in_words(torch.device('cpu'))}, of which each process has one\n")
    print(table(["processes", "windows a second and process, median (least to most)", "of one process"], rows))


if __name__ == "__main__":
    main()
