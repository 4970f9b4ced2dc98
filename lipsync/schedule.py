"""How much each term of eq. 9 counts, and from when."""

from lipsync.errors import LipsyncError, meant

# As the authors gave them; the variational term is the hybrid loss's, 0.001 * T = 1 at T = 1000. `mesh` stands in for
# LPIPS where its weights cannot be had.
PAPER_WEIGHTS = {"simple": 1.0, "vb": 1.0, "l2": 1.0, "sync": 0.1, "lpips": 0.25, "mesh": 0.0, "gan": 0.5}
# First step and steps of the rise: the picture before what judges it. (At full weight from the start L_sync explodes.)
TWO_STAGES = dict.fromkeys(("sync", "lpips", "mesh", "gan"), (10000, 10000))


class Schedule:
    """Weighs the terms.

    Args:
        weights: By term, over the paper's; 0 removes one.
        stages: By term, first step and steps of the rise from there, over `TWO_STAGES`; other terms count from the
            start.

    Raises:
        LipsyncError: A term that is none, or a stage that is no pair of steps.
    """

    def __init__(self, weights: dict[str, float] | None, stages: dict[str, list[int]] | None) -> None:
        for argument, given in (("loss_weights", weights), ("schedule", stages)):
            if unknown := sorted((given or {}).keys() - PAPER_WEIGHTS.keys()):
                nearest = meant(unknown[0], PAPER_WEIGHTS)
                raise LipsyncError(f"{argument}: no such term {unknown}; there are {sorted(PAPER_WEIGHTS)}{nearest}")
        self.weights = PAPER_WEIGHTS | (weights or {})
        self.stages = dict.fromkeys(PAPER_WEIGHTS, (0, 0)) | TWO_STAGES | (stages or {})
        for name, stage in self.stages.items():
            if len(stage) != 2 or min(stage) < 0:
                raise LipsyncError(f"schedule.{name}: {stage} is no pair of a first step and the steps of its rise")

    def wants(self, name: str) -> bool:
        """Whether a term ever counts."""
        return self.weights[name] > 0

    def start(self, name: str) -> int:
        """The first step at which a term counts."""
        return self.stages[name][0]

    def at(self, step: int | None) -> dict[str, float]:
        """The weights of the terms that count at a step; without one, as at the end."""
        counting = {}
        for name, weight in self.weights.items():
            start, rise = self.stages[name]
            risen = 1.0 if step is None or step >= start + rise else (step - start + 1) / (rise + 1)
            if weight > 0 and risen > 0:
                counting[name] = weight * risen
        return counting
