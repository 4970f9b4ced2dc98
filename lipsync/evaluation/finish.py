"""The end of an evaluation: all clips gathered into one table, which is printed and written with its report."""

from rich.console import Console

from lipsync.errors import LipsyncError
from lipsync.evaluation.clips import Folder
from lipsync.evaluation.protocols import DELAYED, TRUTH
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
    summary = summarise(Results(about, scores, features, failed))
    notes = [*deafness(summary), *(f"{clip.name}: {note}" for clip in done for note in clip.notes)]
    results = Results(about | ({"notes": notes} if notes else {}), scores, features, failed)
    for table in rich_tables(summary):
        Console().print(table)
    print(f"{len(done)} clips scored, {len(failed)} failed")
    for told in [*(f"{name} failed: {why}" for name, why in failed.items()), *notes]:
        print(f"  {told}")
    write_report(store.folder, results, summary, films)
    write_tables(store.folder, results, summary)
    return summary


def deafness(summary: Summary) -> list[str]:
    """Notes that the sync judge does not tell the truth from the truth with a late sound, where it does not."""
    late = [row for row in summary if row.startswith(DELAYED)]
    if not late or summary[TRUTH]["lse_d_0"].high < summary[late[-1]]["lse_d_0"].low:
        return []
    frames = late[-1].removeprefix(DELAYED)
    return [
        f"the sync judge does not tell true clips from their sound {frames} frames late, so that what it says means "
        "nothing: train one on such faces with experiments/syncnet.yaml"
    ]
