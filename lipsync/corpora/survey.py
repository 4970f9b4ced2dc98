"""A look at a corpus's files before training: too many bad ones, and the run stops before its first step."""

from pathlib import Path

import numpy as np

from lipsync.corpora.clips import UNREADABLE, read_pictures, read_sound
from lipsync.corpora.records import SAMPLES_A_FRAME, Manifest
from lipsync.errors import LipsyncError

LOOKED_AT = 100  # clips, evenly spaced
NAMED = 3  # in the error


def reason(error: Exception) -> str:
    """The last line of what a reader says, for a list of clips."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def survey(manifest: Manifest, rows: np.ndarray, most_bad: float) -> dict[str, str]:
    """Reads the last frame and the sound of some clips.

    Args:
        manifest: of the corpus.
        rows: of the clips that will be used.
        most_bad: share of unreadable ones above which the corpus is refused.

    Returns:
        Ids of the unreadable clips and why each is.

    Raises:
        LipsyncError: too many of them are.
    """
    chosen = rows[np.arange(min(len(rows), LOOKED_AT)) * len(rows) // min(len(rows), LOOKED_AT)]
    bad = {}
    for row in chosen:
        record = manifest[row]
        try:
            read_pictures(manifest.root, record, [record.frames - 1])
            read_sound(manifest.root, record, 0, SAMPLES_A_FRAME)
        except UNREADABLE as error:
            bad[record.id] = reason(error)
    if len(bad) > most_bad * len(chosen):
        named = "; ".join(f"{id} ({why})" for id, why in list(bad.items())[:NAMED])
        raise LipsyncError(
            f"{len(bad)} of {len(chosen)} clips of {manifest.root} cannot be read, more than {most_bad:.0%}: {named}: "
            "delete these files and prepare again, or raise data.max_bad"
        )
    return bad


def note(path: Path | None, id: str, why: str) -> None:
    """Appends a clip that cannot be read to a run's list of them."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{id}\t{why}\n")
