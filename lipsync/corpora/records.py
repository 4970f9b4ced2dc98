"""A corpus on disk: one record a clip, written last, and the manifest that gathers them in one memory-mapped table."""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lipsync.corpora.filters import MEASUREMENTS, Filters, check, judge
from lipsync.errors import LipsyncError
from lipsync.files import whole
from lipsync.sound import SAMPLE_RATE

FPS = 25  # of every clip
SAMPLES_A_FRAME = SAMPLE_RATE // FPS
MANIFEST = "manifest.arrow"
SETTINGS = "prepare.settings"  # with which `lipsync prepare` wrote a corpus
SPLITS = ("train", "val", "test")
BATCH = 4096  # records in memory at a time while a manifest is built

_NAME = pa.dictionary(pa.int32(), pa.string())  # few different ones: compared and counted as numbers
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("video", pa.string()),
        ("sound", pa.string()),
        ("source", pa.string()),
        ("speaker", _NAME),
        ("split", _NAME),
        ("frames", pa.int32()),
        ("size", pa.int32()),
        ("box", pa.list_(pa.float64())),
        ("crop_rule", _NAME),
        ("start", pa.float64()),
        ("opening", pa.list_(pa.float32())),
        ("sync_offset", pa.int32()),
        ("sync_confidence", pa.float64()),
        *((name, pa.float32()) for name in MEASUREMENTS),
    ]
)


@dataclasses.dataclass(frozen=True)
class Record:
    """One finished clip: where it lies, whose it is, and what was measured on it.

    Attributes:
        id: path of its json under the root, without the ending.
        video, sound: paths relative to the root.
        source: name of the raw file it was cut from.
        speaker: who talks, for splits and for pairs of different people.
        split: "train", "val" or "test".
        frames: number of frames at 25 fps.
        size: side of the square video in pixels.
        box: (y0, y1, x0, x1) of the crop in every frame, in pixels.
        start: seconds into the source.
        opening: of the mouth, one number a frame; empty when not measured.
        crop_rule: the rule that made `box`.
        sync_offset: frames by which the stored sound comes late; reading makes up for it.
        sync_confidence: how sure `lipsync sync` is of that; None where it was not asked.
        sync_expert: whose word that is, by its weights.
        measurements: whatever preparation found out; the manifest has those of MEASUREMENTS in columns, NaN where
            unknown, and its records have none.
    """

    id: str
    video: str
    sound: str
    source: str
    speaker: str
    split: str
    frames: int
    size: int
    box: Sequence[float]
    start: float = 0.0
    opening: Sequence[float] = ()
    crop_rule: str = "square"
    sync_offset: int = 0
    sync_confidence: float | None = None
    sync_expert: str = ""
    measurements: dict[str, float] = dataclasses.field(default_factory=dict)


_FIELDS = [field.name for field in dataclasses.fields(Record) if field.name in _SCHEMA.names]


def claim(root: str | Path, marker: str, settings: dict[str, float]) -> None:
    """Mark a new or empty folder as a corpus of these settings, so that nothing is ever deleted from another folder.

    Args:
        root: the folder, made where there is none.
        marker: name of the file in it that holds the settings; not .json, for those are the records.
        settings: what all clips have in common.

    Raises:
        LipsyncError: the folder holds a corpus of other settings, or something else.
    """
    root, path = Path(root), Path(root, marker)
    # Looked at first: whoever claims it at the same moment, or was killed over it, has only begun its marker.
    taken = root.is_file() or (root.is_dir() and any(not name.startswith(marker) for name in os.listdir(root)))
    if not path.is_file():
        if taken:
            raise LipsyncError(f"{root} is not empty and has no {marker}: name another folder for the corpus")
        root.mkdir(parents=True, exist_ok=True)
        with whole(path, contested=True) as beside:
            beside.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    found = json.loads(path.read_text(encoding="utf-8"))
    other = [name for name in settings if found.get(name) != settings[name]]
    if other:
        changed = ", ".join(f"{name} {found.get(name)} there, {settings[name]} asked" for name in other)
        raise LipsyncError(f"{root} holds a corpus of other settings ({changed}): name another folder")


