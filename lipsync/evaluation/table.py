"""From every clip's scores to a table with intervals: plain data in, plain data and files out."""

import csv
import io
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rich.table import Table
from rich.text import Text
from torch import Tensor

from lipsync.errors import LipsyncError
from lipsync.evaluation.intervals import Interval, frechet_interval, interval
from lipsync.evaluation.measures import MEASURES, TELLING, goodness, in_order, measure
from lipsync.evaluation.protocols import TRUTH
from lipsync.files import whole


class Results(NamedTuple):
    """Everything that an evaluation measured.

    `about` is the protocol in words, and under "frechet" the name of the distance that the features give; `scores`
    are of row, clip and metric; `features` (N, F) of row and clip; `failed` are clips and why they could not be scored.
    """

    about: dict[str, str | int | float | list]
    scores: dict[str, dict[str, dict[str, float]]]
    features: dict[str, dict[str, Tensor]]
    failed: dict[str, str]


Summary = dict[str, dict[str, Interval]]  # of row and metric


def summarise(results: Results, seed: int = 0, resamples: int = 1000) -> Summary:
    """Takes every row's mean of every metric over clips, with its percentile interval (bootstrap over clips).

    A row with features, other than the truth, has also their Frechet distance from the truth's, over the clips that
    both have. What a row lacks is absent.

    Raises:
        LipsyncError: a score or a feature that is no finite number, or features without those of the truth.
    """
    check(results)
    summary: Summary = {}
    for row, clips in results.scores.items():
        summary[row] = {}
        for metric in in_order(name for scores in clips.values() for name in scores):
            values = [clips[clip][metric] for clip in sorted(clips) if metric in clips[clip]]
            summary[row][metric] = interval(values, seed, resamples)
    truth = results.features.get(TRUTH, {})
    for row, features in results.features.items():
        both = sorted(features.keys() & truth.keys())
        if row != TRUTH and features:
            if not both:
                raise LipsyncError(f"row {row} has features of no clip whose true features are there")
            distance = frechet_interval([features[clip] for clip in both], [truth[clip] for clip in both], seed)
            summary.setdefault(row, {})[str(results.about["frechet"])] = distance
    return summary


def check(results: Results) -> None:
    """Raises LipsyncError that names row, clip and metric of the first number that is not finite."""
    for row, clips in results.scores.items():
        for clip, scores in clips.items():
            for metric, value in scores.items():
                if not math.isfinite(value):
                    raise LipsyncError(f"row {row}, clip {clip}: {metric} is {value}, which no table may hold")
    for row, features in results.features.items():
        for clip, feature in features.items():
            if not feature.isfinite().all():
                raise LipsyncError(f"row {row}, clip {clip}: features of {results.about['frechet']} are not finite")


def best_rows(summary: Summary) -> dict[str, set[str]]:
    """Finds the best rows of every metric, several where they tie: those of one protocol compete, if there are two.

    A row METHOD@PROTOCOL belongs to the row PROTOCOL; rows of real frames have no rivals and are never best.
    """
    best: dict[str, set[str]] = {}
    for metric in in_order(name for found in summary.values() for name in found):
        rivals: dict[str, dict[str, float]] = {}
        for row, found in summary.items():
            if metric in found and measure(metric).direction:
                rivals.setdefault(protocol(row), {})[row] = goodness(metric, found[metric].mean)
        several = (good for good in rivals.values() if len(good) > 1)
        best[metric] = {row for good in several for row in good if good[row] == max(good.values())}
    return best


def protocol(row: str) -> str:
    """Returns the part of a row's name behind "@", or all of it."""
    return row.rpartition("@")[2]


