"""LSE-D, LSE-C and the offset: how well sound and lips agree in the eyes of SyncNet-v2 ("Out of time", Sec. 3.3)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lipsync.errors import LipsyncError
from lipsync.metrics.clip_metric import ClipMetric
from lipsync.metrics.mfcc import mfcc
from lipsync.networks.syncnet_v2 import COLUMNS, FRAMES, SyncNetV2

SAMPLES_A_FRAME = 640
COLUMNS_A_FRAME = 4
SMOOTHING = 9  # windows, of the confidence over time


class SyncScore(NamedTuple):
    """What SyncNet-v2 says of a clip.

    Attributes:
        offset: Frames by which the sound comes early; 0 is in sync.
        lse_d: Least mean distance over all shifts; low is good.
        lse_c: Median of the mean distances minus the least; high is good.
        confidence: (N,) of every window: that median minus the window's distance at the best shift.
        distances: (N, 2 * vshift + 1), of every window at every shift.
    """

    offset: int
    lse_d: float
    lse_c: float
    confidence: Tensor
    distances: Tensor

    def smoothed_confidence(self) -> Tensor:
        """Returns the confidence (N,) after a median filter of 9 windows, zeros around."""
        padded = F.pad(self.confidence, (SMOOTHING // 2, SMOOTHING // 2))
        return padded.unfold(0, SMOOTHING, 1).median(dim=1).values


def score(face: Tensor, audio: Tensor, vshift: int = 15) -> SyncScore:
    """Compares every window's face with the sound at every shift; beyond the clip's ends the sound's features are 0.

    Args:
        face: (N, E) embeddings of windows that begin at frames 0, 1, ...
        audio: (N, E).
        vshift: Largest shift in frames, either way.
    """
    padded, windows = F.pad(audio, (0, 0, vshift, vshift)), len(face)
    # The original's pairwise_distance adds 1e-6 to every difference.
    at_shift = [(face - padded[shift : shift + windows] + 1e-6).norm(dim=1) for shift in range(2 * vshift + 1)]
    distances = torch.stack(at_shift, dim=1)
    mean = distances.mean(dim=0)
    best, median = int(mean.argmin()), mean.median()
    confidence = median - distances[:, best]
    return SyncScore(vshift - best, float(mean[best]), float(median - mean[best]), confidence, distances)


def evaluate(syncnet: SyncNetV2, frames: Tensor, samples: Tensor, vshift: int = 15, batch: int = 16) -> SyncScore:
    """Scores a clip of face crops with its sound; arguments and errors as `embed`, `vshift` as `score`."""
    return score(*embed(syncnet, frames, samples, batch), vshift)


@torch.no_grad()
def embed(syncnet: SyncNetV2, frames: Tensor, samples: Tensor, batch: int = 16) -> tuple[Tensor, Tensor]:
    """Embeds every window of a clip of face crops with its sound, a few in memory at a time.

    Args:
        syncnet: The judge, in eval mode.
        frames: (F, 3, S, S) RGB in [-1, 1] at 25 fps, on the judge's device.
        samples: (n,) int16 at 16 kHz; its first sample meets the first frame.
        batch: Windows computed at a time.

    Returns:
        Of faces and sounds, (W, 1024) each.

    Raises:
        LipsyncError: Frames or sound shorter than six frames.
    """
    windows = min(len(frames), len(samples) // SAMPLES_A_FRAME) - FRAMES
    if windows < 1:
        raise LipsyncError(
            f"a clip of {len(frames)} frames and {len(samples) / SAMPLES_A_FRAME / 25:.2f} s of sound is too short for "
            f"SyncNet: it needs {FRAMES + 1} frames of both"
        )
    # In float64, as the original computes them; the network takes float32.
    columns = mfcc(samples.cpu().double()).float().to(frames.device)
    sounds = columns.unfold(1, COLUMNS, COLUMNS_A_FRAME).transpose(0, 1)[:windows, None]
    faces = frames.unfold(0, FRAMES, 1).movedim(-1, 1)[:windows]
    embedded = [
        (syncnet.embed_face(syncnet.faces(face)), syncnet.embed_audio(sound))
        for face, sound in zip(faces.split(batch), sounds.split(batch), strict=True)
    ]
    face, audio = (torch.cat(parts) for parts in zip(*embedded, strict=True))
    return face, audio


class SyncAgreement(ClipMetric):
    """LSE-D and LSE-C of the embeddings of any SyncNet, without sounds from beyond the clip's ends.

    Mean Euclidean distances at every shift of the sound within 15 frames that leaves half of the windows a sound.
    `lse_d` is the least, low is good; `lse_c` their median minus the least, high is good; `offset` the frames, either
    way, by which the best shift is away; `lse_d_0` and `lse_c_0` are distance and confidence as heard, unshifted.
    """

    names = ("lse_d", "lse_c", "offset", "lse_d_0", "lse_c_0")

    def score(self, face: Tensor, audio: Tensor) -> dict[str, Tensor]:
        """Compares embeddings (W, E) of a clip's consecutive windows.

        Raises:
            LipsyncError: No windows, unequal shapes, or values that are not finite.
        """
        if face.shape != audio.shape or not len(face):
            raise LipsyncError(f"windows {tuple(face.shape)} of faces, {tuple(audio.shape)} of sound: as many of both")
        if not (face.isfinite().all() and audio.isfinite().all()):
            raise LipsyncError("embeddings that are not finite: the judge's weights or the clip are broken")
        distances = shifted_distances(face.double(), audio.double())
        middle, median = len(distances) // 2, distances.median()
        best = distances.argmin()
        return {
            "lse_d": distances[best],
            "lse_c": median - distances[best],
            "offset": (best - middle).abs(),
            "lse_d_0": distances[middle],
            "lse_c_0": median - distances[middle],
        }


def shifted_distances(face: Tensor, audio: Tensor, vshift: int = 15) -> Tensor:
    """Mean distances of windows (W, E) at every shift of the sound that leaves half of them: (2 min(vshift, W/2) + 1,).

    The middle one is that of the sound as it is; in those after it, faces meet sounds that are heard later.
    """
    most, means = min(vshift, len(face) // 2), []
    for shift in range(-most, most + 1):
        faces, sounds = face[max(-shift, 0) :], audio[max(shift, 0) :]
        both = len(face) - abs(shift)
        means.append((faces[:both] - sounds[:both]).norm(dim=1).mean())
    return torch.stack(means)
