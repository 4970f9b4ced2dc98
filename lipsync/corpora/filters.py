"""Filters: thresholds on what was measured of a clip, applied at reading, so that new ones prepare nothing again."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lipsync.errors import LipsyncError, check_choice

# In the order of the manifest's columns; data/README.md says what each one is.
MEASUREMENTS = (
    "face",
    "presence",
    "interpolated",
    "yaw",
    "pitch",
    "roll",
    "sharpness",
    "luma",
    "crowd",
    "sound_db",
    "silent",
    "clipped",
    "opening_std",
)
NAMES = (*MEASUREMENTS, "seconds", "sync_confidence")
Filters = dict[str, list[float | None]]


class Removal(NamedTuple):
    """Clips and hours that fail a filter, and those among them that pass all others."""

    clips: int
    hours: float
    alone_clips: int
    alone_hours: float


def check(filters: Filters) -> None:
    """Raises LipsyncError for a filter that does not exist, or whose bounds are not [least, most]."""
    for name, bounds in filters.items():
        check_choice("filters", name, NAMES)
        numbers = [bound for bound in bounds if bound is not None]
        if len(bounds) != 2 or numbers != sorted(numbers):
            raise LipsyncError(f"filters: {name} {bounds} is not [least, most]; null leaves one open")


def judge(root: str | Path, measured: Mapping[str, np.ndarray], filters: Filters) -> dict[str, np.ndarray]:
    """Hold clips against each filter by itself.

    Args:
        root: of the corpus, for messages.
        measured: (N,) numbers of every clip by the filter's name, NaN where unknown.
        filters: name -> [least, most], both included; None where there is no bound.

    Returns:
        Name -> (N,) bool, True where a clip passes.

    Raises:
        LipsyncError: what a filter asks for was not measured on some clip.
    """
    passes = {}
    for name, (least, most) in filters.items():
        values = measured[name]
        if unknown := int(np.isnan(values).sum()):
            how = "run `lipsync sync`" if name == "sync_confidence" else "prepare them again"
            raise LipsyncError(f"filters: {name} of {unknown} of the {len(values)} clips of {root} is unknown: {how}")
        passes[name] = np.ones(len(values), bool)
        if least is not None:
            passes[name] &= values >= least
        if most is not None:
            passes[name] &= values <= most
    return passes


def removals(passes: dict[str, np.ndarray], seconds: np.ndarray) -> dict[str, Removal]:
    """Count what each filter removes, and what all of them together do.

    Args:
        passes: as `judge` returns them.
        seconds: (N,) lengths of the clips.

    Returns:
        The filters in their order and, last, `together`.
    """
    failures = sum((~passed for passed in passes.values()), np.zeros(len(seconds), np.int64))

    def removal(removed: np.ndarray, alone: np.ndarray) -> Removal:
        hours = [float(seconds[clips].sum()) / 3600 for clips in (removed, alone)]
        return Removal(int(removed.sum()), hours[0], int(alone.sum()), hours[1])

    found = {name: removal(~passed, ~passed & (failures == 1)) for name, passed in passes.items()}
    return found | {"together": removal(failures > 0, failures > 0)}
