"""Files that appear under their names whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to; on a clean exit it is synced and renamed, on an error removed.

    Raises:
        OSError: the file cannot be synced or renamed, for example because nothing was written.
    """
    path = Path(path)
    # Of its own for every process: several may write the same file at once, and the last to rename wins.
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
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
