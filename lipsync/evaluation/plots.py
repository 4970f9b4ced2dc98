"""What an evaluation found as pictures: a row of dots a row of the table, in SVG that the page colours."""

from collections.abc import Callable, Sequence
from html import escape

import numpy as np

from lipsync.evaluation.intervals import Interval
from lipsync.evaluation.measures import measure
from lipsync.evaluation.protocols import TRUTH
from lipsync.evaluation.table import cells, decimals

WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 520, 22, 190, 24, 10, 26  # pixels
DOTS = 150  # clips of a row that are shown at most


def axis(values: Sequence[float], rows: int) -> tuple[Callable[[float], float], str]:
    """Chooses a scale for some values; returns it and, in SVG, its ticks over `rows` rows."""
    low, high = min(values), max(values)
    margin = 0.04 * (high - low) or 0.5 * max(abs(high), 1e-3)
    low, high = low - margin, high + margin
    step = 10 ** np.floor(np.log10((high - low) / 3))
    step = float(next(step * times for times in (5, 2, 1) if (high - low) / (step * times) >= 2.5))
    ticks = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low)

    bottom = TOP + ROW * rows
    places = max(-int(np.floor(np.log10(step))), 0)
    drawn = "".join(
        f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{bottom}"/><text class="tick" x="{x(tick):.1f}" '
        f'y="{bottom + 16}" text-anchor="middle">{tick + 0.0:.{places}f}</text>'
        for tick in ticks
    )
    return x, drawn


def plot(rows: Sequence[str], drawn: Sequence[str], axes: str) -> str:
    """Puts what is drawn of each row, about y = 0, beside its name."""
    lines = []
    for place, (row, marks) in enumerate(zip(rows, drawn, strict=True)):
        real = ' class="real"' if row == TRUTH else ""
        short = row if len(row) <= 28 else row[:27] + "…"
        lines.append(
            f'<g{real} transform="translate(0 {TOP + ROW * (place + 0.5):.0f})"><title>{escape(row)}</title>'
            f'<text x="{LEFT - 12}" y="4" text-anchor="end">{escape(short)}</text>{marks}</g>'
        )
    return f'<svg viewBox="0 0 {WIDTH} {TOP + ROW * len(rows) + BOTTOM}">{axes}{"".join(lines)}</svg>'


def dots_svg(column: dict[str, Interval], metric: str) -> str:
    """Means as dots and intervals as bars, a row each; a dashed line where the truth is, or 1 where that is ideal."""
    ideal = [1.0] if measure(metric).direction == "→1" else [column[TRUTH].mean] if TRUTH in column else []
    x, axes = axis([*ideal, *(bound for each in column.values() for bound in each[:3])], len(column))
    for value in ideal:
        place, bottom = x(value), TOP + ROW * len(column)
        axes += f'<line class="ideal" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{bottom}"/>'
    written = cells({row: {metric: each} for row, each in column.items()}, metric)
    marks = []
    for row, each in column.items():
        mean, _, bounds = written[row]
        marks.append(
            f'<line class="mark" x1="{x(each.low):.1f}" x2="{x(each.high):.1f}" y1="0" y2="0"/>'
            f'<circle class="dot" cx="{x(each.mean):.1f}" cy="0" r="4"><title>{mean} {bounds}</title></circle>'
        )
    return plot(list(column), marks, axes)


def clips_svg(rows: dict[str, dict[str, float]]) -> str:
    """Clips as points, their quartiles as a box; of very many, some evenly spaced in rank."""
    x, axes = axis([value for values in rows.values() for value in values.values()], len(rows))
    drawn = []
    for values in rows.values():
        ranked = sorted(values.items(), key=lambda item: (item[1], item[0]))
        places = decimals(values.values())
        low, median, high = np.quantile([value for _, value in ranked], (0.25, 0.5, 0.75)).tolist()
        shown = [ranked[k] for k in np.linspace(0, len(ranked) - 1, min(DOTS, len(ranked))).round().astype(int)]
        points = "".join(
            # Neighbours in rank go up and down, so that equal values stay apart.
            f'<circle class="clip" cx="{x(value):.1f}" cy="{3 * (k % 3 - 1)}" r="2.5">'
            f"<title>{escape(clip)}: {value:.{places}f}</title></circle>"
            for k, (clip, value) in enumerate(shown)
        )
        drawn.append(
            f'<rect class="box" x="{x(low):.1f}" y="-8" width="{x(high) - x(low):.1f}" height="16"/>{points}'
            f'<line class="mark" x1="{x(median):.1f}" x2="{x(median):.1f}" y1="-8" y2="8"/>'
        )
    return plot(list(rows), drawn, axes)
