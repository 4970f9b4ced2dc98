"""The closing report of a preparation: what became of every file."""

import dataclasses
import io
import json
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lipsync.files import whole

ROWS_SHOWN = 60


@dataclasses.dataclass(frozen=True)
class Row:
    """Fate of one file: tracks kept, their seconds in all, and in words what was not kept."""

    source: str
    kept: int = 0
    seconds: float = 0.0
    note: str = ""


@dataclasses.dataclass
class Report:
    """Rows in the order of the files, and the number of clips in each split."""

    corpus: str
    rows: list[Row] = dataclasses.field(default_factory=list)
    splits: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Number of tracks kept."""
        return sum(row.kept for row in self.rows)

    def summary(self) -> str:
        """One line of totals, and one for the splits."""
        used = sum(row.kept > 0 for row in self.rows)
        minutes = sum(row.seconds for row in self.rows) / 60
        splits = ", ".join(f"{name} {count}" for name, count in self.splits.items())
        tracks = f"{self.kept} track{'s' * (self.kept != 1)} ({minutes:.1f} minutes)"
        line = f"{tracks} kept from {used} of {len(self.rows)} files"
        return f"{line}; clips: {splits}" if splits else line

    def table(self, rows: list[Row]) -> Table:
        """Rows as a table; names and notes are taken literally."""
        table = Table("source", "tracks", "seconds", "not kept", box=None, pad_edge=False, header_style="bold")
        for row in rows:
            numbers = (str(row.kept), f"{row.seconds:.1f}") if row.kept else ("-", "-")
            table.add_row(Text(row.source), *numbers, Text(row.note))
        return table

    def print(self, console: Console) -> None:
        """Print the table and the summary; of very many files only how often each fate befell them."""
        if len(self.rows) <= ROWS_SHOWN:
            console.print(self.table(self.rows))
        else:
            for note, count in Counter(row.note or "everything kept" for row in self.rows).most_common(ROWS_SHOWN):
                console.print(Text(f"{count:>8}  {note}"))
        console.print(Text(self.summary()))

    def write(self) -> None:
        """Write `report.txt` for people and `report.jsonl`, one row a line, for programs, into the corpus."""
        # Wide enough for any row, so that nothing is cut off.
        width = 60 + max((len(row.source) + len(row.note) for row in self.rows), default=0)
        text = io.StringIO()
        console = Console(file=text, width=width)
        console.print(self.table(self.rows))
        console.print(Text(self.summary()))
        lines = (json.dumps(dataclasses.asdict(row)) + "\n" for row in self.rows)
        for name, content in (("report.txt", text.getvalue()), ("report.jsonl", "".join(lines))):
            with whole(Path(self.corpus, name)) as beside:
                beside.write_text(content, encoding="utf-8")
