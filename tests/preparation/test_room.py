"""A disk that fills up at any moment: one line says so, what is finished can be used, and room is all it takes."""

import errno
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from red_squares import contents, raw_video

from lipsync.corpora.records import MANIFEST, load_manifest
from lipsync.corpora.survey import survey
from lipsync.errors import LipsyncError
from lipsync.preparation import room
from lipsync.preparation.prepare import FINISHED, prepare

pytestmark = pytest.mark.usefixtures("_red_squares")
SETTINGS = {"size": 64, "min_face": 40}
A_CLIP = ("0.json", "0.mp4", "0.wav", FINISHED)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two videos of a clip each."""
    for name in ("a", "b"):
        raw_video(tmp_path / "raw" / f"{name}.mkv", seconds=1.2)
    return tmp_path / "raw"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A disk of its own, of so many KiB; asked again, the same one gets another size."""
    place = tmp_path / "disk"
    place.mkdir()

    def size(kib: int) -> Path:
        options = f"{'remount,' if place.is_mount() else ''}size={kib}k"
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no disk may be mounted here")
        return place

    yield size
    if place.is_mount():  # lazily: a manifest may still be mapped
        subprocess.run(["umount", "-l", str(place)], check=True)


def prepared(raw: Path, out: Path) -> str:
    """What stops it, if anything does."""
    try:
        prepare(str(raw), str(out), **SETTINGS)
    except LipsyncError as error:
        return str(error)
    return ""


def usable(out: Path) -> int:
    """How many clips can be trained on, all of them whole; nothing else may lie about."""
    assert not [*out.rglob("*.part"), *out.rglob("sound.wav")]
    sources = [path.name for path in out.iterdir() if path.is_dir() and any(path.glob("*")) and path.name != ".locks"]
    assert all(sorted(os.listdir(out / name)) == sorted(A_CLIP) for name in sources)
    if not (out / MANIFEST).is_file():
        return 0
    manifest = load_manifest(out)
    assert survey(manifest, np.arange(len(manifest)), most_bad=0.0) == {}
    assert {record.source.removesuffix(".mkv") for record in manifest} <= set(sources)
    return len(manifest)


def test_whichever_file_finds_no_room(raw, tmp_path, monkeypatch):
    """The system may say so as late as when a file is synced, which all are; what was begun of the source goes."""
    prepare(str(raw), str(tmp_path / "whole"), **SETTINGS)
    wanted, left = contents(tmp_path / "whole"), []
    told = "the disk is full; free some space and run this again, what is finished stays"
    for moment in itertools.count():
        synced = itertools.count()

        def fill(handle, moment=moment, synced=synced, fsync=os.fsync):
            if next(synced) == moment:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(handle)

        out = tmp_path / f"{moment}"
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fill)
            stopped = prepared(raw, out)
        if not stopped:
            break
        assert stopped == f"{out}: {told}"
        left.append(usable(out))
        prepare(str(raw), str(out), **SETTINGS)
        assert contents(out) == wanted
    # Settings; five files each of a, then of b; b's split, manifest, report and picture.
    assert left[:11] == [0] * 6 + [1] * 5
    assert left[-3:] == [2, 2, 2]
    assert len(left) == 16


def test_a_disk_that_is_really_full(raw, tmp_path, monkeypatch, disk):
    prepare(str(raw), str(tmp_path / "whole"), **SETTINGS)
    wanted, left = contents(tmp_path / "whole"), []
    monkeypatch.setattr(room, "SPARE", 0)
    for kib in range(48, 400, 16):
        out = disk(kib) / "corpus"
        stopped = prepared(raw, out)
        if not stopped:
            break
        assert "the disk is full" in stopped
        left.append(usable(out) if out.is_dir() else 0)
        disk(4096)
        prepare(str(raw), str(out), **SETTINGS)
        assert contents(out) == wanted
        shutil.rmtree(out)
    assert {0, 1} <= set(left)


def test_room_for_the_manifest_is_kept(raw, monkeypatch, disk):
    out = disk((room.SPARE + 2 * room.SPARE_A_SOURCE) // 1024 + 30) / "corpus"
    with pytest.raises(LipsyncError, match="the disk is full"):
        prepare(str(raw), str(out), **SETTINGS)
    assert shutil.disk_usage(out).free > room.SPARE - 2**17
    assert usable(out) == 1


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(PermissionError), room.while_there_is_room(tmp_path):
        raise PermissionError(errno.EACCES, "no")
