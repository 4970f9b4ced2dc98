"""Raw files: which of a folder are videos, what they are called in the corpus, and which split each belongs to."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lipsync.errors import LipsyncError

VIDEO_ENDINGS = frozenset([".mp4", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".m4v", ".ts", ".flv", ".wmv"])


class Source(NamedTuple):
    """A raw video.

    Attributes:
        path: where it lies.
        name: its path relative to the folder of all of them.
        id: its name in the corpus.
        speaker: who talks; the id where nobody says.
        split: as its publishers have it; by a hash of its name where they have none.
        sound: file of its sound where that is another one.
    """

    path: Path
    name: str
    id: str
    speaker: str | None = None
    split: str | None = None
    sound: Path | None = None


def find_sources(videos: str | Path, out: str | Path) -> tuple[list[Source], dict[str, str]]:
    """Look for videos in a folder and all folders below it, except in the corpus `out`.

    Returns:
        The videos, and what else there is by its name: files of other kinds, and folders that may not be read, each
        with what is wrong with it; both sorted.

    Raises:
        LipsyncError: no such folder, or no video in it.
    """
    if not Path(videos).is_dir():
        raise LipsyncError(f"{videos}: no such folder; name the folder that holds the videos")
    found, others, corpus = [], {}, Path(out).resolve()

    def closed(error: OSError) -> None:
        others[_name(Path(error.filename), videos)] = f"cannot be listed: {error.strerror}"

    for folder, folders, files in os.walk(videos, onerror=closed):
        folders[:] = [name for name in folders if Path(folder, name).resolve() != corpus]
        for path in (Path(folder, file) for file in files):
            if path.suffix.lower() in VIDEO_ENDINGS:
                found.append(Source(path, _name(path, videos), identifier(_name(path, videos))))
            else:
                others[_name(path, videos)] = "not a video"
    if not found:
        raise LipsyncError(f"{videos}: no videos in this folder ({' '.join(sorted(VIDEO_ENDINGS))})")
    uses = Counter(source.id for source in found)
    # Two files that would get one id are told apart by a hash of their names.
    unique = [s if uses[s.id] == 1 else s._replace(id=f"{s.id}-{digest(s.name)[:8]}") for s in found]
    return sorted(unique, key=lambda source: source.name), dict(sorted(others.items()))


def _name(path: Path, videos: str | Path) -> str:
    # A name that is not Unicode could be neither printed nor written to a report.
    return path.relative_to(videos).as_posix().encode("utf-8", "replace").decode()


def identifier(name: str) -> str:
    """The name without its ending; no dots, so it never leads upwards, nor looks like a file of the corpus."""
    return re.sub(r"[^\w/-]", "_", name.rpartition(".")[0])


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def split_sources(names: Iterable[str], val_fraction: float) -> dict[str, str]:
    """Share sources out by a hash of their names, about `val_fraction` each to val and to test.

    More videos later move no old one, save where there were too few: of two or more sources at least one is in val, of
    three or more one in test, and one is always in train.
    """
    place = {name: int(digest(name)[:8], 16) / 2**32 for name in names}
    order = sorted(place, key=lambda name: (place[name], name))
    least_val, least_test = len(order) >= 2, len(order) >= 3
    val = max(sum(place[name] < val_fraction for name in order), least_val)
    val = max(min(val, len(order) - 1 - least_test), 0)
    test = max(sum(place[name] < 2 * val_fraction for name in order) - val, least_test)
    test = max(min(test, len(order) - 1 - val), 0)
    return {name: "val" if k < val else "test" if k < val + test else "train" for k, name in enumerate(order)}
