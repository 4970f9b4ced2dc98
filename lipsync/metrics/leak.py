"""LipLeak: does the mouth move although nothing is said."""

from torch import Tensor

from lipsync.corpora.landmarks import mouth_aspect
from lipsync.metrics.clip_metric import ClipMetric
from lipsync.metrics.views import View

OPEN = 0.25  # aspect ratio of the inner lips above which a mouth counts as open


class LipLeak(ClipMetric):
    """Share of a clip's frames whose mouth is open; of a clip generated for silence, what leaked from its input."""

    names = ("leak",)

    def score(self, view: View) -> dict[str, Tensor]:
        """Counts the open mouths of a clip."""
        return {"leak": (mouth_aspect(view.landmarks) > OPEN).double().mean()}
