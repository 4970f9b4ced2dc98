"""Room on the disk: a preparation stops when there is none, with a corpus that can be used."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from lipsync.errors import LipsyncError

FULL = (errno.ENOSPC, errno.EDQUOT)
# Kept free, or there would be clips and no room for their manifest: bytes, and bytes a source.
SPARE, SPARE_A_SOURCE = 16 * 2**20, 2048


class DiskFullError(LipsyncError):
    """No room for what is still to be written."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root

    def __str__(self) -> str:
        return f"{self.root}: the disk is full; free some space and run this again, what is finished stays"


def check_room(root: Path, sources: int) -> None:
    """Raises DiskFullError where hardly more is left than the manifest of so many sources will need."""
    if shutil.disk_usage(root).free < SPARE + SPARE_A_SOURCE * sources:
        raise DiskFullError(root)


@contextlib.contextmanager
def while_there_is_room(root: Path) -> Iterator[None]:
    """Turns the system's word for a full disk into DiskFullError."""
    try:
        yield
    except OSError as error:  # PyAV's errors are some, too
        if error.errno not in FULL:
            raise
        raise DiskFullError(root) from error
