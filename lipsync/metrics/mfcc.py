"""MFCCs as SyncNet-v2 hears them: 13 coefficients every 10 ms, the first one the frame's log energy."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from lipsync.sound import SAMPLE_RATE

FRAME = 400  # samples, 25 ms
STEP = 160
FFT = 512
FILTERS = 26
COEFFICIENTS = 13
LIFTER = 22
EPSILON = torch.finfo(torch.float64).eps


def mfcc(samples: Tensor) -> Tensor:
    """Computes MFCCs of a sound, silence after its end filling the last frame.

    Args:
        samples: (N,), int16 or floats of its range, 16 kHz. Computed in float64 if given float64, else in float32.

    Returns:
        (13, T), T = 1 + ceil((N - 400) / 160), at least 1; column c begins at sample 160 c.
    """
    samples = samples.to(torch.promote_types(samples.dtype, torch.float32))
    emphasised = torch.cat([samples[:1], samples[1:] - 0.97 * samples[:-1]])
    count = 1 + max(math.ceil((len(samples) - FRAME) / STEP), 0)
    frames = F.pad(emphasised, (0, (count - 1) * STEP + FRAME - len(samples))).unfold(0, FRAME, STEP)
    power = torch.fft.rfft(frames, FFT).abs() ** 2 / FFT
    filters, cosines = _filters(power.device, power.dtype), _cosines(power.device, power.dtype)
    cepstrum = _log(power @ filters.T) @ cosines
    return torch.cat([_log(power.sum(dim=1, keepdim=True)), cepstrum[:, 1:]], dim=1).T


def _log(power: Tensor) -> Tensor:
    """Logarithm in which exactly no power counts as float64's epsilon."""
    return torch.where(power == 0, EPSILON, power).log()


@lru_cache
def _filters(device: torch.device, dtype: torch.dtype) -> Tensor:
    """(26, 257) triangles with corners on whole FFT bins, equally spaced in mel from 0 to 8 kHz."""
    top = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    mels = torch.linspace(0, top, FILTERS + 2, dtype=torch.float64)
    corners = ((FFT + 1) * 700 * (10 ** (mels / 2595) - 1) / SAMPLE_RATE).floor()
    left, centre, right = (corners[i : i + FILTERS, None] for i in range(3))
    bins = torch.arange(FFT // 2 + 1, dtype=torch.float64)
    rising = (bins - left) / (centre - left)
    falling = (right - bins) / (right - centre)
    # Bins count from the left corner on, up to but without the right one.
    return torch.where(bins < centre, rising, falling).clamp(min=0).to(device, dtype)


@lru_cache
def _cosines(device: torch.device, dtype: torch.dtype) -> Tensor:
    """(26, 13) orthonormal DCT-II with the lifter 1 + 11 sin(pi n / 22) in it."""
    n = torch.arange(COEFFICIENTS, dtype=torch.float64)
    angles = math.pi / FILTERS * (torch.arange(FILTERS, dtype=torch.float64)[:, None] + 0.5) * n
    basis = angles.cos() * torch.where(n == 0, math.sqrt(1 / FILTERS), math.sqrt(2 / FILTERS))
    return (basis * (1 + LIFTER / 2 * torch.sin(math.pi * n / LIFTER))).to(device, dtype)
