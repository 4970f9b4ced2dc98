"""`lipsync compare`: several evaluations side by side, clip by clip."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lipsync.errors import LipsyncError
from lipsync.evaluation.intervals import interval
from lipsync.evaluation.measures import in_order, measure
from lipsync.evaluation.table import Results, Summary, comma_separated, decimals, read_tables
from lipsync.files import whole

EXACT = 12  # differences up to which the test tries all signs
FLIPS, FLIPS_AT_ONCE = 10_000, 100  # random ones, of more
LIKELY = 0.05  # p below which a difference is in bold
NOTES = "notes"  # of single clips, which an evaluation keeps beside its rules
NAMED = 8  # clips that the terminal names; compare.md names all


class Difference(NamedTuple):
    """A run minus the first, mean over clips: 95 % interval, and p of a two-sided paired sign-flip test."""

    mean: float
    low: float
    high: float
    p: float


class Compared(NamedTuple):
    """One metric of one row: each run's mean over the clips that all have, each later run's difference from the first.

    What belongs to a row as a whole (a Frechet distance) is each run's own and has no differences.
    """

    row: str
    metric: str
    clips: int
    means: list[float]
    differences: list[Difference]


class Lonely(NamedTuple):
    """A row, or a clip or metric of a row, that only these runs have, by their `labels`."""

    row: str
    kind: str
    name: str
    runs: tuple[str, ...]


class Comparison(NamedTuple):
    """Runs side by side; `rules` are the entries of the protocol that differ, as each run has them."""

    runs: list[str]
    rows: list[Compared]
    lonely: list[Lonely]
    rules: dict[str, list[str]]
    failed: list[dict[str, str]]


def compare(runs: list[str], out: str | None = None) -> Comparison:
    """Puts the results of two or more runs side by side, with paired tests of each against the first.

    Args:
        runs: folders of runs, of their tests, or that `lipsync evaluate` wrote.
        out: folder for compare.md and compare.csv.

    Raises:
        LipsyncError: fewer than two runs, a folder without results, or no clip that all of them scored.
    """
    if len(runs) < 2:
        raise LipsyncError(f"compare takes two runs or more, not only {', '.join(runs) or 'none'}")
    found = [read_tables(results_folder(Path(run))) for run in runs]
    comparison = side_by_side(runs, found)
    if not any(one.differences for one in comparison.rows):
        raise LipsyncError(f"{', '.join(runs)} have no row with a clip that all of them scored: nothing to compare")
    if out is not None:
        write_comparison(Path(out), comparison)
    console = Console()
    for table in rich_tables(comparison):
        console.print(table, Text())
    for remark in remarks(comparison, NAMED):
        console.print(Text(remark))
    return comparison


def results_folder(run: Path) -> Path:
    """Finds where a run's results are: in itself, or in its newest test."""
    if not run.is_dir():
        raise LipsyncError(f"{run}: no such run")
    if (run / "results.json").is_file():
        return run
    tests = sorted(run.glob("test*/results.json"), key=lambda path: path.stat().st_mtime)
    if not tests:
        raise LipsyncError(f"{run} holds no results.json, nor does a test in it: evaluate it first (`lightning test`)")
    return tests[-1].parent


def side_by_side(runs: list[str], found: list[tuple[Results, Summary]]) -> Comparison:
    """Pairs runs' results by row and clip; what not all of them have is named."""
    compared, lonely, shown = [], [], labels(runs)

    def common(row: str, kind: str, names: list[set[str]]) -> set[str]:
        """What all runs have; the rest is lonely."""
        for name in sorted(set.union(*names)):
            owners = tuple(run for run, each in zip(shown, names, strict=True) if name in each)
            if len(owners) < len(runs):
                lonely.append(Lonely(row, kind, name, owners))
        return set.intersection(*names)

    rows = common("", "row", [set(summary) for _, summary in found])
    for row in (row for row in found[0][1] if row in rows):
        clips = [results.scores.get(row, {}) for results, _ in found]
        shared = sorted(common(row, "clip", [set(each) for each in clips]))
        for metric in in_order(common(row, "metric", [set(summary[row]) for _, summary in found])):
            if any(metric in scores for scores in clips[0].values()):
                paired = [clip for clip in shared if all(metric in each[clip] for each in clips)]
                values = np.array([[each[clip][metric] for clip in paired] for each in clips])
                if paired:
                    means = [math.fsum(each) / len(paired) for each in values]
                    differences = [difference(each - values[0]) for each in values[1:]]
                    compared.append(Compared(row, metric, len(paired), means, differences))
            else:
                own = [summary[row][metric] for _, summary in found]
                compared.append(Compared(row, metric, min(x.clips for x in own), [x.mean for x in own], []))
    abouts = [results.about for results, _ in found]
    rules = {key: [str(about.get(key, "-")) for about in abouts] for about in abouts for key in about if key != NOTES}
    rules = {key: told for key, told in rules.items() if len(set(told)) > 1}
    return Comparison(runs, compared, lonely, rules, [results.failed for results, _ in found])


def difference(values: np.ndarray) -> Difference:
    """Sums up paired differences (n,)."""
    mean, low, high, _ = interval(values.tolist())
    return Difference(mean, low, high, sign_flip(values))


