"""Raw videos into a corpus: face tracks at 25 frames a second with their sound, a record each, and the manifest."""

import contextlib
import dataclasses
import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from torch import Tensor

from lipsync.corpora.crop import box_in_track, track_boxes
from lipsync.corpora.records import (
    FPS,
    SAMPLES_A_FRAME,
    Record,
    build_manifest,
    claim,
    load_manifest,
    read_record,
    write_record,
)
from lipsync.device import choose_device
from lipsync.errors import LipsyncError
from lipsync.files import whole
from lipsync.preparation.cutting import write_videos
from lipsync.preparation.faces import FaceFinder
from lipsync.preparation.report import Report, Row
from lipsync.preparation.sources import Source, find_sources, split_sources
from lipsync.preparation.tracks import Finder, Track, find_tracks
from lipsync.sound import decode_to_wav, map_wav, write_wav
from lipsync.video import on_grid, probe, read_frames

SETTINGS = "prepare.settings"
FINISHED = "source.finished"  # declares a source done; not .json, for those are the records


def prepare(
    videos: str,
    out: str,
    size: int = 160,
    min_seconds: float = 1.0,
    max_seconds: float = 10.0,
    min_face: int = 48,
    val_fraction: float = 0.1,
    device: str = "auto",
) -> Report:
    """Cut the face tracks out of a folder of videos; run again, it goes on where it was interrupted.

    Args:
        videos: folder, searched with all folders below it.
        out: folder of the corpus; new, empty, or one that was prepared with the same settings.
        size: side of the clips in pixels; one a corpus.
        min_seconds: shorter tracks are not kept.
        max_seconds: longer ones are cut into clips, so that a video of one person can be split, too.
        min_face: side in source pixels under which a face's crop box is not kept.
        val_fraction: share of the sources for val, and the same for test.
        device: where faces are searched: "auto", "cpu", "cuda", ...

    Raises:
        LipsyncError: no videos, an odd size, no such device, an `out` that holds the videos, a corpus of other
            settings or something else, or nothing kept at all.
    """
    if size < 16 or size % 2:
        raise LipsyncError(f"size {size}: clips are squares of an even side, at least 16 pixels")
    root = Path(out)
    if Path(videos).resolve().is_relative_to(root.resolve()):
        raise LipsyncError(f"{out}: holds the videos themselves; name another folder for the corpus")
    sources, others = find_sources(videos, out)
    finder = FaceFinder(choose_device(device))
    if not 0 < min_seconds <= max_seconds:
        raise LipsyncError(f"min_seconds {min_seconds:g} and max_seconds {max_seconds:g}: nothing lies between them")
    settings = {"size": size, "min_seconds": min_seconds, "max_seconds": max_seconds, "min_face": min_face}
    claim(root, SETTINGS, settings)
    console = Console()
    report = Report(str(root))
    rate = TextColumn("{task.fields[rate]}")
    with Progress(TextColumn("videos"), BarColumn(), MofNCompleteColumn(), rate, console=console) as progress:
        task = progress.add_task("videos", total=len(sources), rate="")
        frames = _Counter(progress, task)
        for source in sources:
            report.rows.append(_finished(source, root) or _ingest(source, root, settings, finder, frames))
            progress.advance(task)
    used = [source for source, row in zip(sources, report.rows, strict=True) if row.kept]
    report.rows += [Row(name, note="not a video") for name in others]
    if used:
        _assign_splits(used, root, val_fraction)
        build_manifest(root)
        report.splits = dict(Counter(load_manifest(root).column("split")))
    report.write()
    report.print(console)
    if not used:
        raise LipsyncError(f"{videos}: no face track was kept; {root / 'report.txt'} says why, file by file")
    print(root)
    return report


