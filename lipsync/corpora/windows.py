"""Windows: consecutive frames of a clip, another moment of the same person, and their sound, drawn by number."""

import logging
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lipsync.corpora.augment import draw_colour, draw_degrading, draw_disturbing, jitter
from lipsync.corpora.clips import UNREADABLE, read_pictures, read_sound
from lipsync.corpora.mel import context
from lipsync.corpora.records import Manifest, Record
from lipsync.corpora.survey import note, reason
from lipsync.errors import LipsyncError, check_choice

REFERENCES = ("any", "dissimilar")
CANDIDATES = 4  # moments of which the one with the most dissimilar mouth is taken
REFERENCE_DISTANCE = 5  # frames between window and reference, where the clip is long enough
ATTEMPTS = 10
# A split no larger than this when decoded (bytes a worker) is kept: two seeks in a clip cost as much as 50 frames.
KEPT = 400 * 2**20
BAD_AFTER = 200  # reads, from which on too large a share of unreadable clips is an error

log = logging.getLogger(__name__)


class Windows(Dataset):
    """Draws a window as a function of (seed, index); a clip that cannot be read gives way to the next attempt's.

    Every window of the split is equally likely or, balanced, every speaker and then each window of theirs. A sample
    holds `frames` (T, 3, D, D) and `reference` (1, 3, D, D) uint8, `audio` (K,) int16 as `mel.context` names it, `box`
    and `reference_box` (4,), `first_frame`, `clip` and `speaker` (numbers in the split), `opening` (T,) of the mouth,
    NaN where unknown, `index`, `replaced` (how many unreadable clips were drawn before) and, when augmenting, `colour`
    (4,) and, where asked for, `degrading` and `disturbing` (2,), which `corpora.augment` draws.

    Args:
        manifest: of the corpus.
        split: "train", "val" or "test".
        frames: T, frames in a window; clips with no room for a window and a reference are left out.
        seed: of all draws.
        augment: mirror and recolour window and reference alike.
        jitter: when augmenting, scale and shift the crops of window and reference by up to this share of their side,
            each by itself.
        degrade: when augmenting, share of windows that are blurred, and of those that are compressed.
        disturb: when augmenting, share of windows whose sound is changed, and of the silenced among closed mouths.
        length: number of samples; endless without.
        run: so many windows in a row come from one clip, for an expert that is to tell moments apart, not people.
        reference: `any` other moment, or of a few the one whose mouth is most `dissimilar`: less to copy from it.
        balanced: draw the speaker first, all alike, then the window; those who talk most do not fill the batches.
        most_bad: share of reads that may fail.
        unreadable: file that lists the clips that failed, once a process.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        frames: int = 5,
        seed: int = 0,
        augment: bool = False,
        jitter: float = 0.0,
        degrade: float = 0.0,
        disturb: float = 0.0,
        length: int | None = None,
        run: int = 1,
        reference: str = "any",
        balanced: bool = False,
        most_bad: float = 0.05,
        unreadable: Path | None = None,
    ) -> None:
        check_choice("reference", reference, REFERENCES)
        rows = manifest.rows(split)
        if len(sizes := np.unique(manifest.column("size")[rows])) > 1:
            raise LipsyncError(f"the clips of {manifest.root} measure {sizes.tolist()} px: a corpus has one size")
        room = manifest.column("frames")[rows].astype(np.int64) - frames + 1
        self.rows, room = rows[room > 1], room[room > 1]
        if len(self.rows) < len(rows):
            short = f"{len(rows) - len(self.rows)} of {len(rows)} {split} clips of {manifest.root}"
            log.warning("%s have fewer than %d frames and are left out", short, frames + 1)
        if not len(self.rows):
            raise LipsyncError(f"all {split} clips of {manifest.root} are shorter than {frames + 1} frames")
        self.speakers = np.unique(manifest.codes("speaker")[self.rows], return_inverse=True)[1]
        if balanced:  # the windows of a speaker are then numbers in a row
            order = np.argsort(self.speakers, kind="stable")
            self.rows, room, self.speakers = self.rows[order], room[order], self.speakers[order]
        self.ends = np.cumsum(room)
        self.speaker_ends = self.ends[np.flatnonzero(np.diff(self.speakers, append=-1))] if balanced else None
        self.manifest, self.split, self.frames, self.seed, self.length = manifest, split, frames, seed, length
        self.augment, self.jitter, self.degrade, self.disturb = augment, jitter, degrade, disturb
        self.run, self.reference = run, reference
        self.kept: dict[str, Tensor] | None = {} if decoded_bytes(manifest, self.rows) <= KEPT else None
        self.most_bad, self.unreadable = most_bad, unreadable
        self.reads, self.failures = 0, 0
        self.bad: dict[str, str] = {}

    def __reduce__(self) -> tuple[type, tuple]:
        # A worker that is spawned makes the arrays anew rather than read megabytes from a pipe.
        changed = self.augment, self.jitter, self.degrade, self.disturb
        chosen = self.length, self.run, self.reference, self.speaker_ends is not None
        bad = self.most_bad, self.unreadable
        return Windows, (self.manifest, self.split, self.frames, self.seed, *changed, *chosen, *bad)

    def __len__(self) -> int:
        return sys.maxsize if self.length is None else self.length

    def __getitem__(self, index: int) -> dict[str, Tensor | int]:
        drawn = set()
        for attempt in range(ATTEMPTS):
            rng = np.random.default_rng((self.seed, index, attempt))
            clip, first = self._choose(rng, index, attempt)
            record = self.manifest[self.rows[clip]]
            place = {"clip": clip, "speaker": int(self.speakers[clip]), "index": index, "replaced": attempt}
            self.reads += 1
            try:
                return self._read(record, first, rng) | place
            except UNREADABLE as error:
                self._remember(record, error)
                drawn.add(record.id)
        names = ", ".join(sorted(drawn))
        raise LipsyncError(f"{ATTEMPTS} draws from {self.manifest.root} met only unreadable clips: {names}")

    def _choose(self, rng: np.random.Generator, index: int, attempt: int) -> tuple[int, int]:
        """Draw one of all windows: its clip, by place in the split, and first frame."""
        if self.run == 1:
            clip, window = self._draw(rng)
            return clip, int(self.ends[clip] - 1 - window)
        # The clip is the run's, the moment the window's own.
        clip, _ = self._draw(np.random.default_rng((self.seed, index // self.run, attempt, self.run)))
        return clip, int(rng.integers(self.ends[clip] - (self.ends[clip - 1] if clip else 0)))

    def _draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """Draw a window: its clip, by place in the split, and its number among the windows of all clips."""
        first, end = 0, self.ends[-1]
        if self.speaker_ends is not None:
            speaker = rng.integers(len(self.speaker_ends))
            first, end = self.speaker_ends[speaker - 1] if speaker else 0, self.speaker_ends[speaker]
        window = rng.integers(first, end)
        return int(np.searchsorted(self.ends, window, side="right")), int(window)

    def _read(self, record: Record, first: int, rng: np.random.Generator) -> dict[str, Tensor | int]:
        reference = self._choose_reference(rng, record, first)
        boxes = np.tile(np.asarray(record.box, np.float32), (2, 1))
        opening = np.full(self.frames, np.nan, np.float32)
        if len(record.opening) == record.frames:
            opening[:] = record.opening[first : first + self.frames]
        sample = {"first_frame": first, "opening": torch.from_numpy(opening)}
        if self.augment:
            boxes = jitter(rng, boxes, self.jitter)
            if rng.random() < 0.5:
                boxes = boxes[:, [0, 1, 3, 2]]
            sample["colour"] = draw_colour(rng)
            if self.degrade:
                sample["degrading"] = draw_degrading(rng, self.degrade)
            if self.disturb:
                known = np.asarray(record.opening)
                sample["disturbing"] = draw_disturbing(rng, self.disturb, known, first, self.frames)
        pictures = self._pictures(record, [*range(first, first + self.frames), reference])
        box, reference_box = torch.from_numpy(boxes.astype(np.float32))
        return sample | {
            "frames": pictures[:-1],
            "reference": pictures[-1:],
            "audio": read_sound(self.manifest.root, record, *context(first, self.frames)),
            "box": box,
            "reference_box": reference_box,
        }

    def _choose_reference(self, rng: np.random.Generator, record: Record, first: int) -> int:
        if self.reference == "any":
            return choose_reference(rng, record.frames, first, self.frames)
        if len(record.opening) != record.frames:
            raise LipsyncError(
                f"clip {record.id} of {self.manifest.root}: its mouth was not measured, which "
                "reference=dissimilar needs; prepare it again, or set data.reference=any"
            )
        drawn = [choose_reference(rng, record.frames, first, self.frames) for _ in range(CANDIDATES)]
        opening = np.asarray(record.opening)
        return drawn[int(np.abs(opening[drawn] - opening[first : first + self.frames].mean()).argmax())]

    def _pictures(self, record: Record, numbers: list[int]) -> Tensor:
        if self.kept is None:
            return read_pictures(self.manifest.root, record, numbers)
        if record.id not in self.kept:
            self.kept[record.id] = read_pictures(self.manifest.root, record, range(record.frames))
        return self.kept[record.id][numbers]

    def _remember(self, record: Record, error: Exception) -> None:
        self.failures += 1
        why = reason(error)
        if record.id not in self.bad:
            self.bad[record.id] = why
            log.warning("clip %s of %s cannot be read and is replaced: %s", record.id, self.manifest.root, why)
            note(self.unreadable, record.id, why)
        if self.reads >= BAD_AFTER and self.failures > self.most_bad * self.reads:
            raise LipsyncError(
                f"{self.failures} of {self.reads} reads from {self.manifest.root} failed, last {record.id} ({why}): "
                f"delete these files and prepare again, or delete their json files and the manifest"
            )


def decoded_bytes(manifest: Manifest, rows: np.ndarray) -> int:
    """Size of these clips' decoded pictures."""
    sides = manifest.column("size")[rows].astype(np.int64)
    return int((manifest.column("frames")[rows] * sides**2 * 3).sum())


def choose_reference(rng: np.random.Generator, clip: int, first: int, frames: int) -> int:
    """Draw one of `clip` frames outside the window [first, first + frames), at a distance from it if there is room."""
    for distance in (REFERENCE_DISTANCE, 1):
        before = max(first - distance + 1, 0)
        after = max(clip - (first + frames - 1 + distance), 0)
        if before + after:
            break
    number = int(rng.integers(before + after))
    return number if number < before else clip - (before + after) + number
