"""First pass over the source: where every face is in every frame, kept on disk for the next dub of the same video."""

import hashlib
import io
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lipsync.checkpoints import fingerprint
from lipsync.corpora.landmarks import TRACKED
from lipsync.dubbing.read import Format, PlaneFrame, read_planes, to_image
from lipsync.dubbing.stream import ahead
from lipsync.files import whole
from lipsync.preparation.faces import FaceFinder
from lipsync.preparation.tracks import CutDetector, Finder, Track, follow

# Times a second that faces are looked for, at the least; what is painted is smoothed over three frames of 25.
LOOKS = 12
AHEAD = 8  # pictures decoded while faces are looked for
VERSION = 5  # of what is found: tracks that another version kept are found anew
KEPT = 500_000_000  # bytes of all kept tracks together
DIGEST = 32  # bytes before the content that say whether it is whole


class Survey(NamedTuple):
    """What the first pass knows of a video.

    Attributes:
        pts: (F,) int64 of every frame, as in the file.
        end: Of the last frame, in the same ticks.
        tracks: Every face, in the order of their first frames, left to right: a face's number is its place here.
        cuts: (C,) int64, numbers of the frames that begin a new shot, the video's first not among them.
    """

    pts: np.ndarray
    end: int
    tracks: list[Track]
    cuts: np.ndarray


def survey(
    video: str | Path,
    source: Format,
    finder: Finder,
    watch: Callable[[Iterable[PlaneFrame]], Iterable[PlaneFrame]] = iter,
) -> Survey:
    """Finds all faces of a video in one pass of which only points stay, or remembers them from an earlier one.

    Kept are the tracks of the shipped face networks only, by the file's place, size and time and the networks' weights.

    Args:
        watch: Passes the frames on; whoever shows progress counts them here.
    """
    kept = _kept_at(video, finder) if isinstance(finder, FaceFinder) else None
    if kept is not None and (known := load(kept)) is not None:
        return known
    found = _find(watch(read_planes(video, source)), source, finder)
    if kept is not None:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            save(kept, found)
            prune(kept.parent)
        except OSError as error:
            _not_kept(str(kept.parent), str(error))
    return found


def _find(frames: Iterable[PlaneFrame], source: Format, finder: Finder) -> Survey:
    pts, cuts, end = array("q"), array("q"), 0
    begins, every = CutDetector(source.colour.span), max(1, int(source.rate / LOOKS))
    looks = (
        (frame.pts, frame.duration, begins(frame.planes[0]), None if place % every else to_image(frame, source))
        for place, frame in enumerate(frames)
    )
    made = ahead(looks, AHEAD)

    def noted() -> Iterator[tuple[bool, np.ndarray | None]]:
        nonlocal end
        for time, duration, is_cut, image in made:
            if is_cut:
                cuts.append(len(pts))
            pts.append(time)
            end = last_end(time, duration, source)
            yield is_cut, image

    with closing(made):
        tracks = follow(noted(), finder, float(source.rate))
    edges = np.array([0, *cuts, len(pts)])
    tracks = [reaching(track, edges, every - 1) for track in tracks]
    return Survey(np.array(pts, np.int64), end, tracks, np.array(cuts, np.int64))


def last_end(pts: int, duration: int, source: Format) -> int:
    """When a video's last frame ends: by the header, where that is about the frame's own duration later.

    The demuxer takes durations from packets in the order of decoding, so that with B-frames the last may be another's.
    """
    step = max(duration, round(1 / (source.rate * source.time_base)))
    known = source.end is not None and pts < source.end <= pts + 2 * step
    return source.end if known else pts + duration


def reaching(track: Track, edges: np.ndarray, most: int) -> Track:
    """Prolongs a track at both ends by at most so many frames, which nobody looked at, and not beyond its shot.

    Amid a shot only backwards, or it would run into a track that begins with the next look.

    Args:
        edges: Rising numbers of the frames that begin a shot, and of the one after the last.
    """
    last = track.first + len(track)
    before = min(most, track.first - int(edges[np.searchsorted(edges, track.first, side="right") - 1]))
    left = int(edges[np.searchsorted(edges, last)]) - last
    after = left if left <= most else 0

    def longer(known: np.ndarray, **how: object) -> np.ndarray:
        return np.pad(known, [(before, after)] + [(0, 0)] * (known.ndim - 1), **how)

    points = {point: longer(places, mode="edge") for point, places in track.points.items()}
    unseen = longer(track.presence), longer(track.pose, constant_values=np.nan)
    return Track(track.first - before, points, *unseen, longer(track.company, mode="edge"))


def folder() -> Path:
    """Where tracks are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "lipsync", "tracks")


def _kept_at(video: str | Path, finder: FaceFinder) -> Path:
    path = Path(video).resolve()
    about = path.stat()
    networks = fingerprint(finder.detector), fingerprint(finder.mesh)
    key = repr((str(path), about.st_size, about.st_mtime_ns, networks, TRACKED, VERSION))
    return folder() / f"{hashlib.sha256(key.encode()).hexdigest()}.tracks"


def save(path: Path, found: Survey) -> None:
    """Writes a survey as a digest and an .npz of plain arrays; raises OSError where that cannot be."""
    tracks = found.tracks
    arrays = {
        "pts": found.pts,
        "end": np.int64(found.end),
        "cuts": found.cuts,
        "first": np.array([track.first for track in tracks], np.int64),
        "length": np.array([len(track) for track in tracks], np.int64),
        "points": _joined([np.stack([track.points[p] for p in TRACKED], 1) for track in tracks], (len(TRACKED), 2)),
        "presence": _joined([track.presence for track in tracks], ()),
        "pose": _joined([track.pose for track in tracks], (3,)),
        "company": _joined([track.company for track in tracks], ()).astype(bool),
    }
    content = io.BytesIO()
    np.savez(content, **arrays)
    with whole(path, contested=True) as beside:
        beside.write_bytes(hashlib.sha256(content.getvalue()).digest() + content.getvalue())


def load(path: Path) -> Survey | None:
    """Reads a survey, or None where there is none, or one that was damaged; what was read counts as new again."""
    try:
        digest, content = (content := path.read_bytes())[:DIGEST], content[DIGEST:]
        if hashlib.sha256(content).digest() != digest:
            return None
        os.utime(path)
    except OSError:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    ends = np.cumsum(arrays["length"])[:-1]
    parts = (np.split(arrays[name], ends) for name in ("points", "presence", "pose", "company"))
    tracks = [
        Track(int(first), dict(zip(TRACKED, points.swapaxes(0, 1), strict=True)), *rest)
        for first, points, *rest in zip(arrays["first"], *parts, strict=False)  # no tracks still split into one part
    ]
    return Survey(arrays["pts"], int(arrays["end"]), tracks, arrays["cuts"])


def prune(folder: Path, most: int = KEPT) -> None:
    """Removes the files used longest ago until the others have `most` bytes together."""
    total = 0
    files = []
    for path in folder.glob("*.tracks"):
        with suppress(FileNotFoundError):  # another process prunes, too
            files.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    for _, size, path in sorted(files, reverse=True):
        total += size
        if total > most:
            path.unlink(missing_ok=True)


def _joined(parts: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """(sum of lengths, *shape) float32, also of no parts at all."""
    return np.concatenate([np.zeros((0, *shape), np.float32), *parts])


@cache
def _not_kept(folder: str, why: str) -> None:
    """Said once."""
    print(f"{folder}: tracks cannot be kept there ({why}); the next dub of the same video will look for them again")
