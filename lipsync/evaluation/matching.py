"""Which generated video belongs to which real one: those of one name."""

import zlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lipsync.errors import LipsyncError
from lipsync.preparation.sources import find_sources


class Couple(NamedTuple):
    """What there is under a name: generated and real videos, one of each where they can be compared."""

    name: str
    generated: list[Path]
    real: list[Path]

    def objection(self) -> str | None:
        """Says why they cannot be compared, if they cannot."""
        for kind, found in (("generated", self.generated), ("real", self.real)):
            if not found:
                return f"no {kind} video of this name"
            if len(found) > 1:
                return f"{len(found)} {kind} videos of this name: {', '.join(path.name for path in found)}"
        return None


def couples(generated: str, against: str, out: str) -> list[Couple]:
    """Matches videos, single files or all of a folder and of those below it, by their paths in it without the ending.

    Two single files belong together whatever they are called.

    Raises:
        LipsyncError: No such folder, no video in one, not one pair, or videos that lie in `out`.
    """
    for given in (generated, against):
        if Path(given).resolve().is_relative_to(Path(out).resolve()):
            raise LipsyncError(f"{out}: holds the videos of {given}; name another folder for the results")
    theirs, ours = named(generated, out), named(against, out)
    if Path(generated).is_file() and Path(against).is_file():
        ours = dict(zip(theirs, ours.values(), strict=True))
    if not theirs.keys() & ours.keys():
        raise LipsyncError(
            f"no video of {generated} ({next(iter(theirs))}, ...) is called like one of {against} "
            f"({next(iter(ours))}, ...): a pair has the same path in both, but for the ending"
        )
    return [Couple(name, theirs.get(name, []), ours.get(name, [])) for name in sorted(theirs.keys() | ours.keys())]


def named(videos: str, out: str) -> dict[str, list[Path]]:
    """Videos by name: path below the folder, without the ending."""
    if Path(videos).is_file():
        return {Path(videos).stem: [Path(videos)]}
    found: dict[str, list[Path]] = {}
    for source in find_sources(videos, out)[0]:
        found.setdefault(PurePosixPath(source.name).with_suffix("").as_posix(), []).append(source.path)
    return found


def fingerprint(matched: list[Couple]) -> str:
    """A short name of what is compared: videos that were changed, added or taken away have another."""
    states = [
        (couple.name, kind, path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for couple in matched
        for kind, paths in (("generated", couple.generated), ("real", couple.real))
        for path in paths
    ]
    return f"{zlib.crc32(repr(states).encode()):08x}"
