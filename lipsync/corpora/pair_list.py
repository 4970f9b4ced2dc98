"""Lists of who speaks with whose sound, in the format that Wav2Lip's and Diff2Lip's evaluations use."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lipsync.corpora.records import Manifest
from lipsync.errors import LipsyncError


def read_pair_list(path: str | Path, manifest: Manifest, rows: np.ndarray) -> np.ndarray:
    """Reads pairs: a line `AUDIO VIDEO` each, or a clip alone, which keeps its own sound.

    A clip is named by its id or by the end of it; where a video became one clip, the video's name is enough, with or
    without its ending: `6330/00011` and `6330/00011.mp4` both mean `main/6330/00011/0`.

    Args:
        path: The list.
        manifest: Of the corpus.
        rows: Numbers of the records that may be meant, of a split.

    Returns:
        (P, 2) int64: rows of the clip that is seen and of the one that is heard.

    Raises:
        LipsyncError: No such file, a line of more than two words, a name of no clip or of several, or a pair twice.
    """
    if not Path(path).is_file():
        raise LipsyncError(f"{path}: no such list of pairs")
    ids: dict[str, set[int]] = {}
    ends: dict[str, set[int]] = defaultdict(set)
    for row in rows.tolist():
        clip = manifest[row].id
        ids[clip] = {row}
        for name in (clip, clip.rpartition("/")[0] or clip):  # preparation numbers the clips of a video
            parts = name.split("/")
            for first in range(len(parts)):
                ends["/".join(parts[first:])].add(row)

    def find(name: str, place: str) -> int:
        # As ids are made of file names (`preparation.sources.identifier`).
        clip = re.sub(r"[^\w/-]", "_", re.sub(r"\.\w{2,4}$", "", name))
        found = ids.get(clip) or ends.get(clip, set())
        if len(found) != 1:
            raise LipsyncError(f"{place}: {name} names {len(found) or 'no'} clips of the split in {manifest.root}")
        return next(iter(found))

    pairs: dict[tuple[int, int], None] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not (words := line.split()):
            continue
        place, heard, seen = f"{path}, line {number}", words[0], words[-1]
        if len(words) > 2:
            raise LipsyncError(f"{place}: {len(words)} words; a line is `AUDIO VIDEO` or a clip alone")
        pair = find(seen, place), find(heard, place)
        if pair in pairs:
            raise LipsyncError(f"{place}: this pair stands in the list twice")
        pairs[pair] = None
    if not pairs:
        raise LipsyncError(f"{path}: no pairs in this list")
    return np.array(list(pairs), dtype=np.int64)


def pair_list(manifest: Manifest, pairs: Sequence[tuple[int, int]]) -> str:
    """Writes pairs of rows, seen and heard, as the lines that `read_pair_list` reads."""
    return "".join(f"{manifest[heard].id} {manifest[seen].id}\n" for seen, heard in pairs)