def inside(root: str | Path, path: str) -> Path:
    """Join a path that came from a file to its root; raises LipsyncError if it would leave the root."""
    parts = PurePosixPath(path).parts
    # Judged by its text, so that a link the user made to a video elsewhere still works.
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts or "\\" in path or ":" in parts[0]:
        raise LipsyncError(f"the path {path!r} leaves {root}: use paths relative to it, without '..'")
    return Path(root, *parts)


def write_record(root: str | Path, record: Record) -> None:
    """Write a clip's json; call it after the clip's video and sound are complete, for the json declares it finished."""
    _check(root, record)
    path = inside(root, record.id + ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as beside:
        beside.write_text(json.dumps(dataclasses.asdict(record), indent=1), encoding="utf-8")


def read_record(root: str | Path, path: Path) -> Record:
    """Read a clip's json; raises LipsyncError if it is damaged or points out of the root."""
    try:
        record = Record(**json.loads(path.read_text(encoding="utf-8")))
        _check(root, record)
    except (OSError, ValueError, TypeError) as error:
        raise LipsyncError(f"{path} is not a clip's record ({error}): delete it and prepare the clip again") from None
    return record


def build_manifest(root: str | Path, only: Collection[str] | None = None) -> int:
    """Gather all records of a corpus, or only those of some ids, in its manifest; returns how many there are.

    Memory is bounded, whatever their number. Of several builders at once the last to finish wins.
    """
    root = Path(root)
    if not root.is_dir():
        raise LipsyncError(f"no corpus at {root}: prepare one with `lipsync prepare`")
    records = (_read(root, id) for id in _ids(root) if only is None or id in only)
    first = next(records, None)
    if first is None:
        raise LipsyncError(f"the corpus {root} has no clips: see the report of `lipsync prepare` for why none was kept")
    with whole(root / MANIFEST, contested=True) as beside:
        return write_table(beside, chain([first], records))


def write_table(path: Path, records: Iterable[Record]) -> int:
    """Write a manifest's table of records in the order of their ids; returns how many there are."""
    names: dict[str, dict[str, int]] = {field.name: {} for field in _SCHEMA if field.type == _NAME}
    count, records = 0, iter(records)
    # Each batch knows the names met so far; the file gets only those that are new.
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA, options=options) as writer:
        while batch := list(islice(records, BATCH)):
            writer.write_batch(pa.record_batch([_column(field, batch, names) for field in _SCHEMA], schema=_SCHEMA))
            count += len(batch)
    return count


def _column(field: pa.Field, records: list[Record], names: dict[str, dict[str, int]]) -> pa.Array:
    if field.name in MEASUREMENTS:
        return pa.array([record.measurements.get(field.name, math.nan) for record in records], field.type)
    values = [getattr(record, field.name) for record in records]
    if field.name not in names:
        return pa.array(values, field.type)
    codes = names[field.name]
    indices = pa.array([codes.setdefault(value, len(codes)) for value in values], pa.int32())
    return pa.DictionaryArray.from_arrays(indices, pa.array(codes, pa.string()))


def _ids(folder: str | Path, prefix: str = "") -> Iterator[str]:
    """Ids of all records below a folder, sorted; only the names of one folder are held at a time."""
    with os.scandir(folder) as entries:
        folders, files = [], []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name + "/")
            elif entry.name.endswith(".json"):
                files.append(entry.name.removesuffix(".json"))
    # With its slash a folder stands where the ids in it do.
    for name in sorted(folders + files):
        if name.endswith("/"):
            yield from _ids(os.path.join(folder, name), prefix + name)
        else:
            yield prefix + name


def _read(root: Path, id: str) -> Record:
    path = root / f"{id}.json"
    record = read_record(root, path)
    if record.id != id:
        raise LipsyncError(f"{path} calls itself {record.id}: a record lies where its id says; move it there")
    return record


