"""Does the mouth follow the sound: correlation of generated and true mouth opening."""

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from lipsync.corpora.landmarks import mouth_opening
from lipsync.errors import LipsyncError
from lipsync.metrics.clip_metric import ClipMetric
from lipsync.metrics.views import View, Viewer


class MouthMeter(nn.Module):
    """Measures how far mouths are open from nothing but pixels: FaceMesh on the face crops themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.viewer = Viewer()

    def forward(self, pictures: Tensor) -> Tensor:
        """Measures (N, 3, S, S) crops in [-1, 1]; returns openings (N,) in units of `landmarks.mouth_opening`."""
        return mouth_opening(self.viewer(pictures).landmarks)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Computes Pearson's r along the last dimension; a series that never moves correlates with nothing (0)."""
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1)).clamp_min(1e-12)


class OpeningCorrelation(Metric):
    """Correlates the generated mouths' opening with the true opening of the clips whose sound drove them.

    `opening_correlation` is the mean over clips, `_worst` the lowest clip, `_pooled` over all frames of all clips at
    once, `_shuffled` the mean against every OTHER clip's truth, which an honest measure leaves near 0.
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("measured", [], dist_reduce_fx="cat")
        self.add_state("true", [], dist_reduce_fx="cat")

    def update(self, measured: Tensor, true: Tensor) -> None:
        """Takes openings (B, N) of B clips of N frames."""
        self.measured.append(measured.double())
        self.true.append(true.double())

    def compute(self) -> dict[str, Tensor]:
        measured, true = torch.cat(self.measured), torch.cat(self.true)
        matrix = correlation(measured[:, None], true[None])
        own = matrix.diagonal()
        return {
            "opening_correlation": own.mean(),
            "opening_correlation_worst": own.min(),
            "opening_correlation_pooled": correlation(measured.flatten(), true.flatten()),
            "opening_correlation_shuffled": matrix[~torch.eye(len(own), dtype=torch.bool, device=own.device)].mean(),
        }


class OpeningAgreement(ClipMetric):
    """Pearson's r of a clip's measured mouth opening and the one its sound asks for; 1 is best.

    A generated mouth that never moves scores 0; a given opening that never moves, or is unknown but for a frame, asks
    for nothing and leaves the clip out.
    """

    names = ("opening_r",)

    def score(self, view: View, opening: Tensor) -> dict[str, Tensor]:
        """Compares a clip's N frames with `opening` (N,), in any unit, NaN where unknown."""
        if opening.shape != (len(view.landmarks),):
            raise LipsyncError(f"{len(view.landmarks)} frames cannot be compared with openings {tuple(opening.shape)}")
        known = opening.isfinite()
        measured, given = mouth_opening(view.landmarks)[known].double(), opening[known].double()
        if len(given) < 2 or given.min() == given.max():
            return {"opening_r": given.new_tensor(torch.nan)}
        return {"opening_r": correlation(measured, given)}
