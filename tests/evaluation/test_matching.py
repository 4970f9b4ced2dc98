"""Videos are matched by name; what has no partner stays on the list."""

import os
from pathlib import Path

import pytest

from lipsync.errors import LipsyncError
from lipsync.evaluation.matching import couples, fingerprint


def touch(root: Path, *names: str) -> str:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return str(root)


def test_names_are_paths_without_the_ending(tmp_path: Path) -> None:
    generated = touch(tmp_path / "g", "s1/a.mp4", "s1/b.avi", "s1/b.mp4", "s2/a.mp4", "c.d.mp4", "a.wav", "out/x.mp4")
    against = touch(tmp_path / "r", "s1/a.mkv", "s1/b.mp4", "c.d.mpg", "only.mp4")
    found = {couple.name: couple for couple in couples(generated, against, f"{generated}/out")}
    assert list(found) == ["c.d", "only", "s1/a", "s1/b", "s2/a"]
    assert found["s1/a"].generated == [tmp_path / "g/s1/a.mp4"]
    assert found["s1/a"].real == [tmp_path / "r/s1/a.mkv"]
    assert {name: couple.objection() for name, couple in found.items()} == {
        "c.d": None,
        "only": "no generated video of this name",
        "s1/a": None,
        "s1/b": "2 generated videos of this name: b.avi, b.mp4",
        "s2/a": "no real video of this name",
    }


def test_two_files_belong_together_whatever_they_are_called(tmp_path: Path) -> None:
    root = touch(tmp_path, "g/dubbed.mp4", "r/talk.mov", "r/dubbed.mpg")
    (couple,) = couples(f"{root}/g/dubbed.mp4", f"{root}/r/talk.mov", f"{root}/out")
    assert (couple.name, couple.real) == ("dubbed", [tmp_path / "r/talk.mov"])
    assert {each.name: each.objection() for each in couples(f"{root}/g/dubbed.mp4", f"{root}/r", f"{root}/out")} == {
        "dubbed": None,
        "talk": "no generated video of this name",
    }


def test_mistakes_are_named(tmp_path: Path) -> None:
    generated, against = touch(tmp_path / "g", "a.mp4"), touch(tmp_path / "r", "b.mp4")
    empty, out = touch(tmp_path / "e", "notes.txt"), str(tmp_path / "out")
    with pytest.raises(LipsyncError, match=r"no video of .*g \(a, \.\.\.\) is called like one of .*r \(b, \.\.\.\)"):
        couples(generated, against, out)
    with pytest.raises(LipsyncError, match="nowhere: no such folder"):
        couples(generated, f"{tmp_path}/nowhere", out)
    with pytest.raises(LipsyncError, match="e: no videos in this folder"):
        couples(empty, against, out)
    for holding in (generated, str(tmp_path)):
        with pytest.raises(LipsyncError, match=r"holds the videos of .*g; name another folder for the results"):
            couples(generated, against, holding)


def test_the_fingerprint_is_of_what_is_compared(tmp_path: Path) -> None:
    generated, against = touch(tmp_path / "g", "a.mp4"), touch(tmp_path / "r", "a.mp4")

    def now() -> str:
        return fingerprint(couples(generated, against, str(tmp_path / "out")))

    seen = [now(), now()]
    assert seen[0] == seen[1]
    touch(tmp_path / "g", "notes.txt")
    assert now() == seen[0]
    for change in (
        lambda: touch(tmp_path / "g", "b.mp4"),
        lambda: (tmp_path / "g/a.mp4").write_bytes(b"longer"),
        lambda: os.utime(tmp_path / "r/a.mp4", (0, 0)),
        lambda: (tmp_path / "g/b.mp4").rename(tmp_path / "r/b.mp4"),
    ):
        change()
        seen.append(now())
    assert len(set(seen[1:])) == 5
