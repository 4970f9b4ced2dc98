"""`lipsync runs`: what was run, what came out, and the command that makes it again."""

import csv
import json
import math
import shlex
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lipsync.errors import LipsyncError
from lipsync.evaluation.compare import labels
from lipsync.evaluation.measures import in_order
from lipsync.evaluation.table import decimals, read_tables
from lipsync.provenance import entries

CONFIG = "config.yaml"
# Of training and its closing test, in the order of the table, with 1 where higher is better.
TRAINED = {
    "val/sync": 1,
    "val/accuracy": 1,
    "val/loss": -1,
    "opening_correlation": 1,
    "psnr_painted": 1,
    "accuracy": 1,
    "offset_recall": 1,
}
EVALUATED = ("lse_d_0", "opening_r", "lmd", "psnr_mouth")  # of the row a table shows
SHOWN = ("cross", "reconstruction", "own")  # which that is: the first that an evaluation has


class Figure(NamedTuple):
    """A number, after how many steps it was so (None: at the end), and the file it stands in."""

    value: float
    step: int | None
    source: Path


class Run(NamedTuple):
    """A run: its folder, the steps it has done of those asked for, when it was last started, and its figures."""

    folder: Path
    steps: int
    wanted: int | None
    started: datetime
    figures: dict[str, Figure]

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.wanted is not None and self.steps >= self.wanted > 0


def runs(folder: str = "runs", show: str | None = None) -> list[Run]:
    """Lists the runs of a folder with their best figures; with `show`, where one run's figures come from.

    Args:
        folder: Where the runs are.
        show: Name of a run; its figures are listed with the commands that make them again.

    Raises:
        LipsyncError: No runs there, or none of that name.
    """
    found = sorted((read_run(path.parent) for path in Path(folder).glob(f"*/{CONFIG}")), key=lambda run: run.started)
    if not found:
        raise LipsyncError(f"{folder} holds no runs: name the folder of runs (`trainer.default_root_dir` is one run's)")
    console = Console()
    if show is None:
        console.print(table(found))
        return found
    chosen = [run for run in found if run.folder.name == show]
    if not chosen:
        raise LipsyncError(f"{folder} has no run {show}; it has {', '.join(run.folder.name for run in found)}")
    for line in origin(chosen[0]):
        console.print(Text(line), soft_wrap=True)
    return chosen


def read_run(folder: Path) -> Run:
    """Reads what a run has left."""
    figures: dict[str, Figure] = {}
    history, latest = histories(folder), metrics(folder)
    for name, direction in TRAINED.items():
        if name.startswith("val/") and name in history:
            step, value = max(history[name].items(), key=lambda item: direction * item[1])
            figures[name] = Figure(value, step + 1, folder / "metrics.csv")  # loggers count from 0
        elif name in latest:
            figures[name] = Figure(latest[name], None, folder / "metrics.json")
    for results in sorted(folder.glob("test*/results.json"), key=lambda path: path.stat().st_mtime):
        _, summary = read_tables(results.parent)
        row = next((row for row in SHOWN if row in summary), None)
        for name in in_order(summary.get(row, {})):
            figures[f"{row}/{name}"] = Figure(summary[row][name].mean, None, results)
    steps = max([int(latest.get("step", 0)), *(step + 1 for course in history.values() for step in course)])
    wanted = OmegaConf.select(OmegaConf.load(folder / CONFIG), "trainer.max_steps")
    steps = min(steps, wanted) if wanted is not None and wanted > 0 else steps  # the closing test stands after the last
    started = entries(folder)
    when = started[-1]["started"] if started else (folder / CONFIG).stat().st_mtime
    moment = datetime.fromisoformat(when) if started else datetime.fromtimestamp(when).astimezone()
    return Run(folder, steps, wanted, moment, figures)