class _Counter:
    """Lets images through and shows how many a second."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self.progress, self.task, self.count, self.start = progress, task, 0, time.monotonic()

    def __call__(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for image in images:
            self.count += 1
            rate = self.count / (time.monotonic() - self.start)
            self.progress.update(self.task, rate=f"{rate:.0f} frames/s")
            yield image


def _facts(source: Source) -> dict[str, Any]:
    """What a finished source depends on."""
    stat = source.path.stat()
    return {"source": source.name, "bytes": stat.st_size, "modified": stat.st_mtime_ns}


def _finished(source: Source, root: Path) -> Row | None:
    """The row of a source that an earlier run finished, unless the file has changed since."""
    path = root / source.id / FINISHED
    if not path.is_file():
        return None
    state = json.loads(path.read_text(encoding="utf-8"))
    row = state.pop("row")
    return Row(**row) if state == _facts(source) else None


def _ingest(source: Source, root: Path, settings: dict[str, float], finder: Finder, frames: _Counter) -> Row:
    """Prepare one source from the start; whatever is wrong with it ends in its row."""
    folder = root / source.id
    _clear(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        facts = _facts(source)
        row = _cut_tracks(source, root, settings, finder, frames)
    except (LipsyncError, av.error.FFmpegError, ValueError, FileNotFoundError) as error:
        _clear(folder)
        with contextlib.suppress(OSError):  # not empty: other sources lie below
            folder.rmdir()
        return Row(source.name, note=str(error).removeprefix(f"{source.path}: "))
    with whole(folder / FINISHED) as beside:
        beside.write_text(json.dumps(facts | {"row": dataclasses.asdict(row)}), encoding="utf-8")
    return row


def _clear(folder: Path) -> None:
    """Remove what an interrupted run left of a source; folders below belong to other sources."""
    # The declaration goes first: from here on the source is unfinished.
    for pattern in (FINISHED, "*.json", "*.mp4", "*.wav", "*.part"):
        for path in folder.glob(pattern):
            if path.is_file():
                path.unlink()


def _cut_tracks(source: Source, root: Path, settings: dict[str, float], finder: Finder, frames: _Counter) -> Row:
    """Write the clips of one source: pass one finds faces, pass two cuts them out, the records come last."""
    wav = root / source.id / "sound.wav"
    info = probe(source.path)
    sound_start = decode_to_wav(source.path, wav)
    samples = map_wav(wav)
    # The grid counts from the first sample; frames from before it, and after the last one, have no sound.
    skipped = max(0, math.ceil((info.start - sound_start) * FPS - 1e-6))
    start = sound_start + skipped / FPS
    length = max(0, math.ceil(len(samples) / SAMPLES_A_FRAME) - skipped)

    def images() -> Iterator[np.ndarray]:
        return islice(on_grid(read_frames(source.path), start, FPS), length)

    kept, note = _select(find_tracks(frames(images()), finder, FPS), settings)
    boxes = [track.boxes(FPS) for track in kept]
    ids = [f"{source.id}/{k}" for k in range(len(kept))]
    paths = [root / f"{id}.mp4" for id in ids]
    lumas = write_videos(images(), [t.first for t in kept], [track_boxes(b) for b in boxes], paths, settings["size"])
    records = []
    for id, track, box, luma in zip(ids, kept, boxes, lumas, strict=True):
        begin, count = (skipped + track.first) * SAMPLES_A_FRAME, len(track) * SAMPLES_A_FRAME
        sound = samples[begin : begin + count]
        sound = np.pad(sound, (0, count - len(sound)))
        write_wav(root / f"{id}.wav", sound)
        records.append(_record(source, id, track, start, settings["size"], _measure(track, box, luma, sound)))
    del samples
    wav.unlink()
    for record in records:
        write_record(root, record)
    return Row(source.name, len(kept), sum(len(track) for track in kept) / FPS, note)


def _select(tracks: list[Track], settings: dict[str, float]) -> tuple[list[Track], str]:
    """The tracks worth keeping, and in words why the others are not."""
    kept, reasons = [], Counter()
    longest = int(settings["max_seconds"] * FPS)
    for track in chain.from_iterable(found.pieces(longest) for found in tracks):
        if len(track) < settings["min_seconds"] * FPS:
            reasons[f"shorter than {settings['min_seconds']:g} s"] += 1
        elif _side(track.boxes(FPS)) < settings["min_face"]:
            reasons[f"smaller than {settings['min_face']:g} px"] += 1
        else:
            kept.append(track)
    note = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    return kept, note if tracks else "no face found"


def _side(boxes: Tensor) -> float:
    return float(boxes[0, 1] - boxes[0, 0])


def _record(source: Source, id: str, track: Track, start: float, size: int, measurements: dict[str, float]) -> Record:
    return Record(
        id=id,
        video=f"{id}.mp4",
        sound=f"{id}.wav",
        source=source.name,
        speaker=source.id,
        split="train",  # until all sources are known
        frames=len(track),
        size=size,
        box=box_in_track(size),
        start=start + track.first / FPS,
        opening=track.opening().tolist(),
        measurements=measurements,
    )


def _measure(track: Track, boxes: Tensor, luma: float, sound: np.ndarray) -> dict[str, float]:
    """Numbers to filter a corpus by; `opening_std` near 0 means a mouth that never moves."""
    seen = track.presence[track.presence > 0]
    loudness = float(np.sqrt(np.mean((sound / 32768) ** 2)))
    return {
        "face": _side(boxes),
        "presence": float(seen.mean()),
        "interpolated": 1 - len(seen) / len(track),
        "luma": luma,
        "sound_db": 20 * math.log10(max(loudness, 1e-5)),
        "opening_std": float(track.opening().std()),
    }


def _assign_splits(sources: list[Source], root: Path, val_fraction: float) -> None:
    """Give every clip the split of its source, known only now that it is known which sources have clips.

    Where there is one source only, its last clip is for test and the one before for val, as far as there are three.
    """
    splits = split_sources([source.name for source in sources], val_fraction)
    for source in sources:
        paths = (root / source.id).glob("*.json")
        records = sorted((read_record(root, path) for path in paths), key=lambda record: record.start)
        for place, record in enumerate(records, start=-len(records)):
            split = splits[source.name]
            if len(sources) == 1:
                ends = {-1: "test", -2: "val"} if len(records) > 2 else {-1: "val"} if len(records) > 1 else {}
                split = ends.get(place, "train")
            if record.split != split:
                write_record(root, dataclasses.replace(record, split=split))
