"""The base of all that is measured on one clip: a mean over clips that also knows every clip's value."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat


class ClipMetric(Metric, ABC):
    """Scores clips one by one; a score that is undefined for a clip is left out, of its scores and of the mean.

    A clip that was seen twice, as samplers that fill up the last round have it, counts once. Values are kept in float64
    and added in the order of the clips' numbers, so that any number of processes gets the same digits.

    Attributes:
        names: What `score` returns, in this order.
    """

    names: tuple[str, ...]
    full_state_update = False
    is_differentiable = False

    def __init__(self) -> None:
        super().__init__()
        # Flat, and the metric's own type: a process without clips sends an empty tensor of that type.
        self.set_dtype(torch.float64)
        self.add_state("rows", [], dist_reduce_fx="cat")

    @abstractmethod
    def score(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """Measures one clip: scalars by name; NaN where a score is undefined."""

    def update(self, index: int, *args: object, **kwargs: object) -> None:
        """Measures clip number `index`; the other arguments are those of `score`."""
        scores = self.score(*args, **kwargs)
        row = torch.stack([scores[name].double().to(self.device) for name in self.names])
        self.rows.append(torch.cat([row.new_tensor([index]), row]))

    def compute(self) -> dict[str, Tensor]:
        _, scores = self._table()
        means = scores.nanmean(dim=0)
        return {name: mean for name, mean in zip(self.names, means, strict=True) if not mean.isnan()}

    def by_clip(self) -> dict[int, dict[str, float]]:
        """Returns every clip's scores, of all processes; to be called on each of them."""
        with self.sync_context():
            numbers, scores = self._table()
        named = [{n: x for n, x in zip(self.names, row, strict=True) if x == x} for row in scores.tolist()]
        return dict(zip(numbers.tolist(), named, strict=True))

    def _table(self) -> tuple[Tensor, Tensor]:
        """Numbers (C,) of all clips, rising, and their scores (C, K)."""
        flat = dim_zero_cat(self.rows) if len(self.rows) else torch.zeros(0, dtype=torch.float64)
        table = flat.view(-1, 1 + len(self.names))
        numbers, place = table[:, 0].long().unique(return_inverse=True)
        first = torch.full_like(numbers, len(table)).scatter_reduce(
            0, place, torch.arange(len(table), device=place.device), "amin"
        )
        return numbers, table[first, 1:]
