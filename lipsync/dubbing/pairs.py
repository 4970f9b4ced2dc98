"""Which videos are dubbed with which sounds: a list, or a folder where both lie."""

import csv
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from lipsync.corpora.records import inside
from lipsync.errors import LipsyncError

SOUNDS = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus")


class Pair(NamedTuple):
    """A video, the sound it is dubbed with, and the name of the result without its ending."""

    video: str
    sound: str
    name: str


def read_pairs(pairs: str | Path, root: str | Path | None = None) -> list[Pair]:
    """Reads a list, a line `VIDEO,SOUND` or `VIDEO,SOUND,NAME` each, or pairs up a folder's files of one stem.

    Args:
        pairs: The list, or the folder.
        root: Folder that the list's paths start from and may not leave; without, the list's own.

    Raises:
        LipsyncError: No pair, a line of another form, a path that leaves `root`, no such file, or a name twice.
    """
    if not Path(pairs).exists():
        raise LipsyncError(f"{pairs}: no such list or folder")
    found = _of_folder(Path(pairs)) if Path(pairs).is_dir() else _of_list(Path(pairs), root)
    if not found:
        raise LipsyncError(
            f"{pairs}: no pair of a video and a sound; a line is VIDEO,SOUND, a folder has a.mp4 and a.wav"
        )
    name, count = Counter(pair.name for pair in found).most_common(1)[0]
    if count > 1:
        raise LipsyncError(f"{pairs}: {count} pairs would be written as {name}; name them, each line VIDEO,SOUND,NAME")
    return found


def _of_folder(folder: Path) -> list[Pair]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    sounds = {path.stem: path for path in files if path.suffix.lower() in SOUNDS}
    videos = [path for path in files if path.suffix.lower() not in SOUNDS and path.stem in sounds]
    return [Pair(str(path), str(sounds[path.stem]), path.stem) for path in videos]


def _of_list(path: Path, root: str | Path | None) -> list[Pair]:
    found, root = [], path.parent if root is None else Path(root)
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise LipsyncError(f"{path}: not a list of lines VIDEO,SOUND ({error})") from error
    for number, line in enumerate(lines, 1):
        words = [word.strip() for word in line]
        if not any(words):
            continue
        if len(words) not in (2, 3) or not all(words):
            raise LipsyncError(f"{path}, line {number}: a line is VIDEO,SOUND or VIDEO,SOUND,NAME")
        video, sound = (inside(root, word) for word in words[:2])
        for file in (video, sound):
            if not file.is_file():
                raise LipsyncError(f"{path}, line {number}: {file}: no such file")
        name = words[2] if len(words) == 3 else f"{video.stem}_{sound.stem}"
        inside(root, name)
        found.append(Pair(str(video), str(sound), name))
    return found
