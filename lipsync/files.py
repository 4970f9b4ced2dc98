"""Files that appear under their names whole or not at all."""

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)
told: set[Path] = set()  # files that `tolerated` has spoken of


@contextmanager
def whole(path: str | Path, contested: bool = False) -> Iterator[Path]:
    """Yields a path beside `path` to write to; on a clean exit it is synced and renamed, on an error removed.

    Args:
        path: where the file belongs.
        contested: several may write the same file at once; each has its own beside, the last rename wins.

    Raises:
        OSError: the file cannot be synced or renamed, for example because nothing was written.
    """
    path = Path(path)
    # Not the process's number: two containers that share a disk may both be number 1.
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part" if contested else f"{path.name}.part")
    try:
        yield beside
        publish(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def publish(beside: Path, path: Path) -> None:
    """Syncs a finished file and gives it its name."""
    # On the disk before it has its name: a crash in between must not leave an empty file under it.
    with open(beside, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)


@contextmanager
def tolerated(path: Path) -> Iterator[None]:
    """Lets a run outlive a full disk: what cannot be written to `path` is left out, which is said once."""
    try:
        yield
    except OSError as error:
        if path not in told:
            told.add(path)
            log.warning("%s cannot be written, the run goes on and tries again: %s", path, error)
