"""One process against two: windows that each trains in a second, and the time that waiting for the others takes.

    python -m tests.benchmarks.processes FOLDER [--rounds 3] [--steps 60] [-- LIGHTNING ARGUMENTS]

`experiments/base.yaml` without what is not training, a thread and the same windows for every process, reading included.
All run in turn; the first 20 steps do not count. Two runs at once that know nothing of each other tell what the machine
itself loses, by memory and caches that both share; what two processes lose beyond that, talking costs.
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


def command(folder: Path, corpus: Path, processes: int, steps: int, others: list[str]) -> list[str]:
    """Trains into a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "callbacks.yaml").write_text(CALLBACKS)
    line = [str(Path(sys.executable).with_name("lightning")), "fit"]
    line += [f"--config={path}" for path in (ROOT / "experiments" / "base.yaml", folder / "callbacks.yaml")]
    line += ["--test_after_fit=false", f"--data.root={corpus}", "--data.speakers=8", "--data.clips=2"]
    line += ["--data.workers=0", f"--trainer.devices={processes}", "--trainer.accelerator=cpu"]
    line += [f"--trainer.max_steps={steps}", "--trainer.val_check_interval=1000000", "--model.gradients_every=0"]
    line += [f"--trainer.log_every_n_steps={EVERY}", f"--trainer.default_root_dir={folder / 'run'}"]
    return [*line, *["--trainer.strategy=ddp"] * (processes > 1), *others]


def windows_a_second(folder: Path, corpus: Path, processes: int, at_once: int, steps: int, others: list[str]) -> float:
    """Trains, and returns the median over the runs' last stretches, of each process."""
    quiet = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    folders = [folder / f"run_{number}" for number in range(at_once)]
    lines = [command(path, corpus, processes, steps, others) for path in folders]
    logs = [(path / "log.txt").open("w") for path in folders]
    running = [subprocess.Popen(line, env=quiet, stdout=log, stderr=log) for line, log in zip(lines, logs, strict=True)]
    ended = [run.wait() for run in running]
    if any(ended):
        raise SystemExit(f"a run has failed: see {', '.join(log.name for log in logs)}")
    rates = []
    for path in folders:
        with (path / "run" / "metrics.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row.get("throughput/windows")]
        rates += [float(row["throughput/windows"]) / processes for row in rows if int(row["step"]) >= WARM]
    return statistics.median(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("others", nargs="*")
    arguments = parser.parse_args()
    corpus = arguments.folder / "synthetic"  # which the first run writes
    arguments.folder.mkdir(parents=True, exist_ok=True)
    ways = {"one": (1, 1), "two": (2, 1), "one, twice at once": (1, 2)}  # processes of a run, runs
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, how in ways.items():
            found[name].append(windows_a_second(arguments.folder, corpus, *how, arguments.steps, arguments.others))
    one = statistics.median(found["one"])
    rows = [
        [name, f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})",
         f"{statistics.median(rates) / one:.2f}"]
        for name, rates in found.items()
    ]  # fmt: skip
    print(f"{in_words(torch.device('cpu'))}, of which each process has one\n")
    print(table(["processes", "windows a second and process, median (least to most)", "of one process"], rows))


if __name__ == "__main__":
    main()
