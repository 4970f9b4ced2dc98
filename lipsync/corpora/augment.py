"""What training changes in what it reads: drawn by a worker for every window, done on the device for all its frames."""

import numpy as np
import torch
from kornia.enhance import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    jpeg_codec_differentiable,
)
from kornia.filters import gaussian_blur2d
from torch import Tensor

from lipsync.randomness import normal

# Mild changes of colour: added to [0, 1], factor, factor, radians of hue.
COLOUR_CENTRE = np.array([0.0, 1.0, 1.0, 0.0])
COLOUR_RANGE = np.array([0.06, 0.1, 0.15, 0.06])
BLUR = (0.4, 1.2)  # standard deviation in pixels of the crop
BLUR_KERNEL = 9  # pixels, 3.75 of the widest blur's deviations either way
QUALITY = (20.0, 80.0)  # of JPEG
GAIN = (-9.0, 9.0)  # dB
NOISE = (-75.0, -35.0)  # dBFS, RMS: a studio to a fan in the room
# Of `landmarks.opening`: 7 % of the frames of real speech measure less, one by one, but hardly ten in a row.
CLOSED = 0.03
HEARD_BEFORE, HEARD_AFTER = 1, 4  # frames: a frame's mel begins one before its time and spans five


def draw_colour(rng: np.random.Generator) -> Tensor:
    """Draws (4,) brightness, contrast, saturation and hue, as `recolour` takes them."""
    return torch.from_numpy(COLOUR_CENTRE + COLOUR_RANGE * rng.uniform(-1, 1, 4)).float()


def draw_degrading(rng: np.random.Generator, share: float) -> Tensor:
    """Draws (2,) blur in pixels, 0 for none, and JPEG quality, 100 for none; each is done to that share of windows."""
    blurred, compressed = rng.random(2) < share
    sigma, quality = rng.uniform(*BLUR), rng.uniform(*QUALITY)
    return torch.tensor([sigma if blurred else 0.0, quality if compressed else 100.0])


def draw_disturbing(rng: np.random.Generator, share: float, opening: np.ndarray, first: int, frames: int) -> Tensor:
    """Draws (2,) factor of a window's sound and RMS of the noise added to it, full scale being 1.

    Args:
        rng: of the window.
        share: of windows whose sound is changed; of those with a closed mouth, as many again are silenced.
        opening: of the mouth in all frames of the clip; empty or NaN where it was not measured, which is not closed.
        first, frames: of the window.
    """
    changed, silenced = rng.random(2) < share
    gain, noise = 10 ** (np.array([rng.uniform(*GAIN), rng.uniform(*NOISE)]) / 20)
    near = opening[max(first - HEARD_BEFORE, 0) : first + frames + HEARD_AFTER]
    closed = len(near) > 0 and bool((near <= CLOSED).all())
    return torch.tensor([0.0 if silenced and closed else gain if changed else 1.0, noise if changed else 0.0])


def jitter(rng: np.random.Generator, boxes: np.ndarray, share: float) -> np.ndarray:
    """Scale and shift each of (N, 4) boxes (y0, y1, x0, x1) by itself, by up to `share` of its side."""
    corners = boxes.reshape(-1, 2, 2)
    centre, half = corners.mean(2), (corners[..., 1] - corners[..., 0]) / 2
    centre = centre + 2 * half * rng.uniform(-share, share, centre.shape)
    half = half * (1 + rng.uniform(-share, share, (len(boxes), 1)))
    return np.stack([centre - half, centre + half], axis=2).reshape(-1, 4)


def recolour(pictures: Tensor, colour: Tensor) -> Tensor:
    """Change the colours of (B, N, 3, H, W) in [0, 1] by (B, 4): brightness, contrast, saturation, hue; N alike."""
    brightness, contrast, saturation, hue = colour.unbind(1)
    pictures = adjust_contrast(adjust_brightness(pictures, brightness), contrast)
    return adjust_hue(adjust_saturation(pictures, saturation), hue)


def degrade(pictures: Tensor, degrading: Tensor) -> Tensor:
    """Blurs, then compresses as JPEG does, the windows that are to be, all their pictures alike.

    Args:
        pictures: (B, N, 3, H, W) in [0, 1], which is not changed.
        degrading: (B, 2) on the host, as `draw_degrading` draws it: who is changed costs, and nothing waits to know.
    """
    pictures, count = pictures.clone(), pictures.shape[1]
    for column, none, change in ((0, 0.0, _blur), (1, 100.0, jpeg_codec_differentiable)):
        chosen = (degrading[:, column] != none).nonzero().flatten()
        if len(chosen):
            strength = degrading[chosen, column].repeat_interleave(count)
            chosen = chosen.to(pictures.device, non_blocking=True)
            changed = change(pictures[chosen].flatten(0, 1), strength)
            pictures[chosen] = changed.unflatten(0, (-1, count)).clamp(0, 1)
    return pictures


def _blur(pictures: Tensor, sigma: Tensor) -> Tensor:
    return gaussian_blur2d(pictures, BLUR_KERNEL, sigma[:, None].repeat(1, 2), border_type="replicate")


def disturb(audio: Tensor, disturbing: Tensor, seed: int, index: Tensor) -> Tensor:
    """Makes sound louder or softer, or silences it, and adds noise.

    Args:
        audio: (B, K) int16.
        disturbing: (B, 2) on the host, as `draw_disturbing` draws it.
        seed: together with the index (B,) it decides the noise.

    Returns:
        (B, K) float32 in int16's range, which loud samples are cut to.
    """
    noisy = disturbing[:, 1].nonzero().flatten()
    disturbing, noisy = (drawn.to(audio.device, non_blocking=True) for drawn in (disturbing, noisy))
    heard = audio * disturbing[:, :1].float()
    noise = normal(seed, "noise", index[noisy], audio.shape[1:]) * 32768
    heard[noisy] += noise * disturbing[noisy, 1:].float()
    return heard.clamp(-32768, 32767)
