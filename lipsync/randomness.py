"""Random numbers as a function of (seed, stream, index): no state, so a resumed or a wider run sees the same ones."""

import math
import zlib
from functools import cache

import torch
from torch import Tensor

# SplitMix64 (Steele, Lea & Flood 2014); the unsigned constants as the int64 that torch multiplies modulo 2^64.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical right shift: torch's own copies the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _MIX_1
    z = (z ^ _shift(z, 27)) * _MIX_2
    return z ^ _shift(z, 31)


@cache
def _key(seed: int, stream: str) -> int:
    """A number of the host's: a tensor of it, on its way to the device, would have the host wait for that."""
    both = (seed * 0x1_0000_0001 + zlib.crc32(stream.encode())) % (1 << 64)
    return int(_mix(torch.tensor(both - (1 << 64) if both >> 63 else both) * _GOLDEN))


def words(seed: int, stream: str, index: Tensor, count: int) -> Tensor:
    """Draws `count` 64-bit words for every index.

    Args:
        seed: The run's seed.
        stream: Name of what is drawn ("t", "eps", ...); streams are independent.
        index: (B,) int64 positions in the endless stream of samples.
        count: Words an index.

    Returns:
        (B, count) int64.
    """
    start = _mix(_key(seed, stream) + index * _GOLDEN)
    return _mix(start[:, None] + torch.arange(1, count + 1, device=index.device) * _GOLDEN)


def uniform(seed: int, stream: str, index: Tensor, shape: tuple[int, ...] = ()) -> Tensor:
    """Draws uniform float32 numbers in [0, 1), (B, *shape), for every index (B,)."""
    top = _shift(words(seed, stream, index, math.prod(shape)), 40)
    return (top.float() * 2.0**-24).view(len(index), *shape)


def normal(seed: int, stream: str, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Draws standard normal float32 numbers, (B, *shape), for every index (B,), by Box and Muller's transform."""
    count = math.prod(shape)
    word = words(seed, stream, index, (count + 1) // 2)
    radius = (-2 * torch.log1p(-_shift(word, 40).float() * 2.0**-24)).sqrt()
    angle = (word & 0xFFFFFF).float() * (2 * math.pi * 2.0**-24)
    pair = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=2)
    return pair.flatten(1)[:, :count].view(len(index), *shape)


def integers(seed: int, stream: str, index: Tensor, high: int) -> Tensor:
    """Draws int64 numbers in [0, high), one for every index (B,); `high` stays far below 2^24."""
    return (uniform(seed, stream, index) * high).long()
