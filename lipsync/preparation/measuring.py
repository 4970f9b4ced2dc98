"""What is measured on every clip, for filters to judge by when the corpus is read."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lipsync.container import LUMA
from lipsync.corpora.records import SAMPLES_A_FRAME
from lipsync.preparation.tracks import Track

QUIET = 10 ** (-60 / 20)  # root mean square under which a frame of sound counts as silence; full scale is 1
FULL_SCALE = 32_700  # of int16: what is as loud was probably cut off
HIGH = 95  # percentile that stands for the largest angle: a single mistaken frame says nothing
LUMA_709 = torch.tensor(LUMA[1])
LAPLACE = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


def look_at(pictures: Tensor) -> Tensor:
    """Luma (0..255) and sharpness, the variance of luma's Laplacian, of (N, 3, H, W) in 0..255 -> (N, 2)."""
    luma = torch.einsum("nchw,c->nhw", pictures.float(), LUMA_709)
    edges = F.conv2d(luma[:, None], LAPLACE[None, None])
    return torch.stack([luma.mean((1, 2)), edges.var((1, 2, 3))], 1)


def measure_sound(samples: np.ndarray) -> dict[str, float]:
    """Loudness of int16 samples in dBFS, the share of silent frames, and that of samples at full scale."""
    frames = len(samples) // SAMPLES_A_FRAME
    power = (samples[: frames * SAMPLES_A_FRAME].reshape(frames, -1) / 32768) ** 2
    loudness = math.sqrt(power.mean()) if frames else 0.0
    return {
        "sound_db": 20 * math.log10(max(loudness, 1e-5)),
        "silent": float((power.mean(1) < QUIET**2).mean()) if frames else 1.0,
        "clipped": float((np.abs(samples.astype(np.int32)) >= FULL_SCALE).mean()) if frames else 0.0,
    }


def measure_face(track: Track | None, side: float, frames: int, every: int = 1) -> dict[str, float]:
    """Numbers of the face in a clip; `opening_std` near 0 means a mouth that never moves.

    Args:
        track: The face; a clip without one counts as turned away and still, so that no filter takes it for good.
        side: Of its crop box, in pixels of the source.
        frames: Of the clip.
        every: Faces were looked for in every so many frames.
    """
    if track is None or not (seen := track.presence > 0).any():
        worst = {"presence": 0.0, "interpolated": 1.0, "yaw": 180.0, "pitch": 180.0, "roll": 180.0}
        return {"face": side} | worst | {"crowd": 0.0, "opening_std": 0.0}
    looked = math.ceil(frames / every)
    yaw, pitch, roll = np.percentile(np.abs(track.pose[seen]), HIGH, axis=0).tolist()
    return {
        "face": side,
        "presence": float(track.presence[seen].mean()),
        "interpolated": max(0.0, 1 - int(seen.sum()) / looked),
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
        "crowd": float(track.company[seen].mean()),
        "opening_std": float(track.opening()[seen].std()),
    }
