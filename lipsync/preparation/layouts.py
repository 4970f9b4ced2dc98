"""Published corpora: where each keeps its clips, its speakers and its splits."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from lipsync.corpora.records import inside
from lipsync.errors import LipsyncError, check_choice
from lipsync.preparation.sources import Source, digest, identifier

VAL_SHARE = 0.02  # of VoxCeleb2's dev speakers, which have no validation set of their own


class Layout(NamedTuple):
    """How a corpus is laid out.

    Attributes:
        find: lists its clips, given the folder.
        within: folder inside the one that was named, where the archive unpacks into one.
        needs: what must lie there; for the error message.
        size: side of its pictures in pixels.
        crop_rule: how faces are cut out of them.
    """

    find: Callable[[Path], Iterator[Source]]
    within: str
    needs: str
    size: int
    crop_rule: str


def find_clips(layout: str, raw: str | Path) -> tuple[Path, list[Source]]:
    """Lists the clips of a published corpus, sorted by name.

    Args:
        layout: One of LAYOUTS.
        raw: Folder that its archive was unpacked in, or into.

    Returns:
        The folder that names are relative to, and the clips.

    Raises:
        LipsyncError: No such layout, folder or list, no clips, or a list that points out of the folder.
    """
    check_choice("layout", layout, LAYOUTS)
    chosen, root = LAYOUTS[layout], Path(raw)
    if not root.is_dir():
        raise LipsyncError(f"{raw}: no such folder; name the folder that holds {chosen.needs}")
    if (root / chosen.within).is_dir():
        root /= chosen.within
    found = sorted(chosen.find(root), key=lambda source: source.name)
    if not found:
        raise LipsyncError(f"{root}: no {layout} corpus: it has no {chosen.needs}")
    return root, found


def lrs2(root: Path) -> Iterator[Source]:
    """LRS2 (mvlrs_v1): `pretrain` and `main`, clips named by the official lists; a folder is a broadcast."""
    for name, part in (("pretrain", "pretrain"), ("train", "main"), ("val", "main"), ("test", "main")):
        path = root / f"{name}.txt"
        if not path.is_file() and name == "pretrain":
            continue  # an archive of its own
        if not path.is_file():
            raise LipsyncError(f"{path}: no such file; the official lists belong beside main/ and pretrain/")
        for line in path.read_text(encoding="utf-8").splitlines():
            if words := line.split():  # test.txt marks some clips by a second word
                clip = f"{part}/{words[0]}.mp4"
                split = "train" if name == "pretrain" else name
                yield _source(inside(root, clip), root, words[0].partition("/")[0], split)


def voxceleb2(root: Path) -> Iterator[Source]:
    """VoxCeleb2, the paper's subset: the first utterance of every video."""
    for _, _, clips in _voxceleb2_videos(root):
        yield next(clips)


def voxceleb2_all(root: Path) -> Iterator[Source]:
    """VoxCeleb2, every utterance."""
    for _, _, clips in _voxceleb2_videos(root):
        yield from clips


def _voxceleb2_videos(root: Path) -> Iterator[tuple[str, str, Iterator[Source]]]:
    """Yields part, speaker and utterances of each video that has any."""
    for part in ("dev", "test"):
        speakers = _folders(root / part / "mp4")
        order = sorted(speakers, key=lambda folder: digest(folder.name))
        val = {folder.name for folder in order[: max(1, round(VAL_SHARE * len(order)))]} if len(order) > 1 else set()
        for speaker in speakers:
            split = "test" if part == "test" else "val" if speaker.name in val else "train"
            for video in _folders(speaker):
                if clips := _files(video, ".mp4"):
                    yield part, speaker.name, (_with_sound(clip, root, speaker.name, split, part) for clip in clips)


def _with_sound(clip: Path, root: Path, speaker: str, split: str, part: str) -> Source:
    """The sound lies in a tree of its own, as the archives have it, or in the video, where somebody put it there."""
    sound = (root / part / "aac" / clip.relative_to(root / part / "mp4")).with_suffix(".m4a")
    return _source(clip, root, speaker, split)._replace(sound=sound if sound.is_file() else None)


def lrw(root: Path) -> Iterator[Source]:
    """LRW: `WORD/train|val|test`; nobody says who talks, so every clip counts as a speaker."""
    for word in _folders(root):
        for split in ("train", "val", "test"):
            for clip in _files(word / split, ".mp4"):
                yield _source(clip, root, clip.stem, split)


def _source(clip: Path, root: Path, speaker: str, split: str) -> Source:
    name = clip.relative_to(root).as_posix()
    return Source(clip, name, identifier(name), speaker, split)


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in _children(path) if child.is_dir())


def _files(path: Path, ending: str) -> list[Path]:
    return sorted(child for child in _children(path) if child.suffix == ending)


def _children(path: Path) -> Iterable[Path]:
    try:
        return list(path.iterdir()) if path.is_dir() else ()
    except PermissionError as error:  # who is missing would change the others' splits
        raise LipsyncError(f"{path} cannot be listed ({error.strerror}): a corpus is taken in as a whole") from None


LAYOUTS = {
    "lrs2": Layout(lrs2, "mvlrs_v1", "train.txt, val.txt, test.txt, main/ and pretrain/", 160, "square"),
    "voxceleb2": Layout(voxceleb2, "", "dev/mp4/ and test/mp4/", 224, "voxceleb2"),
    "voxceleb2_all": Layout(voxceleb2_all, "", "dev/mp4/ and test/mp4/", 224, "voxceleb2"),
    "lrw": Layout(lrw, "lipread_mp4", "WORD/train/, WORD/val/ and WORD/test/", 256, "square"),
}
