"""Pairs for evaluation: a stretch of a clip with its own sound, and with the sound of somebody else."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lipsync.corpora.clips import UNREADABLE, read_pictures, read_sound
from lipsync.corpora.mel import context
from lipsync.corpora.pair_list import read_pair_list
from lipsync.corpora.records import SAMPLES_A_FRAME, Manifest, Record
from lipsync.errors import LipsyncError

LEAD_IN = 25  # frames of a long clip before its stretch: the reference, frame 0, is a second away


class Pairs(Dataset):
    """Joins targets, evenly spaced over the split, to the sound of another clip, of another speaker where possible.

    Sample i holds `frames` (N, 3, D, D) and `reference` (1, 3, D, D) uint8, the target's frame 0; `box` (4,);
    `audio`, `driving_audio` (K,) int16 as `mel.context` names them from `first_frame`, `driving_first_frame` on;
    `own_sound`, `driving_sound` (640 N,) int16, what one hears; `opening` and `opening_driving` (N,), of the target's
    mouth, NaN where unknown, and of the one that belongs to the sound; `speaker`, a number; `index`, the target's row
    in the manifest; `pair`, i.

    Args:
        manifest: of the corpus.
        split: "val" or "test"; when it has fewer than two clips, sounds come from the whole corpus, as far as
            openings are known there.
        frames: N, frames in a stretch; shorter clips are left out.
        count: number of pairs at most.
        seed: of who drives whom.
        listed: file that says who drives whom (`pair_list`), instead of the seed; `count` pairs of it at most.
        tolerant: a pair that cannot be read gives a sample of `pair`, `index` and `failed`, why, and a mouth that was
            not measured gives NaN; else it raises.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        frames: int = 50,
        count: int = 100,
        seed: int = 0,
        listed: str | None = None,
        tolerant: bool = False,
    ) -> None:
        self.manifest, self.frames, self.tolerant = manifest, frames, tolerant
        if listed is None:
            self.rows = self._matched(split, count, seed)
        else:
            self.rows = read_pair_list(listed, manifest, manifest.rows(split))[:count]
        unmeasured = self.rows[~manifest.has_opening()[self.rows[:, 1]], 1]
        if len(unmeasured) and not tolerant:
            raise LipsyncError(
                f"clip {manifest[unmeasured[0]].id} of {manifest.root} has no mouth opening in its record, which pairs "
                "need: prepare it with landmarks"
            )
        self.speakers = manifest.codes("speaker")[self.rows[:, 0]]

    def _matched(self, split: str, count: int, seed: int) -> np.ndarray:
        """Rows (P, 2) of targets and of those who drive them."""
        manifest, frames = self.manifest, self.frames
        long_enough = (manifest.column("frames") > frames) & manifest.passing()
        rows = manifest.rows(split)
        rows = rows[long_enough[rows]]
        donors = rows
        if len(rows) < 2:
            donors = np.union1d(rows, np.flatnonzero(long_enough & manifest.has_opening()))
        if not len(rows) or len(donors) < 2:
            raise LipsyncError(
                f"{manifest.root} has {len(rows)} {split} clips and {len(donors)} in all of more than {frames} frames: "
                f"pairs take one and two; lower pair_frames or prepare more clips"
            )
        speakers = manifest.codes("speaker")
        driving = drivers(speakers[donors], seed)
        places = np.searchsorted(donors, rows[np.arange(min(count, len(rows))) * len(rows) // min(count, len(rows))])
        return np.stack([donors[places], donors[driving[places]]], axis=1)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Tensor | int | str]:
        try:
            return self._read(i)
        except UNREADABLE as error:
            if not self.tolerant:
                raise
            why = str(error).strip().splitlines()
            return {"pair": i, "index": int(self.rows[i, 0]), "failed": why[0] if why else type(error).__name__}

    def name(self, i: int) -> str:
        """Who is seen and, if it is somebody else, who is heard."""
        seen, heard = (self.manifest[row].id for row in self.rows[i])
        return seen if seen == heard else f"{seen} < {heard}"

    def _read(self, i: int) -> dict[str, Tensor | int]:
        root, count = self.manifest.root, self.frames
        target, driving = (self.manifest[row] for row in self.rows[i])
        for record in (target, driving):
            if record.frames < count:
                raise LipsyncError(f"{record.id} has {record.frames} frames, fewer than the {count} of pair_frames")
        first, driving_first = self._first(target), self._first(driving)
        pictures = read_pictures(root, target, [0, *range(first, first + count)])
        return {
            "frames": pictures[1:],
            "reference": pictures[:1],
            "box": torch.tensor(target.box, dtype=torch.float32),
            "first_frame": first,
            "audio": read_sound(root, target, *context(first, count)),
            "own_sound": read_sound(root, target, SAMPLES_A_FRAME * first, SAMPLES_A_FRAME * count),
            "driving_first_frame": driving_first,
            "driving_audio": read_sound(root, driving, *context(driving_first, count)),
            "driving_sound": read_sound(root, driving, SAMPLES_A_FRAME * driving_first, SAMPLES_A_FRAME * count),
            "opening": torch.tensor(target.opening[first:][:count] or [float("nan")] * count, dtype=torch.float32),
            "opening_driving": torch.tensor(
                driving.opening[driving_first:][:count] or [float("nan")] * count, dtype=torch.float32
            ),
            "speaker": int(self.speakers[i]),
            "index": int(self.rows[i, 0]),
            "pair": i,
        }

    def _first(self, record: Record) -> int:
        return min(LEAD_IN, record.frames - self.frames)


def drivers(speakers: np.ndarray, seed: int) -> np.ndarray:
    """Choose another clip for each of n >= 2, of another speaker wherever numbers allow.

    Clips stand in a circle, speaker by speaker in random order; turning it by the largest speaker's share moves
    every clip past its own speaker, unless that speaker has more than half of all clips.

    Args:
        speakers: (n,) names or numbers.
        seed: of the order within speakers.

    Returns:
        (n,) int64: places of the clips, each once and none its own.
    """
    n = len(speakers)
    shuffled = np.random.default_rng((seed, n)).permutation(n)
    circle = shuffled[np.argsort(speakers[shuffled], kind="stable")]
    share = int(np.unique(speakers, return_counts=True)[1].max())
    driving = np.empty(n, np.int64)
    driving[circle] = np.roll(circle, -share if share < n else -1)
    return driving
