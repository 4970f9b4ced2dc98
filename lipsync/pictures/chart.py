"""A line chart, in SVG for a page and as PNG for everything else, from one list of strokes, dots and words."""

import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lipsync.files import whole

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 34, 44  # margins
LEGEND = 16  # height of a line of it
COLOURS = ("#c33333", "#2f7d5b", "#3b6ea8", "#b07a1e", "#7d4fa0", "#5c8a9a", "#a8487a", "#68707d")
GRID, SOFT, INK = "#e2e5ea", "#68707d", "#1d2129"  # of the PNG; a page has its own
DENSITY = 2  # pixels of the PNG a unit
SMOOTH = 3  # times as large it is drawn
WIDE = 20  # greatest over least value from which an axis is logarithmic


class Line(NamedTuple):
    """Points of one colour, joined."""

    label: str
    points: Sequence[tuple[float, float]]


class Chart(NamedTuple):
    """Lines over one pair of axes; `dotted` marks their points, `logarithmic` says whether x is."""

    title: str
    x: str
    lines: Sequence[Line]
    dotted: bool = False
    logarithmic: bool = False


class Stroke(NamedTuple):
    """A line through points."""

    points: Sequence[tuple[float, float]]
    colour: str
    width: float


class Dot(NamedTuple):
    """A filled circle; `told` is what a page says of it."""

    x: float
    y: float
    colour: str
    told: str


class Words(NamedTuple):
    """A line of text; it starts, has its middle or ends at x, and stands on y."""

    x: float
    y: float
    text: str
    colour: str
    anchor: str
    size: int


def axis(values: Sequence[float], logarithmic: bool, start: float, end: float) -> tuple[Callable, dict[float, str]]:
    """Chooses a scale from values to places between start and end; returns it and the values to be marked, spelled."""
    low, high, spelling = min(values), max(values), "g"
    if logarithmic:
        low, high = math.log10(low), math.log10(high)
        powers = [10.0**k for k in range(math.floor(low), math.ceil(high) + 1)]
        ticks = [power * times for power in powers for times in ((1, 2, 5) if high - low < 2 else (1,))]
    else:
        margin = 0.04 * (high - low) or 0.5 * max(abs(high), 1e-3)
        low, high = low - margin, high + margin
        step = 10 ** math.floor(math.log10((high - low) / 3))
        step = next(step * times for times in (5, 2, 1) if (high - low) / (step * times) >= 2.5)
        ticks = [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
        spelling = f".{max(-math.floor(math.log10(step)), 0)}f"
    span = max(high - low, 1e-9)

    def place(value: float) -> float:
        return start + (end - start) * ((math.log10(value) if logarithmic else value) - low) / span

    inside = [tick for tick in ticks if min(start, end) - 0.5 <= place(tick) <= max(start, end) + 0.5]
    return place, {tick: f"{tick:{spelling}}" for tick in inside}


def marks(chart: Chart) -> tuple[int, list[Stroke | Dot | Words]]:
    """Lays a chart out; returns its height and all that is drawn, the lowest first."""
    named = [line for line in chart.lines if line.label]
    top, bottom = TOP + LEGEND * len(named), HEIGHT - BOTTOM + LEGEND * len(named)
    xs, ys = ([point[k] for line in chart.lines for point in line.points] for k in (0, 1))
    x, across = axis(xs, chart.logarithmic, LEFT, WIDTH - RIGHT)
    if chart.logarithmic:  # few points: they mark themselves
        across = {value: f"{value:g}" for value in sorted(set(xs))}
    y, upward = axis(ys, min(ys) > 0 and max(ys) > WIDE * min(ys), bottom, top)
    drawn: list[Stroke | Dot | Words] = [Words(LEFT, 18, chart.title, INK, "start", 13)]
    for value, text in across.items():
        drawn.append(Stroke([(x(value), top), (x(value), bottom)], GRID, 1))
        drawn.append(Words(x(value), bottom + 16, text, SOFT, "middle", 11))
    for value, text in upward.items():
        drawn.append(Stroke([(LEFT, y(value)), (WIDTH - RIGHT, y(value))], GRID, 1))
        drawn.append(Words(LEFT - 6, y(value) + 4, text, SOFT, "end", 11))
    drawn.append(Words((LEFT + WIDTH - RIGHT) / 2, bottom + 34, chart.x, SOFT, "middle", 11))
    for place, line in enumerate(chart.lines):
        colour = COLOURS[place % len(COLOURS)]
        if line.label:
            above = TOP + LEGEND * named.index(line)
            drawn.append(Stroke([(LEFT, above - 4), (LEFT + 18, above - 4)], colour, 2))
            drawn.append(Words(LEFT + 24, above, line.label, INK, "start", 11))
        points = [(x(a), y(b)) for a, b in line.points]
        drawn.append(Stroke(points, colour, 1.5))
        if chart.dotted or len(points) == 1:
            told = [f"{line.label} {a:.4g}: {b:.4g}".strip() for a, b in line.points]
            drawn += [Dot(*point, colour, what) for point, what in zip(points, told, strict=True)]
    return bottom + BOTTOM, drawn


def svg(chart: Chart) -> str:
    """Draws a chart for a page, whose style colours grid and words."""
    height, drawn = marks(chart)
    parts = []
    for mark in drawn:
        if isinstance(mark, Words):
            kind = ' class="tick"' if mark.colour == SOFT else ""
            where = f'x="{mark.x:.1f}" y="{mark.y:.1f}" text-anchor="{mark.anchor}" font-size="{mark.size}"'
            parts.append(f"<text{kind} {where}>{escape(mark.text)}</text>")
        elif isinstance(mark, Dot):
            where = f'cx="{mark.x:.1f}" cy="{mark.y:.1f}" r="3" fill="{mark.colour}"'
            parts.append(f"<circle {where}><title>{escape(mark.told)}</title></circle>")
        elif mark.colour == GRID:
            (x1, y1), (x2, y2) = mark.points
            parts.append(f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>')
        else:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in mark.points)
            how = f'fill="none" stroke="{mark.colour}" stroke-width="{mark.width}" stroke-linejoin="round"'
            parts.append(f'<polyline points="{points}" {how}/>')
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg>'


def write_png(chart: Chart, path: Path) -> None:
    """Draws a chart as PNG."""
    height, drawn = marks(chart)
    scale = DENSITY * SMOOTH
    picture = Image.new("RGB", (WIDTH * scale, height * scale), "white")
    pen = ImageDraw.Draw(picture)
    for mark in drawn:
        if isinstance(mark, Words):
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[mark.anchor]
            font = ImageFont.load_default(mark.size * scale)
            pen.text((mark.x * scale, mark.y * scale), mark.text, mark.colour, font, anchor)
        elif isinstance(mark, Dot):
            pen.circle((mark.x * scale, mark.y * scale), 3 * scale, mark.colour)
        else:
            points = [(x * scale, y * scale) for x, y in mark.points]
            pen.line(points, mark.colour, round(mark.width * scale), joint="curve")
    with whole(path) as beside:
        picture.reduce(SMOOTH).save(beside, "png")


def thinned(course: dict[int, float], most: int = 150) -> list[tuple[float, float]]:
    """Averages a metric's course into `most` stretches at most, at the middle of each."""
    points = np.array(list(course.items()), dtype=np.float64)
    return [tuple(part.mean(axis=0).tolist()) for part in np.array_split(points, min(most, len(points)))]
