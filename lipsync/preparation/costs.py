"""`lipsync filters`: what thresholds on a corpus's measurements would cost, as table and picture."""

import dataclasses
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lipsync.corpora.filters import Filters, Removal, removals
from lipsync.corpora.records import load_manifest
from lipsync.files import whole

PICTURE = "filters.svg"
# What one would ask of a corpus before looking at it closer: a face that is there, seen from the front, in the light,
# alone, whose mouth moves and can be heard.
SUGGESTED: Filters = {
    "seconds": [1.0, None],
    "presence": [0.9, None],
    "interpolated": [None, 0.1],
    "yaw": [None, 45.0],
    "pitch": [None, 35.0],
    "luma": [35.0, 220.0],
    "sharpness": [20.0, None],
    "crowd": [None, 0.5],
    "sound_db": [-50.0, None],
    "silent": [None, 0.5],
    "clipped": [None, 0.01],
    "opening_std": [0.02, None],
}
ROW, LEFT, BAR, RIGHT = 24, 190, 400, 130  # pixels of the picture


@dataclasses.dataclass(frozen=True)
class Costs:
    """Clips and hours of a corpus, and what each filter removes of them."""

    clips: int
    hours: float
    filters: Filters
    removed: dict[str, Removal]

    def table(self) -> Table:
        """A row a filter: what it removes, and what it alone removes."""
        table = Table("filter", "clips", "hours", "clips it alone", "hours it alone", box=None, pad_edge=False)
        for name, cost in self.removed.items():
            numbers = (str(cost.clips), f"{cost.hours:.3g}", str(cost.alone_clips), f"{cost.alone_hours:.3g}")
            table.add_row(self.label(name), *numbers)
        table.add_row("of all", str(self.clips), f"{self.hours:.3g}")
        return table

    def label(self, name: str) -> str:
        """The filter in words: "35 to 220 luma", "yaw up to 45"."""
        if name not in self.filters:
            return name
        least, most = self.filters[name]
        if least is None:
            return f"{name} up to {most:g}"
        return f"{name} from {least:g}" + (f" to {most:g}" if most is not None else "")

    def svg(self) -> str:
        """Bars of the hours that each filter removes, darker what it alone removes."""
        rows = []
        for place, (name, cost) in enumerate(self.removed.items()):
            y = 36 + ROW * place
            long, dark = (BAR * hours / max(self.hours, 1e-9) for hours in (cost.hours, cost.alone_hours))
            rows.append(
                f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{self.label(name)}</text>'
                f'<rect x="{LEFT}" y="{y + 3}" width="{BAR}" height="{ROW - 8}" fill="#eee"/>'
                f'<rect x="{LEFT}" y="{y + 3}" width="{long:.1f}" height="{ROW - 8}" fill="#e5a3a3"/>'
                f'<rect x="{LEFT}" y="{y + 3}" width="{dark:.1f}" height="{ROW - 8}" fill="#c33"/>'
                f'<text x="{LEFT + BAR + 8}" y="{y + 14}">{cost.clips} clips, {cost.hours:.3g} h</text>'
            )
        width, height = LEFT + BAR + RIGHT, 46 + ROW * len(rows)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
            f'font-size="12"><rect width="100%" height="100%" fill="white"/><text x="{LEFT}" y="22" font-size="14">'
            f"hours that filters remove, of {self.hours:.3g} in {self.clips} clips; dark: one alone</text>"
            f"{''.join(rows)}</svg>\n"
        )


def costs(corpus: str, filters: Filters | None = None) -> Costs:
    """Tells how many clips and hours each filter removes; data.filters of the training config takes the same.

    Writes filters.svg into the corpus.

    Args:
        corpus: folder of a prepared corpus.
        filters: name -> [least, most], null for no bound; a customary choice where none are given.

    Raises:
        LipsyncError: no corpus, no such filter, or a measurement that the corpus has not.
    """
    chosen = SUGGESTED if filters is None else filters
    manifest = load_manifest(corpus, chosen)
    seconds = manifest.column("seconds")
    found = Costs(len(manifest), float(seconds.sum()) / 3600, chosen, removals(manifest.judged(), seconds))
    with whole(Path(corpus, PICTURE), contested=True) as beside:
        beside.write_text(found.svg(), encoding="utf-8")
    Console().print(found.table())
    return found
