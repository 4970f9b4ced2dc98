"""Lists and folders of pairs, and what is wrong with others."""

from pathlib import Path

import pytest

from lipsync.dubbing.pairs import Pair, read_pairs
from lipsync.errors import LipsyncError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "a.wav", "b.mov", "b.MP3", "c.mp4", "d.wav", ".a.mp4", "in/e.mkv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_folder_pairs_by_stem(folder: Path) -> None:
    assert read_pairs(folder) == [
        Pair(str(folder / "a.mp4"), str(folder / "a.wav"), "a"),
        Pair(str(folder / "b.mov"), str(folder / "b.MP3"), "b"),
    ]


def test_list(folder: Path) -> None:
    path = folder / "in" / "list.csv"
    path.write_text('a.mp4, d.wav\n\n"c.mp4","d.wav",named/so\n in/e.mkv ,a.wav\n')
    assert read_pairs(path, root=folder) == [
        Pair(str(folder / "a.mp4"), str(folder / "d.wav"), "a_d"),
        Pair(str(folder / "c.mp4"), str(folder / "d.wav"), "named/so"),
        Pair(str(folder / "in/e.mkv"), str(folder / "a.wav"), "e_a"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no pair"),
        ("a.mp4\n", "line 1: a line is VIDEO,SOUND"),
        ("a.mp4,d.wav\na.mp4,,x\n", "line 2: a line is VIDEO,SOUND"),
        ("a.mp4,absent.wav\n", r"line 1: .*absent.wav: no such file"),
        ("../a.mp4,d.wav\n", "leaves"),
        ("/etc/passwd,d.wav\n", "leaves"),
        ("a.mp4,d.wav,../x\n", "leaves"),
        ("a.mp4,d.wav\nc.mp4,d.wav,a_d\n", "2 pairs would be written as a_d"),
        ("a\0,d.wav\n", "no such file"),
    ],
)
def test_bad_lists(folder: Path, text: str, words: str) -> None:
    path = folder / "list.csv"
    path.write_text(text)
    with pytest.raises(LipsyncError, match=words):
        read_pairs(path)


def test_no_list_and_bytes(folder: Path) -> None:
    with pytest.raises(LipsyncError, match="no such list"):
        read_pairs(folder / "absent.csv")
    (folder / "list.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LipsyncError, match="not a list"):
        read_pairs(folder / "list.csv")
    with pytest.raises(LipsyncError, match="no pair"):
        read_pairs(folder / "in")