def metrics(folder: Path) -> dict[str, float]:
    """Reads a run's metrics.json, if there is one."""
    path = folder / "metrics.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def histories(folder: Path) -> dict[str, dict[int, float]]:
    """Reads all metrics of a run over its steps; a step that was done again after an interruption, as it was then."""
    found: dict[str, dict[int, float]] = {}
    # metrics-1.csv, metrics-2.csv, ... were interrupted; metrics.csv is the last.
    tables = sorted(folder.glob("metrics*.csv"), key=lambda path: (path.stem == "metrics", len(path.stem), path.stem))
    for path in tables:
        for name, step, value in cells(path):
            found.setdefault(name, {})[step] = value
    return {name: dict(sorted(course.items())) for name, course in found.items()}


def cells(path: Path) -> Iterator[tuple[str, int, float]]:
    """Yields what stands in a metrics.csv: name, step and finite value; rows that a crash tore are left out."""
    with path.open(encoding="utf-8", newline="", errors="replace") as file:
        for row in csv.DictReader(line.replace("\0", "") for line in file):
            try:
                step = int(row["step"])
                values = {name: float(text) for name, text in row.items() if text and name not in ("step", "epoch")}
            except (KeyError, TypeError, ValueError):
                continue
            yield from ((name, step, value) for name, value in values.items() if math.isfinite(value))


def table(found: list[Run]) -> Table:
    """Lays runs out for a terminal, the newest last; of the figures those that any of them has."""
    names = [name for name in TRAINED if any(name in run.figures for run in found)]
    evaluated = [f"{row}/{name}" for row in SHOWN for name in EVALUATED]
    names += [name for name in evaluated if any(name in run.figures for run in found)]
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for place, head in enumerate(["run", "started", "steps", "state", *names]):
        drawn.add_column(Text(head), justify="left" if place < 2 else "right", overflow="fold")
    places = {name: decimals([run.figures[name].value for run in found if name in run.figures]) for name in names}
    for run in found:
        shown = [f"{run.figures[name].value:.{places[name]}f}" if name in run.figures else "" for name in names]
        state = "finished" if run.finished else "unfinished"
        when = run.started.astimezone().strftime("%Y-%m-%d %H:%M")
        drawn.add_row(*map(Text, (run.folder.name, when, str(run.steps), state, *shown)))
    return drawn


def origin(run: Run) -> list[str]:
    """Says of a run's figures where they stand, which commands made them, and which make them again."""
    of = f" of {run.wanted}" if run.wanted is not None else ""
    lines = [f"{run.folder}: {run.steps}{of} steps, {'finished' if run.finished else 'unfinished'}"]
    for name, figure in run.figures.items():
        at = "" if figure.step is None else f" after {figure.step} steps"
        lines.append(f"  {name} {figure.value:.{decimals([figure.value])}f}{at}, in {figure.source}")
    parts = [run.folder, *sorted(path.parent for path in run.folder.glob(f"*/{CONFIG}"))]
    for label, part in zip(labels([str(part) for part in parts]), parts, strict=True):
        lines += ["", f"{label} was made by"]
        for entry in entries(part):
            lines.append(f"  {entry['command']}")
            lines.append(f"    {entry['started']}, in {entry['directory']}, {code(entry)}, on {entry['machine']}")
            if entry["corpus"]:
                lines.append(f"    corpus {entry['corpus']['root']}, manifest {entry['corpus']['manifest']}")
        lines.append(f"and is made again by\n  {again(part)}")
    return lines


def code(entry: dict) -> str:
    """Names the code that an entry of provenance.json was run with."""
    git = entry["git"]
    if git is None:
        return f"lipsync {entry['packages']['lipsync']}"
    return f"commit {git['commit'][:12]}" + (f" changed by {git['diff']}" if git["dirty"] else "")


def again(folder: Path) -> str:
    """The command that runs a folder's config once more, from its beginning, in a folder of its own."""
    told = entries(folder)
    subcommand = shlex.split(told[-1]["command"])[1] if told else "fit"
    command = ["lightning", subcommand, "--config", str(folder / CONFIG)]
    if subcommand == "fit":
        return shlex.join([*command, "--ckpt_path=null"])
    # Published weights are no checkpoint to Lightning: its config does not name them.
    of_a_run = OmegaConf.select(OmegaConf.load(folder / CONFIG), "ckpt_path") is not None
    return shlex.join(command) if of_a_run else told[-1]["command"]
