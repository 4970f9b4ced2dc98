"""The picture on its way to the disk: closed segments in a folder beside the output; a killed run goes on from them."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av import Packet
from av.video.stream import VideoStream
from filelock import FileLock, Timeout

from lipsync.container import open_media
from lipsync.dubbing.encoder import GOP, Encoder, add_picture
from lipsync.dubbing.read import Format, PlaneFrame, to_video_frame
from lipsync.dubbing.timeline import Timeline
from lipsync.errors import LipsyncError
from lipsync.files import whole

SEGMENT = GOP  # frames
RECIPE, LOCK = "recipe.json", "lock"


@contextmanager
def workplace(out: Path, recipe: dict[str, object], resume: bool) -> Iterator[Path]:
    """Yields the folder OUT.part, which no other process has; gone on a clean exit and after an error.

    What ends the process (Ctrl-C, a signal) leaves it, for `resume`.

    Args:
        recipe: All that the frames depend on.
        resume: Goes on with what an earlier run of the same recipe left, instead of removing it.

    Raises:
        LipsyncError: Another process has it, it was made by another recipe, or it is not of our making.
    """
    folder = out.with_name(f"{out.name}.part")
    if folder.exists() and not folder.is_dir():
        raise LipsyncError(f"{folder}: is in the way; remove it")
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LipsyncError(f"{out}: another process is writing it") from None
    try:
        found = _found(folder, recipe, resume)
        try:
            if not found:
                _begin(folder, recipe)
            yield folder
        except Exception:
            # Hours of work may be done; who resumed once will do so again.
            if not (resume and _path(folder, 0).exists()):
                shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)
    finally:
        (folder / LOCK).unlink(missing_ok=True)  # while it is held, or it might be another's
        lock.release()


def encode_segments(
    folder: Path, frames: Callable[[int], Iterator[PlaneFrame]], timeline: Timeline, source: Format, encoder: Encoder
) -> None:
    """Encodes the frames whose segments are not in the folder yet.

    Args:
        frames: Makes the frames from a position on.
    """
    total = len(timeline.pts)
    starts = range(0, total, SEGMENT)
    first = next((start for start in starts if not _path(folder, start).exists()), total)
    if first == total:
        return
    with closing(frames(first)) as made:
        for start in starts[first // SEGMENT :]:
            with whole(_path(folder, start)) as beside:
                _encode(beside, islice(made, SEGMENT), timeline, start, source, encoder)


def _encode(
    path: Path, frames: Iterable[PlaneFrame], timeline: Timeline, start: int, source: Format, encoder: Encoder
) -> None:
    """Encodes the segment that starts at a position, into a file that starts at time 0."""
    stop = min(start + SEGMENT, len(timeline.pts))
    with av.open(f"file:{path}", "w", format="mp4") as container:
        stream = add_picture(container, encoder, source)
        position = start
        for position, frame in enumerate(frames, start + 1):
            picture = to_video_frame(frame, source)
            picture.pts = int(timeline.pts[position - 1] - timeline.pts[start])
            picture.duration = int(timeline.durations[position - 1])
            container.mux(stream.encode(picture))
        if position < stop:
            raise LipsyncError(f"the video ended after {position} of {len(timeline.pts)} frames; was it replaced?")
        container.mux(stream.encode(None))


def segment_packets(
    folder: Path, stream: VideoStream, timeline: Timeline, begin: int, time_base: Fraction
) -> Iterator[Packet]:
    """Reads the segments' packets for `stream`, with the times of the frames that they hold.

    Frames leave the encoder in another order than they are shown in. A packet's pts is that of its frame by rank, and
    its dts the pts of the frame `delay` places before its own place: that rises across the segments' borders, and with
    the least delay of all segments never exceeds the pts.

    Args:
        begin: Pts of the first frame.
    """
    total = len(timeline.pts)
    ranks = np.concatenate([start + _ranks(_path(folder, start)) for start in range(0, total, SEGMENT)])
    delay = int((np.arange(total) - ranks).max())
    before = np.arange(-delay, 0) * int(timeline.durations[0])
    dts = np.concatenate([before, timeline.pts])
    position = 0
    for start in range(0, total, SEGMENT):
        with open_media(_path(folder, start)) as container:
            for packet in _packets(container):
                rank = ranks[position]
                packet.stream, packet.time_base = stream, time_base
                packet.pts, packet.dts = begin + int(timeline.pts[rank]), begin + int(dts[position])
                packet.duration = int(timeline.durations[rank])
                position += 1
                yield packet


def first_segment(folder: Path) -> Path:
    """Names the segment that all others are like."""
    return _path(folder, 0)


def _path(folder: Path, start: int) -> Path:
    return folder / f"{start:09}.mp4"


def _packets(container: av.container.InputContainer) -> Iterator[Packet]:
    return (packet for packet in container.demux(video=0) if packet.size)


def _ranks(path: Path) -> np.ndarray:
    """(N,) place in the order of presentation of each packet of a segment."""
    with open_media(path) as container:
        times = np.array([packet.pts for packet in _packets(container)])
    return times.argsort().argsort()


def _found(folder: Path, recipe: dict[str, object], resume: bool) -> bool:
    """Whether the folder has work to go on with; raises LipsyncError where it has work that cannot be taken."""
    if not (folder / RECIPE).exists():
        if any(entry.name != LOCK for entry in folder.iterdir()):
            raise LipsyncError(f"{folder}: is not the work of an earlier run; remove it")
        return False
    if not resume:
        print(f"{folder}: what an interrupted run left is removed (--resume would have gone on with it)")
        return False
    before, now = json.loads((folder / RECIPE).read_text()), json.loads(_written(recipe))
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise LipsyncError(
                f"--resume: {name} was {before.get(name)} and is {now.get(name)}: run as before, or remove {folder}"
            )
    return True


def _begin(folder: Path, recipe: dict[str, object]) -> None:
    """Empties the folder, which then is a recipe's own."""
    for entry in folder.iterdir():
        if entry.name != LOCK:
            entry.unlink()
    with whole(folder / RECIPE) as beside:
        beside.write_text(_written(recipe))


def _written(recipe: dict[str, object]) -> str:
    return json.dumps(recipe, indent=1, default=str)
