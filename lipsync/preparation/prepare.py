"""Raw videos into a corpus: clips at 25 frames a second with their sound, a record each, and the manifest."""

import contextlib
import dataclasses
import json
import os
from collections import Counter
from functools import partial
from pathlib import Path

import av
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lipsync.checkpoints import load_expert
from lipsync.corpora.records import SETTINGS, build_manifest, claim, load_manifest, read_record, write_record
from lipsync.device import choose_device
from lipsync.errors import LipsyncError
from lipsync.files import whole
from lipsync.preparation.costs import costs
from lipsync.preparation.crew import alone, cores, work
from lipsync.preparation.faces import FaceFinder
from lipsync.preparation.ingest import IN_PLACE, LINK, Settings, ingest
from lipsync.preparation.layouts import LAYOUTS, find_clips
from lipsync.preparation.report import Report, Row
from lipsync.preparation.room import FULL, DiskFullError, check_room, while_there_is_room
from lipsync.preparation.sources import Source, find_sources, split_sources
from lipsync.preparation.sync import sync
from lipsync.preparation.tracks import Finder

FINISHED = "source.finished"  # declares a source done; not .json, for those are the records
SIZE = 160  # of clips that are cut out of a folder of videos


def prepare(
    videos: str,
    out: str,
    layout: str = "",
    size: int | None = None,
    min_seconds: float = 1.0,
    max_seconds: float = 10.0,
    min_face: int = 48,
    look_every: int = 5,
    val_fraction: float = 0.1,
    expert: str | None = None,
    device: str = "auto",
    processes: int | None = None,
    shard: str = "1/1",
) -> Report:
    """Cut the face tracks out of a folder of videos, or take in a published corpus; run again, it goes on.

    Args:
        videos: folder, searched with all folders below it, or laid out as `layout` says.
        out: folder of the corpus; new, empty, or one that was prepared with the same settings.
        layout: lrs2, voxceleb2 (the first utterance of every video), voxceleb2_all or lrw; their clips are used where
            they lie if they are what they should be, and cut out anew if not.
        size: side of the clips in pixels, one a corpus; 160, or that of the layout.
        min_seconds: shorter tracks are not kept.
        max_seconds: longer ones are cut into clips, so that a video of one person can be split, too.
        min_face: side in source pixels under which a face's crop box is not kept.
        look_every: in training clips used in place, faces are looked for in every so many frames; with 1 their records
            have the mouth's opening, too.
        val_fraction: share of the sources for val, and the same for test; a layout has splits of its own.
        expert: a trained SyncExpert, or the name of a shipped one: measures every clip's sync when all is done.
        device: where faces are searched: "auto", "cpu", "cuda", ...
        processes: how many work at once; one a core.
        shard: "2/8" prepares the second eighth: a job of an array, in any order, also at the same time.

    Raises:
        LipsyncError: no videos, an odd size, no such device, an `out` that holds the videos, a corpus of other
            settings or something else, a full disk, or nothing kept at all.
    """
    size = size or (LAYOUTS[layout].size if layout in LAYOUTS else SIZE)
    if size < 16 or size % 2:
        raise LipsyncError(f"size {size}: clips are squares of an even side, at least 16 pixels")
    if not 0 < min_seconds <= max_seconds:
        raise LipsyncError(f"min_seconds {min_seconds:g} and max_seconds {max_seconds:g}: nothing lies between them")
    if look_every < 1:
        raise LipsyncError(f"look_every {look_every}: every first frame at least")
    own = parse_shard(shard)
    root = Path(out)
    if Path(videos).resolve().is_relative_to(root.resolve()):
        raise LipsyncError(f"{out}: holds the videos themselves; name another folder for the corpus")
    raw, others = None, {}
    if layout:
        raw, sources = find_clips(layout, videos)
    else:
        sources, others = find_sources(videos, out)
    place = choose_device(device)
    rule = LAYOUTS[layout].crop_rule if layout else "square"
    settings = Settings(size, rule, min_seconds, max_seconds, min_face, look_every if layout else 1, layout)
    if expert is not None:
        load_expert(expert)  # says now what is wrong with it
    with while_there_is_room(root):
        claim(root, SETTINGS, settings._asdict())
        if raw is not None:
            _link(root / LINK, raw)

    console, full = Console(), None
    columns = (TextColumn("videos"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("left"))
    takes = partial(_take, root=root, settings=settings, sources=len(sources))
    equips = partial(_equip, place)
    taken = work(takes, sources[own], processes or cores(), equips)
    with Progress(*columns, console=console) as progress, contextlib.closing(taken):
        try:
            for _ in progress.track(taken, total=len(sources[own])):
                pass
        except DiskFullError as error:
            full = error
    with while_there_is_room(root):
        # One process at a time: the last one sees what all have finished.
        with alone(root):
            report = _conclude(root, sources, others, None if layout else val_fraction)
        report.print(console)
        if report.kept:
            costs(out)
        if full is not None:
            raise full
        if not report.kept and own == slice(0, None, 1):
            raise LipsyncError(f"{videos}: no face track was kept; {root / 'report.txt'} says why, file by file")
        if expert is not None and report.kept:
            sync(out, expert, device=device)
    print(root)
    return report


def parse_shard(shard: str) -> slice:
    """Turns "2/8" into the slice of the second of every eight; raises LipsyncError for anything else."""
    number, _, of = shard.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise LipsyncError(f"shard {shard!r}: it looks like 2/8, the second of eight")
    return slice(int(number) - 1, None, int(of))


def _link(link: Path, raw: Path) -> None:
    """Makes the clips that stay where they are part of the corpus."""
    with contextlib.suppress(FileExistsError):  # another shard may just have made it
        link.symlink_to(raw.resolve(), target_is_directory=True)
    if link.resolve() != raw.resolve():
        raise LipsyncError(f"{link} leads to {link.resolve()}, not to {raw}: name another folder for the corpus")


_finder: list[Finder] = []  # this process's own


def _equip(device: object) -> None:
    _finder[:] = [FaceFinder(device)]


def _take(source: Source, root: Path, settings: Settings, sources: int) -> None:
    """Prepares one of so many sources from the start, unless it is finished; what is wrong with it ends in its row."""
    with while_there_is_room(root), alone(root, source.id):
        if finished(source, root) is not None:
            return
        folder = root / source.id
        _clear(folder)
        check_room(root, sources)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            facts = _facts(source)
            row = _fate(source, root, settings)
            with whole(folder / FINISHED) as beside:
                beside.write_text(json.dumps(facts | {"row": dataclasses.asdict(row)}), encoding="utf-8")
        except OSError:
            _clear(folder)
            raise


def _fate(source: Source, root: Path, settings: Settings) -> Row:
    try:
        return ingest(source, root, settings, _finder[0])
    except (LipsyncError, av.error.FFmpegError, ValueError, FileNotFoundError, PermissionError) as error:
        if getattr(error, "errno", None) in FULL:
            raise
        _clear(root / source.id)
        return Row(source.name, note=str(error).removeprefix(f"{source.path}: "))


def _facts(source: Source) -> dict[str, str | int]:
    """What a finished source depends on."""
    found: dict[str, str | int] = {"source": source.name}
    for name, path in (("", source.path), ("sound_", source.sound)):
        with contextlib.suppress(OSError):
            if path is not None:
                stat = path.stat()
                found |= {f"{name}bytes": stat.st_size, f"{name}modified": stat.st_mtime_ns}
                if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
                    found[f"{name}locked"] = True  # until somebody unlocks it
    return found


def finished(source: Source, root: Path) -> Row | None:
    """The row of a source that an earlier run finished, unless it has changed since, or a file of a clip is gone."""
    path = root / source.id / FINISHED
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    row = Row(**state.pop("row"))
    there = set(os.listdir(path.parent))
    clips = [name.removesuffix(".json") for name in there if name.endswith(".json")]  # fewer, where one was left out
    endings = (".wav",) if row.note == IN_PLACE else (".wav", ".mp4")
    complete = all(clip + ending in there for clip in clips for ending in endings)
    return row if complete and state == _facts(source) else None


def _clear(folder: Path) -> None:
    """Remove what an interrupted run left of a source; folders below belong to other sources."""
    # The declaration goes first: from here on the source is unfinished.
    for pattern in (FINISHED, "*.json", "*.mp4", "*.wav", "*.part"):
        for path in folder.glob(pattern):
            if path.is_file():
                path.unlink()


def _conclude(root: Path, sources: list[Source], others: dict[str, str], val_fraction: float | None) -> Report:
    """Gives clips their splits where nobody else did, and writes manifest and report of all that is finished."""
    rows = [finished(source, root) or Row(source.name, note="not prepared yet") for source in sources]
    used = [source for source, row in zip(sources, rows, strict=True) if row.kept]
    report = Report(str(root), rows + [Row(name, note=note) for name, note in others.items()])
    if used:
        if val_fraction is not None:
            _assign_splits(used, root, val_fraction)
        build_manifest(root)
        report.splits = dict(Counter(load_manifest(root).column("split")))
    report.write()
    return report


def _assign_splits(sources: list[Source], root: Path, val_fraction: float) -> None:
    """Give every clip the split of its source, known only now that it is known which sources have clips.

    Where there is one source only, its last clip is for test and the one before for val, as far as there are three.
    """
    splits = split_sources([source.name for source in sources], val_fraction)
    for source in sources:
        with alone(root, source.id):  # somebody may be writing down their sync
            paths = (root / source.id).glob("*.json")
            records = sorted((read_record(root, path) for path in paths), key=lambda record: record.start)
            for place, record in enumerate(records, start=-len(records)):
                split = splits[source.name]
                if len(sources) == 1:
                    ends = {-1: "test", -2: "val"} if len(records) > 2 else {-1: "val"} if len(records) > 1 else {}
                    split = ends.get(place, "train")
                if record.split != split:
                    write_record(root, dataclasses.replace(record, split=split))
