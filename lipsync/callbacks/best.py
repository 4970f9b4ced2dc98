"""The checkpoint that scored best."""

import logging
import math
from pathlib import Path

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from lipsync.safekeeping import save

log = logging.getLogger(__name__)


class Best(Checkpoint):
    """Keeps `checkpoints/best.ckpt` of the run folder, from the validation at which a metric was highest.

    Args:
        metric: Its name, as logged; without it nothing is kept, which is told once.
    """

    def __init__(self, metric: str = "val/sync") -> None:
        self.metric = metric
        self.best = -math.inf
        self.told = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        value = trainer.callback_metrics.get(self.metric)
        if value is None:
            if not self.told:
                log.warning("No best.ckpt is kept: validation logs no %s", self.metric)
            self.told = True
            return
        # Validation's metrics are of all processes together; still they must not part over a rounded digit.
        value = trainer.strategy.broadcast(value.item())
        if not value > self.best:
            return
        before, self.best = self.best, value  # before saving, which saves it, too
        if not save(trainer, Path(trainer.default_root_dir) / "checkpoints" / "best.ckpt"):
            self.best = before  # of what is there

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.best = state["best"]
