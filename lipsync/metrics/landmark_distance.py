"""LMD: how far the lips' landmarks are from where they truly were."""

import torch
from torch import Tensor

from lipsync.corpora.landmarks import EYES, LIPS
from lipsync.metrics.clip_metric import ClipMetric
from lipsync.metrics.views import View, match

PIXELS = 128  # side of the crop that `lmd_pixels` is stated for


class LandmarkDistance(ClipMetric):
    """Mean distance of the 40 lip landmarks over a clip's frames; 0 is best.

    `lmd` is in percent of the distance of the outer eye corners, after each face was moved and scaled to have its own
    where the other has them; `lmd_pixels` is the raw distance in pixels of a 128 px crop, as papers state it.
    """

    names = ("lmd", "lmd_pixels")

    def score(self, view: View, truth: View) -> dict[str, Tensor]:
        """Compares two clips of the same frames."""
        match(view, truth)
        raw = (view.landmarks[:, LIPS] - truth.landmarks[:, LIPS]).norm(dim=-1)
        normal = (in_face(view.landmarks) - in_face(truth.landmarks)).norm(dim=-1)
        return {"lmd": 100 * normal.mean(), "lmd_pixels": PIXELS * raw.mean()}


def in_face(landmarks: Tensor) -> Tensor:
    """Lip landmarks (N, 40, 2) from the middle between the outer eye corners, in units of their distance."""
    left, right = landmarks[:, EYES[0], None], landmarks[:, EYES[1], None]
    # On what is no face the corners may fall together; a hundredth of the crop keeps that finite.
    across = (right - left).norm(dim=-1, keepdim=True).clamp_min(0.01)
    return (landmarks[:, LIPS] - torch.lerp(left, right, 0.5)) / across
