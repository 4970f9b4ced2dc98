"""What two videos of one moment show and let hear, cut to the same frames and the same place."""

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lipsync.corpora.mel import context, sliding_mels
from lipsync.corpora.records import FPS, SAMPLES_A_FRAME
from lipsync.errors import LipsyncError
from lipsync.evaluation.judges import Sound
from lipsync.preparation.cutting import crop_near
from lipsync.preparation.tracks import Finder, find_tracks
from lipsync.sound import SAMPLE_RATE, decode_to_wav, map_wav
from lipsync.video import on_grid, probe, read_frames

JUDGED = 128  # side of the crops
LONGEST = 30  # seconds of a video that are looked at: the judges hold 3 MB a frame
SHORTEST = 1  # seconds that have to show the face
TOLERANCE = 0.2  # seconds by which lengths may differ without a word
BATCH = 8  # whole pictures in memory at a time


class Stretch(NamedTuple):
    """The N frames in which both videos show the real one's most prominent face.

    Attributes:
        first: Number of the first on the grid, which begins with each video's own first frame.
        real, generated: (N, 3, J, J) in [-1, 1].
        opening: (N,) of the real mouth.
        notes: What one should know of them.
    """

    first: int
    real: Tensor
    generated: Tensor
    opening: Tensor
    notes: list[str]


class Pictures:
    """A video's pictures at 25 a second, of its first LONGEST seconds; `count` is how many have passed."""

    def __init__(self, path: Path) -> None:
        self.path, self.info, self.count = path, probe(path), 0

    def __iter__(self) -> Iterator[np.ndarray]:
        self.count = 0
        for image in islice(on_grid(read_frames(self.path), self.info.start, FPS), LONGEST * FPS):
            self.count += 1
            yield image


def cut_out(generated_path: Path, real_path: Path, finder: Finder) -> Stretch:
    """Cuts the same boxes, of the rule `square`, out of both videos.

    The face is the one of the real video's longest and largest track; up to 0.4 s in which it is not seen are bridged.
    Frames before and after the track, as where no face is found or after a cut, are left out of everything.

    Raises:
        LipsyncError: A video that cannot be read, pictures of two sizes, no face, or less than a second of it.
    """
    generated, real = Pictures(generated_path), Pictures(real_path)
    sizes = [f"{pictures.info.width} x {pictures.info.height}" for pictures in (generated, real)]
    if sizes[0] != sizes[1]:
        raise LipsyncError(f"the generated video has {sizes[0]} pixels, the real one {sizes[1]}: make them one size")
    tracks = [(track, track.boxes(FPS)) for track in find_tracks(real, finder, FPS)]
    if not tracks:
        raise LipsyncError("no face in the real video")
    track, boxes = max(tracks, key=lambda pair: len(pair[0]) * float(pair[1][0, 1] - pair[1][0, 0]))
    crops = []
    for pictures in (generated, real):
        passing = iter(pictures)
        crops.append(squares(islice(passing, track.first, track.first + len(track)), boxes))
        deque(passing, maxlen=0)  # the rest is counted only
    theirs, ours = crops
    lengths, frames = (generated.count, real.count), min(len(theirs), len(ours))
    if frames < SHORTEST * FPS:
        raise LipsyncError(f"the face is in {frames} frames of both videos: {SHORTEST * FPS} at least are needed")
    notes, common = [], min(lengths)
    if max(lengths) - common > TOLERANCE * FPS:
        told = f"the generated video lasts {lengths[0] / FPS:.2f} s, the real one {lengths[1] / FPS:.2f} s"
        notes.append(f"{told}: what they have in common is compared")
    if common == LONGEST * FPS:
        notes.append(f"nothing after the first {LONGEST} s is looked at")
    if frames < common:
        notes.append(f"{common - frames} of {common} frames are left out: the judged face is not in them")
    opening = torch.from_numpy(track.opening()[:frames])
    return Stretch(track.first, ours[:frames], theirs[:frames], opening, notes)


def squares(images: Iterable[np.ndarray], boxes: Tensor) -> Tensor:
    """Cuts boxes (N, 4) out of pictures, one of each as far as they go: (N or less, 3, J, J) in [-1, 1]."""
    images, cut = iter(images), [torch.empty(0, 3, JUDGED, JUDGED)]
    for some in boxes.split(BATCH):
        if chunk := list(islice(images, BATCH)):
            pictures = torch.from_numpy(np.stack(chunk)).permute(0, 3, 1, 2)
            cut.append(crop_near(pictures, some[: len(chunk)], JUDGED) / 127.5 - 1)
    return torch.cat(cut)


def sound_of(path: Path, first: int, frames: int, window: int = 5) -> tuple[Sound | None, str | None]:
    """Reads a video's own sound of so many frames of the grid, for windows of `window` frames.

    Returns:
        The sound, None where there is none, and a note where something is amiss.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            start = decode_to_wav(path, f"{folder}/sound.wav")
        except LipsyncError as error:
            return None, f"{error}: no sync score"
        samples = map_wav(f"{folder}/sound.wav")
        begin = round((probe(path).start - start) * SAMPLE_RATE)  # the sample that meets the first frame
        before, count = context(first, frames)
        audio = excerpt(samples, begin + before, count)
        heard = excerpt(samples, begin + first * SAMPLES_A_FRAME, frames * SAMPLES_A_FRAME)
        missing = (first + frames) / FPS - (len(samples) - begin) / SAMPLE_RATE
    sliding = sliding_mels(audio[None], torch.tensor([first]), frames, window)[0]
    note = f"{path}: its sound ends {missing:.2f} s early, silence follows" if missing > TOLERANCE else None
    return Sound(sliding, heard), note


def excerpt(samples: np.ndarray, begin: int, count: int) -> Tensor:
    """`count` samples (count,) from number `begin` on, silence outside of the sound."""
    sound = torch.zeros(count, dtype=torch.int16)
    low, high = max(begin, 0), min(begin + count, len(samples))
    if high > low:
        sound[low - begin : high - begin] = torch.from_numpy(samples[low:high].copy())
    return sound