def extremes(clips: dict[str, dict[str, float]]) -> tuple[str, dict[str, str]]:
    """Chooses of one row's clips, name -> scores, those to look at.

    Returns:
        The metric they are ranked by, and clip -> "best", "median" or "worst"; two words need two clips.

    Raises:
        LipsyncError: there is no metric by which to rank them.
    """
    for metric in (*TELLING, *MEASURES):
        having = [clip for clip in clips if metric in clips[clip]]
        if having:
            ranked = sorted(having, key=lambda clip: (-goodness(metric, clips[clip][metric]), clip))
            places = {"worst": -1, "median": (len(ranked) - 1) // 2, "best": 0}
            words = {ranked[place]: word for word, place in places.items()}
            return metric, {clip: words[clip] for clip in ranked if clip in words}
    raise LipsyncError(f"clips {', '.join(clips) or '(none)'} have no metric by which they could be ranked")


def groups(summary: Summary) -> dict[str, list[str]]:
    """Sorts the metrics that any row has into the groups that are shown together."""
    found: dict[str, list[str]] = {}
    for metric in in_order(name for cells in summary.values() for name in cells):
        found.setdefault(measure(metric).group, []).append(metric)
    return found


def decimals(values: Iterable[float]) -> int:
    """Counts the places that give three digits to the middle one of some values."""
    sizes = sorted(abs(value) for value in values if value)
    return min(max(2 - math.floor(math.log10(sizes[len(sizes) // 2])), 0), 6) if sizes else 2


def cells(summary: Summary, metric: str) -> dict[str, tuple[str, str, str]]:
    """Spells a metric's column, all with as many places: row -> mean, half the interval's width, bounds."""
    column = {row: found[metric] for row, found in summary.items() if metric in found}
    places = decimals(each.mean for each in column.values())
    return {
        row: (
            f"{each.mean:.{places}f}",
            f"±{(each.high - each.low) / 2:.{places}f}",
            f"[{each.low:.{places}f}, {each.high:.{places}f}]",
        )
        for row, each in column.items()
    }


def rich_tables(summary: Summary) -> list[Table]:
    """Lays the summary out for a terminal: a table a group, the best rows in bold.

    Beneath a mean stands half its interval's width, for want of room for both bounds.
    """
    best, tables = best_rows(summary), []
    for group, metrics in groups(summary).items():
        columns = {metric: cells(summary, metric) for metric in metrics}
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column(Text(group), min_width=max(map(len, summary)), no_wrap=True)
        for metric in metrics:
            table.add_column(Text(f"{measure(metric).label} {measure(metric).direction}".rstrip()), justify="right")
        for row in summary:
            shown = []
            for metric in metrics:
                mean, about, _ = columns[metric].get(row, ("", "", ""))
                shown.append(Text.assemble((mean, "bold" if row in best[metric] else ""), "\n", (about, "dim")))
            if any(text.plain.strip() for text in shown):
                table.add_row(Text(row), *shown)
        tables.append(table)
    return tables


def markdown(summary: Summary) -> str:
    """Lays the summary out in Markdown: a table a group, 95 % bounds in brackets, the best row in bold."""
    best, lines = best_rows(summary), []
    for group, metrics in groups(summary).items():
        columns = {metric: cells(summary, metric) for metric in metrics}
        heads = [f"{measure(metric).label} {measure(metric).direction}".rstrip() for metric in metrics]
        lines += ["| " + " | ".join([group, "clips", *heads]) + " |", "|---|" + "---:|" * (len(heads) + 1)]
        for row in summary:
            shown = []
            for metric in metrics:
                mean, _, bounds = columns[metric].get(row, ("", "", ""))
                shown.append(f"**{mean}** {bounds}" if row in best[metric] else f"{mean} {bounds}".strip())
            if any(shown):
                counted = max(summary[row][metric].clips for metric in metrics if metric in summary[row])
                lines.append("| " + " | ".join([row.replace("|", r"\|"), str(counted), *shown]) + " |")
        lines.append("")
    return "\n".join(lines)


def write_tables(folder: str | Path, results: Results, summary: Summary) -> None:
    """Writes results.json (all but the clips), clips.csv (a line a row and clip), table.csv and table.md.

    Raises:
        LipsyncError: a number that is not finite.
    """
    check(results)
    told = {row: {metric: each._asdict() for metric, each in found.items()} for row, found in summary.items()}
    about = {"about": results.about, "failed": results.failed, "summary": told}
    metrics = in_order(name for clips in results.scores.values() for scores in clips.values() for name in scores)
    lines = [["row", "clip", *metrics]]
    for row, clips in results.scores.items():
        lines += [[row, clip, *(repr(float(s[m])) if m in s else "" for m in metrics)] for clip, s in clips.items()]
    table = [["row", "metric", *Interval._fields]]
    table += [[row, metric, *each] for row, found in summary.items() for metric, each in found.items()]
    files = {
        "clips.csv": comma_separated(lines),
        "table.csv": comma_separated(table),
        "table.md": markdown(summary),
        # Last: where it is, everything is.
        "results.json": json.dumps(about, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        with whole(Path(folder, name)) as beside:
            beside.write_text(text, encoding="utf-8")


def comma_separated(lines: list[list]) -> str:
    """Spells lines as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def read_tables(folder: str | Path) -> tuple[Results, Summary]:
    """Reads what `write_tables` wrote; the features are not among it.

    Raises:
        LipsyncError: a file that is missing or damaged, or a number that is not finite.
    """
    try:
        told = json.loads(Path(folder, "results.json").read_text(encoding="utf-8"))
        summary = {row: {m: Interval(**each) for m, each in found.items()} for row, found in told["summary"].items()}
        scores: dict[str, dict[str, dict[str, float]]] = {row: {} for row in summary}
        with open(Path(folder, "clips.csv"), encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                row, clip = line.pop("row"), line.pop("clip")
                scores.setdefault(row, {})[clip] = {name: float(value) for name, value in line.items() if value}
        results = Results(told["about"], scores, {}, told["failed"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LipsyncError(f"{folder}: results.json or clips.csv is missing or damaged ({error})") from error
    check(results)
    return results, summary
