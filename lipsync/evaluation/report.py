"""`report.html`: everything an evaluation found, in one file that needs nothing else."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from lipsync.errors import LipsyncError
from lipsync.evaluation.measures import TELLING, in_order, measure
from lipsync.evaluation.plots import clips_svg, dots_svg
from lipsync.evaluation.protocols import TRUTH
from lipsync.evaluation.table import Results, Summary, best_rows, cells, decimals, extremes, groups, protocol
from lipsync.files import whole

REPORT = "report.html"
PLOTTED = 2  # metrics whose distribution is shown
STYLE = """
:root { color-scheme: light dark; --ink: #1d2129; --soft: #68707d; --line: #e2e5ea; --paper: #fff; --tint: #f5f6f8;
  --accent: #c33; --truth: #2f7d5b }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ec; --soft: #98a1af; --line: #333a45; --paper: #15181d;
  --tint: #1d2128; --accent: #f0776c; --truth: #6cc49b } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1120px; padding: 40px 24px 80px; color: var(--ink); background: var(--paper);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px } h2 { font-size: 20px; margin: 48px 0 12px }
h3 { font-size: 15px; margin: 24px 0 8px } p { margin: 0 0 12px; max-width: 46em }
.soft, figcaption { color: var(--soft) }
dl { columns: 2 340px; column-gap: 40px; margin: 0 } dl div { display: flex; gap: 16px; break-inside: avoid;
  padding: 2px 0 } dt { color: var(--soft); flex: 0 0 150px } dd { margin: 0 }
.scroll { overflow-x: auto; margin-bottom: 20px }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; overflow-wrap: normal }
th, td { padding: 5px 0 5px 16px; text-align: right; vertical-align: top; white-space: nowrap }
th:first-child, td:first-child, .words td { padding-left: 0; text-align: left } thead th { vertical-align: bottom }
th:first-child { width: 230px }
thead tr { border-bottom: 1.5px solid var(--ink) } tbody tr.first { border-top: 1px solid var(--line) }
tbody th { font-weight: 400 } td b { color: var(--accent) }
small { display: block; color: var(--soft); font-size: 11px }
.words td { white-space: normal; padding-right: 24px } .truth { color: var(--truth) }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 20px 32px;
  align-items: start }
.films { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr)); gap: 20px }
figure { margin: 0 } video { width: 100%; background: #000; border-radius: 6px; display: block }
figcaption { font-size: 13px; margin-top: 6px; font-variant-numeric: tabular-nums } figcaption b { color: var(--ink) }
figcaption span { white-space: nowrap }
svg { width: 100%; height: auto; display: block; font-size: 12px } svg text { fill: var(--ink) }
svg .tick { fill: var(--soft); font-size: 11px } svg line { stroke: var(--line) } svg .mark { stroke: var(--accent);
  stroke-width: 2 } svg .dot { fill: var(--accent) } svg .real .mark { stroke: var(--truth) }
svg .real .dot { fill: var(--truth) } svg .ideal { stroke: var(--truth); stroke-dasharray: 3 3 }
svg .clip { fill: var(--soft); fill-opacity: .4 } svg .box { fill: var(--accent); fill-opacity: .15 }
"""


def write_report(
    folder: str | Path, results: Results, summary: Summary, examples: dict[str, dict[str, Path]] | None = None
) -> Path:
    """Writes report.html: protocol, tables, clips that failed, plots, and the best, median and worst films of rows.

    Args:
        examples: row -> clip -> mp4, the truth on its left; of each row's films the best, the median and the worst by
            its most telling metric are shown.

    Returns:
        Path of the file.

    Raises:
        LipsyncError: a film that is not there.
    """
    clips = {clip for found in results.scores.values() for clip in found}
    counted = f"{len(clips)} clips scored, {len(results.failed)} failed, {len(summary)} rows"
    parts = [
        f'<h1>Evaluation</h1><p class="soft">{counted}</p>',
        protocol_html(results.about),
        '<h2>Scores</h2><p class="soft">Means over clips; below them 95 % intervals, by bootstrap over clips. '
        "↑ higher, ↓ lower, →1 nearer to 1 is better; the best of each protocol is in bold.</p>",
        *(table_html(summary, group, metrics) for group, metrics in groups(summary).items()),
        failed_html(results.failed),
        "<h2>Means and intervals</h2>",
        *(plots_html(summary, group, metrics) for group, metrics in groups(summary).items()),
        distribution_html(results),
        *(films_html(row, results.scores.get(row, {}), films) for row, films in (examples or {}).items()),
        meanings_html(summary),
    ]
    path = Path(folder, REPORT)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as beside:
        beside.write_text(page("Evaluation", "".join(parts)), encoding="utf-8")
    return path


def page(title: str, body: str) -> str:
    """Makes a page of HTML that is whole in itself: whatever a foreign name may contain, it loads and runs nothing."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        f'img-src data:; media-src data:"><style>{STYLE}</style></head><body>{body}</body></html>\n'
    )


