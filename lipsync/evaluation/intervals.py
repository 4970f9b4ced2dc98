"""Means over clips and how far they can be trusted: the bootstrap, which draws clips again."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lipsync.metrics.frechet import Moments, frechet_distance, moments

FRECHET_RESAMPLES = 200
CLIPS_AT_ONCE = 256  # whose second moments are held in memory


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
    distance of all clips.
    """
    clips = len(features)
    drawn = np.random.default_rng((seed, clips)).integers(clips, size=(FRECHET_RESAMPLES, clips))
    times = np.stack([np.bincount(row, minlength=clips) for row in drawn])
    times = torch.from_numpy(np.concatenate((np.ones((1, clips)), times)))  # first: every clip once
    pairs = zip(taken(features, times), taken(truth, times), strict=True)
    distance, *spread = (float(frechet_distance(*pair)) for pair in pairs)
    low, median, high = np.quantile(spread, (0.025, 0.5, 0.975)).tolist()
    return Interval(distance, max(distance + low - median, 0.0), distance + high - median, clips)


def taken(features: list[Tensor], times: Tensor) -> list[Moments]:
    """Sums up clips' features (N, F), clip c taken times[r, c] times: R moments for times (R, C)."""
    sums = None
    for first in range(0, len(features), CLIPS_AT_ONCE):
        some = [moments(feature.cpu()) for feature in features[first : first + CLIPS_AT_ONCE]]
        weights = times[:, first : first + CLIPS_AT_ONCE]
        more = [torch.tensordot(weights, torch.stack(parts), dims=1) for parts in zip(*some, strict=True)]
        sums = more if sums is None else [a + b for a, b in zip(sums, more, strict=True)]
    return [Moments(*parts) for parts in zip(*sums, strict=True)]
