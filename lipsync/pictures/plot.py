"""`lipsync plot`: how runs went, as PNG and on one page."""

import base64
import csv
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path

from omegaconf import OmegaConf

from lipsync.errors import LipsyncError
from lipsync.evaluation.compare import labels
from lipsync.evaluation.report import page
from lipsync.files import whole
from lipsync.offset_curve import CURVE
from lipsync.pictures.chart import Chart, Line, svg, thinned, write_png
from lipsync.pictures.strip import sheets, write_strip
from lipsync.runs import CONFIG, histories, metrics

PAGE = "plots.html"
TIMESTEP = re.compile(r"train/simple_t(\d+)")
SAMPLED = re.compile(r"(\d+)_steps/(.+)")

# Where validation gives what training logs another name: `val/sync` is how well dubbed clips do.
IN_VALIDATION = {"train/sync": "val/sync_loss"}

Courses = dict[str, dict[int, float]]  # of metric and step


def plot(runs: list[str], out: str) -> Path:
    """Draws how runs went: training, loss by time step, sync, sampling steps, samples; as PNG and in plots.html.

    Args:
        runs: Folders of runs.
        out: Folder for the pictures.

    Returns:
        Path of the page.

    Raises:
        LipsyncError: A folder that is no run, or runs that have logged nothing.
    """
    for run in runs:
        if not Path(run, CONFIG).is_file():
            raise LipsyncError(f"{run}: no such run (it has no {CONFIG})")
    folders = dict(zip(labels(runs), map(Path, runs), strict=True))
    courses = {name: histories(folder) for name, folder in folders.items()}
    sections = {
        "Training": list(training(courses)),
        "Validation": list(validation(courses)),
        "Gradients and learning rates": list(gradients(courses)),
        "Speed": list(training(courses, "throughput/")),
        "Loss by time step": list(timesteps(courses)),
        "Sync against offset": list(offsets(folders)),
        "Sampling steps against quality": list(sampling(folders)),
    }
    strips = {name: folder for name, folder in folders.items() if sheets(folder)}
    if not strips and not any(sections.values()):
        raise LipsyncError(f"{', '.join(runs)}: nothing was logged, there is nothing to draw")
    target = Path(out)
    target.mkdir(parents=True, exist_ok=True)
    body = [f'<h1>Runs</h1><p class="soft">{escape(", ".join(folders))}. Of long courses points are means.</p>']
    for title, charts in sections.items():
        drawn = "".join(f"<figure>{svg(chart)}</figure>" for chart in charts)
        body.append(f'<h2>{title}</h2><div class="plots">{drawn}</div>' if charts else "")
        for chart in charts:
            write_png(chart, target / f"{slug(chart.title)}.png")
    for name, folder in strips.items():
        path = target / f"samples_{slug(name)}.png"
        write_strip(folder, OmegaConf.load(folder / CONFIG).model.init_args.size, path)
        picture = base64.b64encode(path.read_bytes()).decode("ascii")
        body.append(f"<h2>Samples of {escape(name)}, by step</h2>")
        body.append(f'<figure class="scroll"><img alt="" src="data:image/png;base64,{picture}"></figure>')
    with whole(target / PAGE) as beside:
        beside.write_text(page("Runs", "".join(body)), encoding="utf-8")
    print(f"Plots: {target / PAGE}")
    return target / PAGE


def training(courses: dict[str, Courses], prefix: str = "train/") -> Iterator[Chart]:
    """A chart a metric that training logs: its course in every run, and in validation."""
    logged = dict.fromkeys(name for course in courses.values() for name in course if name.startswith(prefix))
    for name in logged:
        if not TIMESTEP.fullmatch(name):
            yield Chart(name.removeprefix("train/"), "step", lines_of(courses, name, validated(name)))


def validation(courses: dict[str, Courses]) -> Iterator[Chart]:
    """A chart a metric that validation alone logs."""
    logged = dict.fromkeys(name for course in courses.values() for name in course)
    shown = {validated(name) for name in logged if name.startswith("train/")}
    for name in logged:
        if name.startswith("val/") and name not in shown:
            yield Chart(name, "step", lines_of(courses, name))


def validated(name: str) -> str:
    """What validation calls a metric of training."""
    return IN_VALIDATION.get(name, name.replace("train/", "val/"))


def lines_of(courses: dict[str, Courses], *names: str) -> list[Line]:
    """The course of each metric in each run, labelled as far as there are several."""
    found = dict.fromkeys(name for name in names if any(name in course for course in courses.values()))
    lines = []
    for run, course in courses.items():
        for name in (name for name in found if name in course):
            label = [run] * (len(courses) > 1) + [name.split("/")[0]] * (len(found) > 1)
            lines.append(Line(" ".join(label), thinned(course[name])))
    return lines


def gradients(courses: dict[str, Courses]) -> Iterator[Chart]:
    """For every run a chart of the terms' gradients at the last layer, and one of its learning rates."""
    for run, course in courses.items():
        of = f" of {run}" * (len(courses) > 1)
        for title, prefix in (("gradient norms at the UNet's last layer", "gradient/"), ("learning rates", "lr-")):
            found = {name: points for name, points in course.items() if name.startswith(prefix)}
            lines = [Line(name.removeprefix(prefix), thinned(points)) for name, points in found.items()]
            if lines:
                yield Chart(title + of, "step", lines)


def timesteps(courses: dict[str, Courses]) -> Iterator[Chart]:
    """L_simple against t: when it was first and last logged."""
    lines = []
    for run, course in courses.items():
        by_t = {int(match[1]): course[name] for name in course if (match := TIMESTEP.fullmatch(name))}
        steps = sorted(set[int]().union(*by_t.values()))
        for step in dict.fromkeys((steps[0], steps[-1]) if steps else ()):
            points = sorted((t, found[step]) for t, found in by_t.items() if step in found)
            lines.append(Line(f"{run}, after {step + 1} steps", points))
    if lines:
        yield Chart("simple by time step", "t, from", lines, dotted=True)


def offsets(folders: dict[str, Path]) -> Iterator[Chart]:
    """An expert's mean score against the shift of the sound: a peak at 0 is what one wants to see."""
    lines = []
    for run, folder in folders.items():
        if (folder / CURVE).is_file():
            with (folder / CURVE).open(encoding="utf-8", newline="") as file:
                points = [(float(row["offset"]), float(row["score"])) for row in csv.DictReader(file)]
            lines.append(Line(run * (len(folders) > 1), points))
    if lines:
        yield Chart("score against offset", "frames by which the sound is shifted", lines, dotted=True)


def sampling(folders: dict[str, Path]) -> Iterator[Chart]:
    """A chart a measure of the closing test, against the number of sampling steps."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for run, folder in folders.items():
        for name, value in metrics(folder).items():
            if match := SAMPLED.fullmatch(name):
                found.setdefault(match[2], {}).setdefault(run, []).append((float(match[1]), value))
    for name, by_run in found.items():
        lines = [Line(run * (len(folders) > 1), sorted(points)) for run, points in by_run.items()]
        if max(len(line.points) for line in lines) > 1:
            yield Chart(name, "sampling steps", lines, dotted=True, logarithmic=True)


def slug(title: str) -> str:
    """A file's name for a title."""
    return re.sub(r"\W+", "_", title).strip("_")
