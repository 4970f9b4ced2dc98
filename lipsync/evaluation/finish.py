"""The end of an evaluation: all clips gathered into one table, which is printed and written with its report."""

from rich.console import Console

from lipsync.errors import LipsyncError
from lipsync.evaluation.clips import Folder
from lipsync.evaluation.report import write_report
from lipsync.evaluation.table import Results, Summary, rich_tables, summarise, write_tables


def gather(store: Folder, count: int, about: dict[str, str | int | float | list]) -> Summary:
    """Gathers the first `count` clips, prints the table and writes tables and report.

    Raises:
        LipsyncError: Not one clip could be scored.
    """
    clips = store.read(range(count))
    failed = {clip.name: clip.failed for clip in clips if clip.failed is not None}
    done = [clip for clip in clips if clip.failed is None]
    if not done:
        name, why = next(iter(failed.items()))
        raise LipsyncError(f"none of {len(clips)} clips could be scored; the first, {name}: {why}")
    scores: dict[str, dict] = {}
    features: dict[str, dict] = {}
    films: dict[str, dict] = {}
    for clip in done:
        for row, found in clip.scores.items():
            scores.setdefault(row, {})[clip.name] = found
        for row, seen in clip.features.items():
            features.setdefault(row, {})[clip.name] = seen
        for row, film in (clip.films or {}).items():
            films.setdefault(row, {})[clip.name] = store.folder / film
    notes = [f"{clip.name}: {note}" for clip in done for note in clip.notes]
    results = Results(about | ({"notes": notes} if notes else {}), scores, features, failed)
    summary = summarise(results)
    for table in rich_tables(summary):
        Console().print(table)
    print(f"{len(done)} clips scored, {len(failed)} failed")
    for told in [*(f"{name} failed: {why}" for name, why in failed.items()), *notes]:
        print(f"  {told}")
    write_report(store.folder, results, summary, films)
    write_tables(store.folder, results, summary)
    return summary
