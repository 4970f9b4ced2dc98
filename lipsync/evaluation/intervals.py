"""Means over clips and how far they can be trusted: the bootstrap, which draws clips again."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lipsync.metrics.frechet import Moments, frechet_distance, moments

FRECHET_RESAMPLES = 200
WIDE = 512  # features; one distance of 2048 takes a core 10 s
WIDE_RESAMPLES = 20
HELD = 2**28  # bytes of second moments that are held at once


class Interval(NamedTuple):
    """A mean over clips with the bounds of its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    clips: int


def interval(values: list[float], seed: int = 0, resamples: int = 1000) -> Interval:
    """Bootstraps the mean of one value a clip; the same numbers for the same values in the same order."""
    count, mean = len(values), math.fsum(values) / len(values)
    drawn = np.random.default_rng((seed, count)).integers(count, size=(resamples, count))
    # About the mean, so that equal values have an interval of no width.
    deviations = (np.asarray(values, np.float64) - mean)[drawn].mean(axis=1)
    low, high = np.quantile(deviations, (0.025, 0.975))
    return Interval(mean, mean + float(low), mean + float(high), count)


def frechet_interval(features: list[Tensor], truth: list[Tensor], seed: int = 0) -> Interval:
    """Bootstraps the Frechet distance over clips, (N, F) features each; a clip is drawn together with its truth.

    Few different clips lie further apart, so resampled distances are too large: their spread is laid about the
    distance of all clips. It is that of 200 resamples; of 20, by 1.96 standard deviations, where both F and the number
    of frames are above 512.
    """
    features, truth = narrowed(features, truth)
    clips, width = len(features), features[0].shape[1]
    resamples = FRECHET_RESAMPLES if width <= WIDE else WIDE_RESAMPLES
    drawn = np.random.default_rng((seed, clips)).integers(clips, size=(resamples, clips))
    times = np.stack([np.bincount(row, minlength=clips) for row in drawn])
    times = torch.from_numpy(np.concatenate((np.ones((1, clips)), times)))  # first: every clip once
    distance, *spread = (
        float(frechet_distance(*pair))
        for some in times.split(at_once(width))
        for pair in zip(taken(features, some), taken(truth, some), strict=True)
    )
    if width <= WIDE:
        low, median, high = np.quantile(spread, (0.025, 0.5, 0.975)).tolist()
        below, above = median - low, high - median
    else:
        below = above = 1.96 * float(np.std(spread, ddof=1))
    return Interval(distance, max(distance - below, 0.0), distance + above, clips)


def narrowed(features: list[Tensor], truth: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Turns two sets of fewer frames M than features F into axes of their own, (N, M) each: distances stay."""
    if sum(map(len, (*features, *truth))) >= features[0].shape[1]:
        return features, truth
    axes = torch.linalg.qr(torch.cat([*features, *truth]).double().cpu().T).Q
    ours, true = ([feature.double().cpu() @ axes for feature in side] for side in (features, truth))
    return ours, true


def at_once(width: int) -> int:
    """Counts the second moments of features so wide that are held at once."""
    return min(max(HELD // (8 * width**2), 1), 256)


def taken(features: list[Tensor], times: Tensor) -> list[Moments]:
    """Sums up clips' features (N, F), clip c taken times[r, c] times: R moments for times (R, C)."""
    sums, count = None, at_once(features[0].shape[1])
    for first in range(0, len(features), count):
        some = [moments(feature.cpu()) for feature in features[first : first + count]]
        weights = times[:, first : first + count]
        more = [torch.tensordot(weights, torch.stack(parts), dims=1) for parts in zip(*some, strict=True)]
        sums = more if sums is None else [a + b for a, b in zip(sums, more, strict=True)]
    return [Moments(*parts) for parts in zip(*sums, strict=True)]
