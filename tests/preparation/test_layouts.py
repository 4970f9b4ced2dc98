import errno
import os
from pathlib import Path

import pytest

from lipsync.errors import LipsyncError
from lipsync.preparation.layouts import find_clips


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def listed(layout: str, root: Path) -> dict[str, tuple]:
    return {source.name: (source.id, source.speaker, source.split) for source in find_clips(layout, root)[1]}


def test_lrs2_is_what_its_lists_say(tmp_path):
    root = touch(tmp_path / "mvlrs_v1", "main/55/00001.mp4", "main/55/00002.mp4", "main/66/00001.mp4")
    touch(root, "pretrain/55/00009.mp4", "main/99/00001.mp4")  # the last is in no list
    (root / "pretrain.txt").write_text("55/00009\n")
    (root / "train.txt").write_text("55/00001\n55/00002\n\n")
    (root / "val.txt").write_text("66/00001\n")
    (root / "test.txt").write_text("77/00001 MV\n")
    found = {
        "main/55/00001.mp4": ("main/55/00001", "55", "train"),
        "main/55/00002.mp4": ("main/55/00002", "55", "train"),
        "main/66/00001.mp4": ("main/66/00001", "66", "val"),
        "main/77/00001.mp4": ("main/77/00001", "77", "test"),  # listed and not there: preparation says so
        "pretrain/55/00009.mp4": ("pretrain/55/00009", "55", "train"),
    }
    assert listed("lrs2", tmp_path) == listed("lrs2", root) == found
    (root / "pretrain.txt").unlink()
    assert len(listed("lrs2", root)) == 4
    (root / "val.txt").write_text("../../../etc/passwd\n")
    with pytest.raises(LipsyncError, match=r"leaves .*: use paths relative to it"):
        find_clips("lrs2", root)
    (root / "val.txt").unlink()
    with pytest.raises(LipsyncError, match=r"val\.txt: no such file"):
        find_clips("lrs2", root)


def test_voxceleb2_takes_first_utterances_and_finds_their_sound(tmp_path):
    videos = ("id1/aa/00002", "id1/aa/00010", "id1/bb/00001", "id2/cc/00001", "id3/dd/00005")
    touch(tmp_path, *(f"dev/mp4/{name}.mp4" for name in videos), *(f"dev/aac/{name}.m4a" for name in videos[:-1]))
    touch(tmp_path, "test/mp4/id9/ee/00003.mp4", "test/mp4/id9/ee/00003.txt")
    first, every = listed("voxceleb2", tmp_path), listed("voxceleb2_all", tmp_path)
    assert first.keys() == every.keys() - {"dev/mp4/id1/aa/00010.mp4"}
    assert len(every) == 6
    assert first["dev/mp4/id1/aa/00002.mp4"][:2] == ("dev/mp4/id1/aa/00002", "id1")
    assert first["test/mp4/id9/ee/00003.mp4"] == ("test/mp4/id9/ee/00003", "id9", "test")
    assert every.items() >= first.items()
    splits = {speaker: split for _, speaker, split in every.values()}
    assert sorted(splits.values()) == ["test", "train", "train", "val"]
    sounds = {source.name: source.sound for source in find_clips("voxceleb2", tmp_path)[1]}
    assert sounds["dev/mp4/id2/cc/00001.mp4"] == tmp_path / "dev/aac/id2/cc/00001.m4a"
    assert sounds["dev/mp4/id3/dd/00005.mp4"] is None


def test_lrw_is_what_its_folders_say(tmp_path):
    root = touch(tmp_path / "lipread_mp4", "ABOUT/train/ABOUT_00001.mp4", "ABOUT/test/ABOUT_00002.mp4")
    touch(root, "WOULD/val/WOULD_00001.mp4", "WOULD/val/WOULD_00001.txt")
    assert listed("lrw", tmp_path) == {
        "ABOUT/test/ABOUT_00002.mp4": ("ABOUT/test/ABOUT_00002", "ABOUT_00002", "test"),
        "ABOUT/train/ABOUT_00001.mp4": ("ABOUT/train/ABOUT_00001", "ABOUT_00001", "train"),
        "WOULD/val/WOULD_00001.mp4": ("WOULD/val/WOULD_00001", "WOULD_00001", "val"),
    }


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(LipsyncError, match="'lrs3' is none of lrs2, voxceleb2"):
        find_clips("lrs3", tmp_path)
    with pytest.raises(LipsyncError, match="no such folder"):
        find_clips("lrw", tmp_path / "none")
    for layout, needed in (("lrw", "WORD/train/"), ("voxceleb2", "dev/mp4/")):
        with pytest.raises(LipsyncError, match=f"no {layout} corpus: it has no {needed}"):
            find_clips(layout, tmp_path)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    touch(tmp_path, *(f"dev/mp4/id{k}/aa/00001.mp4" for k in range(3)))

    def listed(self, iterdir=Path.iterdir):
        if self.name == "id1":  # root may list every folder
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", listed)
    with pytest.raises(LipsyncError, match=r"mp4/id1 cannot be listed \(Permission denied\)"):
        find_clips("voxceleb2", tmp_path)
