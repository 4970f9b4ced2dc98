"""The jaw's outline in every frame: steady, and low enough for a mouth that opens further than it did."""

import numpy as np
import torch
from torch import Tensor

from lipsync.corpora.crop import smooth
from lipsync.corpora.landmarks import BRIDGE, CHIN, JAW, NOSE_BASE
from lipsync.preparation.tracks import Track

STEADY = 0.12  # seconds of smoothing (sigma), as much as the box's centre has
SPEECH = 0.25  # lengths of the nose by which chins drop in speech: 0.12 to 0.42 in six real clips


def outlines(track: Track, fps: float) -> Tensor:
    """Outlines (T, K, 2) float32, x, y of `landmarks.JAW`, of the jaw that may be painted rather than of the one there.

    Smoothed in time. The chin then lies where it is when this track's mouth is most open (99.5 % of the frames), at
    least SPEECH below a closed one; the other points follow by how far down they lie between ears and chin.
    """
    # A point at a time, and steady ones only: copies of all in float64 would be most of what a long video needs.
    parts = (torch.from_numpy(track.points[point]).double() for point in (BRIDGE, NOSE_BASE, CHIN, *JAW))
    steady = torch.stack([smooth(places, STEADY * fps).float() for places in parts], 1)
    seen = torch.from_numpy(np.stack([track.points[point] for point in (BRIDGE, NOSE_BASE, CHIN)], 1)).float()
    nose = steady[:, 1] - steady[:, 0]
    length = nose.norm(dim=1).clamp(min=1e-6)
    down = nose / length[:, None]

    def depths(places: Tensor) -> Tensor:
        """(T, N) of points (T, N, 2) after bridge and base: below the base, in lengths of the nose."""
        return torch.einsum("tnc,tc->tn", places[:, 2:] - places[:, 1:2], down) / length[:, None]

    chins, depth = depths(seen)[:, 0], depths(steady)
    chin, jaw = depth[:, :1], depth[:, 1:]
    lowest = torch.maximum(chins.quantile(0.995), chins.quantile(0.05) + SPEECH)
    ears = jaw[:, [0, -1]].mean(1, keepdim=True)
    share = ((jaw - ears) / (chin - ears).clamp(min=1e-6)).clamp(0, 1)
    drop = share * (lowest - chin).clamp(min=0) * length[:, None]
    return steady[:, 3:] + drop[:, :, None] * down[:, None]