def protocol_html(about: dict[str, str | int | float | list]) -> str:
    """The protocol, a line an entry."""
    entries = []
    for key, value in about.items():
        told = "<br>".join(escape(str(each)) for each in (value if isinstance(value, list) else [value]))
        entries.append(f"<div><dt>{escape(key.replace('_', ' '))}</dt><dd>{told}</dd></div>")
    return f"<h2>Protocol</h2><dl>{''.join(entries)}</dl>"


def table_html(summary: Summary, group: str, metrics: Sequence[str]) -> str:
    """A group's metrics as a table; rows of one protocol stand together."""
    best, columns = best_rows(summary), {metric: cells(summary, metric) for metric in metrics}
    heads = "".join(f"<th>{heading(metric)}</th>" for metric in metrics)
    body, before = [], None
    for row, found in summary.items():
        if not any(metric in found for metric in metrics):
            continue
        shown = []
        for metric in metrics:
            mean, _, bounds = columns[metric].get(row, ("", "", ""))
            shown.append(f"<b>{mean}</b>" if row in best[metric] else mean)
            shown[-1] = f"<td>{shown[-1]}<small>{bounds}</small></td>" if mean else "<td></td>"
        counted = max(found[metric].clips for metric in metrics if metric in found)
        first = ' class="first"' if protocol(row) != before else ""
        before = protocol(row)
        name = f'<th class="{TRUTH if row == TRUTH else ""}">{escape(row)}</th>'
        body.append(f"<tr{first}>{name}<td>{counted}</td>{''.join(shown)}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr><th>{escape(group)}</th><th>clips</th>{heads}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def heading(metric: str) -> str:
    """A metric's name and direction."""
    return escape(f"{measure(metric).label} {measure(metric).direction}".rstrip())


def failed_html(failed: dict[str, str]) -> str:
    """The clips that could not be scored, each with the reason."""
    if not failed:
        return "<h2>Failed clips</h2><p>None.</p>"
    rows = "".join(f"<tr><td>{escape(clip)}</td><td>{escape(reason)}</td></tr>" for clip, reason in failed.items())
    return (
        f"<h2>Failed clips</h2><p>{len(failed)} could not be scored and are in no mean.</p>"
        f'<div class="scroll words"><table><tbody>{rows}</tbody></table></div>'
    )


def plots_html(summary: Summary, group: str, metrics: Sequence[str]) -> str:
    """A dot plot a metric."""
    plots = []
    for metric in metrics:
        column = {row: found[metric] for row, found in summary.items() if metric in found}
        plots.append(figure(metric, dots_svg(column, metric)))
    return f'<h3>{escape(group)}</h3><div class="plots">{"".join(plots)}</div>'


def figure(metric: str, svg: str) -> str:
    """A plot under its metric's name."""
    return f"<figure><figcaption><b>{heading(metric)}</b></figcaption>{svg}</figure>"


def distribution_html(results: Results) -> str:
    """Every clip's value of the most telling metrics, a row each."""
    having = {metric: {} for metric in TELLING}
    for metric, rows in having.items():
        for row, clips in results.scores.items():
            values = {clip: scores[metric] for clip, scores in clips.items() if metric in scores}
            if len(values) > 1:
                rows[row] = values
    chosen = [(metric, rows) for metric, rows in having.items() if rows][:PLOTTED]
    plots = "".join(figure(metric, clips_svg(rows)) for metric, rows in chosen)
    told = "A point a clip, the middle half shaded, the median a line; point at one to see its name."
    return f'<h2>Clip by clip</h2><p class="soft">{told}</p><div class="plots">{plots}</div>' if plots else ""


def films_html(row: str, clips: dict[str, dict[str, float]], films: dict[str, Path]) -> str:
    """A row's best, median and worst film, with sound."""
    filmed = {clip: clips[clip] for clip in films if clip in clips}
    if not filmed:
        return ""
    metric, words = extremes(filmed)
    figures = []
    for clip, word in words.items():
        try:
            film = base64.b64encode(Path(films[clip]).read_bytes()).decode("ascii")
        except OSError as error:
            raise LipsyncError(f"row {row}, clip {clip}: the film {films[clip]} cannot be read") from error
        told = " · ".join(
            f"<span>{escape(measure(name).label)} {clips[clip][name]:.{decimals([clips[clip][name]])}f}</span>"
            for name in in_order(clips[clip])
        )
        figures.append(
            f'<figure><video controls playsinline preload="metadata" src="data:video/mp4;base64,{film}"></video>'
            f"<figcaption><b>{word}: {escape(clip)}</b><br>{told}</figcaption></figure>"
        )
    told = f"Best, median and worst of {len(filmed)} films by {heading(metric)}; the truth is on the left."
    return f'<h2>{escape(row)}</h2><p class="soft">{told}</p><div class="films">{"".join(figures)}</div>'


def meanings_html(summary: Summary) -> str:
    """What each metric in the tables says."""
    told = (
        f"<div><dt>{heading(metric)}</dt><dd>{escape(measure(metric).meaning)}</dd></div>"
        for metrics in groups(summary).values()
        for metric in metrics
    )
    return f"<h2>What the metrics say</h2><dl>{''.join(told)}</dl>"
