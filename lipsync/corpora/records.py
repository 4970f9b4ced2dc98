"""A corpus on disk: one record a clip, written last, and the manifest that gathers them in one memory-mapped table."""

import dataclasses
import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa

from lipsync.errors import LipsyncError
from lipsync.files import whole
from lipsync.sound import SAMPLE_RATE

FPS = 25  # of every clip
SAMPLES_A_FRAME = SAMPLE_RATE // FPS
MANIFEST = "manifest.arrow"
SETTINGS = "prepare.settings"  # with which `lipsync prepare` wrote a corpus
SPLITS = ("train", "val", "test")

_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("video", pa.string()),
        ("sound", pa.string()),
        ("source", pa.string()),
        ("speaker", pa.string()),
        ("split", pa.string()),
        ("frames", pa.int32()),
        ("size", pa.int32()),
        ("box", pa.list_(pa.float64())),
        ("crop_rule", pa.string()),
        ("start", pa.float64()),
        ("opening", pa.list_(pa.float32())),
        ("sync_offset", pa.int32()),
        ("sync_confidence", pa.float64()),
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
        measurements: whatever preparation found out; kept in the json only.
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
    measurements: dict[str, float] = dataclasses.field(default_factory=dict)


def claim(root: str | Path, marker: str, settings: dict[str, float]) -> None:
    """Mark a new or empty folder as a corpus of these settings, so that nothing is ever deleted from another folder.

    Args:
        root: the folder, made where there is none.
        marker: name of the file in it that holds the settings; not .json, for those are the records.
        settings: what all clips have in common.

    Raises:
        LipsyncError: the folder holds a corpus of other settings, or something else.
    """
    root = Path(root)
    if (root / marker).is_file():
        found = json.loads((root / marker).read_text(encoding="utf-8"))
        other = [name for name in settings if found.get(name) != settings[name]]
        if other:
            changed = ", ".join(f"{name} {found.get(name)} there, {settings[name]} asked" for name in other)
            raise LipsyncError(f"{root} holds a corpus of other settings ({changed}): name another folder")
        return
    if root.is_file() or (root.is_dir() and any(root.iterdir())):
        raise LipsyncError(f"{root} is not empty and has no {marker}: name another folder for the corpus")
    root.mkdir(parents=True, exist_ok=True)
    with whole(root / marker) as beside:
        beside.write_text(json.dumps(settings, indent=1), encoding="utf-8")


def inside(root: str | Path, path: str) -> Path:
    """Join a path that came from a file to its root; raises LipsyncError if it would leave the root."""
    parts = PurePosixPath(path).parts
    # Judged by its text, so that a link the user made to a video elsewhere still works.
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts or "\\" in path or ":" in parts[0]:
        raise LipsyncError(f"the path {path!r} leaves its corpus {root}: use relative paths without '..'")
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
    """Gather all records of a corpus, or only those of some ids, in its manifest; returns how many there are."""
    root = Path(root)
    if not root.is_dir():
        raise LipsyncError(f"no corpus at {root}: prepare one with `lipsync prepare`")
    found = (read_record(root, path) for path in root.rglob("*.json"))
    records = sorted((r for r in found if only is None or r.id in only), key=lambda record: record.id)
    if not records:
        raise LipsyncError(f"the corpus {root} has no clips: see the report of `lipsync prepare` for why none was kept")
    rows = [{name: getattr(record, name) for name in _SCHEMA.names} for record in records]
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    with (
        whole(root / MANIFEST, contested=True) as beside,
        pa.OSFile(str(beside), "wb") as sink,
        pa.ipc.new_file(sink, _SCHEMA) as writer,
    ):
        writer.write_table(table)
    return len(records)


class Manifest:
    """The records of a corpus without their measurements, parsed one at a time from a memory-mapped table.

    Pickles as its root alone, so it costs a worker nothing.

    Args:
        root: the corpus.
        table: its manifest, one row a record.
        min_confidence: clips that `lipsync sync` is less sure of are in no split.
    """

    def __init__(self, root: Path, table: pa.Table, min_confidence: float | None = None) -> None:
        self.root, self._table, self.min_confidence = root, table, min_confidence

    def __reduce__(self) -> tuple[Callable, tuple[Path, float | None]]:
        return load_manifest, (self.root, self.min_confidence)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, row: int) -> Record:
        row = range(len(self))[row]  # negative and too large ones, as in a list
        return Record(**self._table.slice(row, 1).to_pylist()[0])

    def column(self, name: str) -> np.ndarray:
        """One field of all records, as an array."""
        return self._table[name].to_numpy()

    def trusted(self) -> np.ndarray:
        """Which clips may be used, bool; raises LipsyncError when one has no confidence to be judged by."""
        if self.min_confidence is None:
            return np.ones(len(self), bool)
        confidence = self.column("sync_confidence").astype(np.float64)  # NaN where none was measured
        if np.isnan(confidence).any():
            raise LipsyncError(f"{self.root} has clips without a confidence: run `lipsync sync`")
        return confidence >= self.min_confidence

    def rows(self, split: str) -> np.ndarray:
        """Numbers of a split's records, int64; raises LipsyncError when there are none."""
        rows = np.flatnonzero((self.column("split") == split) & self.trusted())
        if not len(rows) and self.min_confidence is not None:
            raise LipsyncError(f"{self.root} has no {split} clips of confidence {self.min_confidence}: ask for less")
        if not len(rows):
            raise LipsyncError(f"{self.root} has no {split} clips: prepare more videos, or a larger val_fraction")
        return rows


def load_manifest(root: str | Path, min_confidence: float | None = None) -> Manifest:
    """Open the manifest of a corpus; raises LipsyncError when it is missing, damaged or empty.

    One that another version wrote is built anew.
    """
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
    return Manifest(root, table, min_confidence)


def _check(root: str | Path, record: Record) -> None:
    for path in (record.id, record.video, record.sound):
        inside(root, path)
    if record.split not in SPLITS:
        raise LipsyncError(f"clip {record.id} of {root} has split {record.split!r}: use one of {', '.join(SPLITS)}")
    if len(record.box) != 4:
        raise LipsyncError(f"clip {record.id} of {root} has a box of {len(record.box)} numbers, not y0, y1, x0, x1")
    if len(record.opening) not in (0, record.frames):
        raise LipsyncError(f"clip {record.id} of {root} has {len(record.opening)} openings for {record.frames} frames")