class Manifest:
    """The records of a corpus without their measurements, parsed one at a time from a memory-mapped table.

    Pickles as its root and filters alone, so it costs a worker nothing.

    Args:
        root: the corpus.
        table: its manifest, one row a record.
        filters: name -> [least, most]; clips that fail one are in no split.
    """

    def __init__(self, root: Path, table: pa.Table, filters: Filters | None = None) -> None:
        self.root, self._table, self.filters = root, table, filters or {}
        self._fields = table.select(_FIELDS)

    def __reduce__(self) -> tuple[Callable, tuple[Path, Filters]]:
        return load_manifest, (self.root, self.filters)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, row: int) -> Record:
        row = range(len(self))[row]  # negative and too large ones, as in a list
        return Record(**self._fields.slice(row, 1).to_pylist()[0])

    def column(self, name: str) -> np.ndarray:
        """One field or measurement of all records, or `seconds`, as an array."""
        if name == "seconds":
            return self.column("frames") / FPS
        if self._table.schema.field(name).type != _NAME:
            return self._table[name].to_numpy()
        encoded = self._table[name].combine_chunks()
        return encoded.dictionary.to_numpy(zero_copy_only=False)[encoded.indices.to_numpy()]

    def has_opening(self) -> np.ndarray:
        """Of which clips the mouth was measured, bool."""
        return pc.list_value_length(self._table["opening"]).to_numpy() > 0

    def codes(self, name: str) -> np.ndarray:
        """`speaker`, `split` or `crop_rule` of all records as its place among the sorted names, int64."""
        encoded = self._table[name].combine_chunks()
        places = pc.rank(encoded.dictionary, tiebreaker="dense").to_numpy().astype(np.int64) - 1
        return places[encoded.indices.to_numpy()]

    def judged(self) -> dict[str, np.ndarray]:
        """Which clips pass each filter, bool; raises LipsyncError where a clip was not measured."""
        return judge(self.root, {name: self.column(name) for name in self.filters}, self.filters)

    def passing(self) -> np.ndarray:
        """Which clips pass all filters, bool; raises LipsyncError where a clip was not measured."""
        return np.logical_and.reduce([np.ones(len(self), bool), *self.judged().values()])

    def rows(self, split: str) -> np.ndarray:
        """Numbers of a split's records, int64; raises LipsyncError when there are none."""
        rows = np.flatnonzero((self.column("split") == split) & self.passing())
        if not len(rows) and self.filters:
            asked = ", ".join(f"{name} {bounds}" for name, bounds in self.filters.items())
            raise LipsyncError(f"{self.root} has no {split} clips that pass the filters {asked}: ask for less")
        if not len(rows):
            raise LipsyncError(f"{self.root} has no {split} clips: prepare more videos, or a larger val_fraction")
        return rows


def load_manifest(root: str | Path, filters: Filters | None = None) -> Manifest:
    """Open the manifest of a corpus, with filters by name, [least, most]; one of another version is built anew.

    Raises:
        LipsyncError: it is missing, damaged or empty, or there is no such filter.
    """
    check(filters or {})
    root = Path(root)
    path = root / MANIFEST
    if not path.is_file():
        raise LipsyncError(f"no corpus at {root} ({MANIFEST} is missing): prepare one with `lipsync prepare`")
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except pa.ArrowInvalid as error:
        raise LipsyncError(f"{path} is damaged ({error}): delete it and run `lipsync prepare` again") from None
    if not table.schema.equals(_SCHEMA):
        try:
            build_manifest(root, set(table["id"].to_pylist()))
        except (OSError, KeyError) as error:
            raise LipsyncError(f"{path} is of another version and cannot be built anew: {error}") from error
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    if not len(table):
        raise LipsyncError(f"the corpus {root} has no clips: see the report of `lipsync prepare` for why")
    return Manifest(root, table, filters)


def _check(root: str | Path, record: Record) -> None:
    for path in (record.id, record.video, record.sound):
        inside(root, path)
    if record.split not in SPLITS:
        raise LipsyncError(f"clip {record.id} of {root} has split {record.split!r}: use one of {', '.join(SPLITS)}")
    if len(record.box) != 4:
        raise LipsyncError(f"clip {record.id} of {root} has a box of {len(record.box)} numbers, not y0, y1, x0, x1")
    if len(record.opening) not in (0, record.frames):
        raise LipsyncError(f"clip {record.id} of {root} has {len(record.opening)} openings for {record.frames} frames")