def sign_flip(values: np.ndarray) -> float:
    """How likely a mean at least as far from 0 is if each difference (n,) might as well have had the other sign.

    Exact for few, with all 2^n signs; otherwise from random ones, the observed among them, so never 0.
    """
    count = len(values)
    reached = abs(values.sum()) * (1 - 1e-9)  # rounding breaks no ties
    if count <= EXACT:
        signs = 1 - 2 * (np.arange(2**count)[:, None] >> np.arange(count) & 1)
        return float((abs(signs @ values) >= reached).mean())
    draw = np.random.default_rng((0, count))
    flips = (1 - 2 * draw.integers(2, size=(FLIPS_AT_ONCE, count)) for _ in range(FLIPS // FLIPS_AT_ONCE))
    return (1 + sum(int((abs(signs @ values) >= reached).sum()) for signs in flips)) / (1 + FLIPS)


def spelled(one: Compared) -> tuple[list[str], list[tuple[str, str]]]:
    """Spells means, and differences with their p."""
    places = decimals(one.means)
    differences = [
        (f"{each.mean:+.{places}f} [{each.low:+.{places}f}, {each.high:+.{places}f}]", f"{each.p:.2g}")
        for each in one.differences
    ]
    return [f"{mean:.{places}f}" for mean in one.means], differences


def labels(runs: list[str]) -> list[str]:
    """Shortens runs' folders by what is before all of them."""
    above = os.path.commonpath([Path(run).absolute().parent for run in runs])
    return [os.path.relpath(run, above) for run in runs]


def lines(comparison: Comparison, row: str) -> tuple[list[str], list[list[tuple[str, bool]]]]:
    """Lays a row out: heads, and a line a metric, of texts and whether they are bold."""
    first, *others = labels(comparison.runs)
    heads = [row, "clips", first, *(head for run in others for head in (run, "difference", "p"))]
    body = []
    for one in comparison.rows:
        if one.row == row:
            means, differences = spelled(one)
            label = f"{measure(one.metric).label} {measure(one.metric).direction}".rstrip()
            line = [(label, False), (str(one.clips), False), (means[0], False)]
            for k, mean in enumerate(means[1:]):
                bold = bool(differences) and one.differences[k].p < LIKELY
                told = differences[k] if differences else ("", "")
                line += [(mean, False), (told[0], bold), (told[1], bold)]
            body.append(line)
    return heads, body


def rich_tables(comparison: Comparison) -> list[Table]:
    """A table a row, for a terminal."""
    tables = []
    for row in dict.fromkeys(one.row for one in comparison.rows):
        heads, body = lines(comparison, row)
        table = Table(box=None, pad_edge=False, header_style="bold")
        for place, head in enumerate(heads):
            table.add_column(Text(head), justify="right" if place else "left", overflow="fold")
        for line in body:
            table.add_row(*(Text(text, "bold" if bold else "") for text, bold in line))
        tables.append(table)
    return tables


def remarks(comparison: Comparison, named: int | None = None) -> list[str]:
    """What one has to know to read the tables, a line each; of long lists the first `named`."""

    def listed(names: Sequence[str]) -> str:
        more = len(names) - len(names[:named])
        return ", ".join(names[:named]) + (f" and {more} more" if more else "")

    shown = labels(comparison.runs)
    tests = sum(len(one.differences) for one in comparison.rows)
    told = [
        f"Differences are from {shown[0]}, with 95 % intervals; p is of a paired sign-flip test, in bold "
        f"below {LIKELY}, not corrected for there being {tests} of them."
    ]
    for key, values in comparison.rules.items():
        told.append(f"Not the same {key}: " + "; ".join(map(": ".join, zip(shown, values, strict=True))))
    names_of: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for row, kind, name, runs in comparison.lonely:
        names_of.setdefault((row, kind, runs), []).append(name)
    rows_of: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for (row, kind, runs), names in names_of.items():
        rows_of.setdefault((kind, runs, tuple(names)), []).append(row)
    for (kind, runs, names), rows in rows_of.items():
        where = f"Row{'s' * (len(rows) > 1)} {', '.join(rows)}: " if rows != [""] else ""
        told.append(f"{where}{len(names)} {kind}{'s' * (len(names) > 1)} only in {', '.join(runs)}: {listed(names)}")
    for run, failed in zip(shown, comparison.failed, strict=True):
        if failed:
            reasons = listed([f"{clip} ({reason})" for clip, reason in failed.items()])
            told.append(f"{run}: {len(failed)} clip{'s' * (len(failed) > 1)} failed: {reasons}")
    return told


def write_comparison(out: Path, comparison: Comparison) -> None:
    """Writes compare.md for people and compare.csv, a line a row, metric and run."""
    text = []
    for row in dict.fromkeys(one.row for one in comparison.rows):
        heads, body = lines(comparison, row)
        text += ["| " + " | ".join(head.replace("|", r"\|") for head in heads) + " |"]
        text += ["|---|" + "---:|" * (len(heads) - 1)]
        text += ["| " + " | ".join(f"**{told}**" if bold else told for told, bold in line) + " |" for line in body]
        text += [""]
    text += [f"- {remark}" for remark in remarks(comparison)]
    table = [["row", "metric", "clips", "run", "value", *Difference._fields]]
    for one in comparison.rows:
        for k, (run, mean) in enumerate(zip(comparison.runs, one.means, strict=True)):
            found = one.differences[k - 1] if k and one.differences else ("",) * len(Difference._fields)
            table.append([one.row, one.metric, one.clips, run, mean, *found])
    out.mkdir(parents=True, exist_ok=True)
    for name, content in (("compare.md", "\n".join(text) + "\n"), ("compare.csv", comma_separated(table))):
        with whole(out / name) as beside:
            beside.write_text(content, encoding="utf-8")
