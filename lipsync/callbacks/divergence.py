"""The end of a run that only gets worse."""

import logging
import math
import os
import shutil
from pathlib import Path

from lightning import Callback, LightningModule, Trainer

from lipsync.errors import LipsyncError
from lipsync.files import tolerated, whole

EVERY = 10  # steps between two looks, each of which waits for the device
MEMORY = 20  # looks over which the loss is averaged

log = logging.getLogger(__name__)


class Divergence(Callback):
    """Ends a run whose loss stays far above its best, and puts the last good checkpoint back in the place of the last.

    What diverged is kept as `checkpoints/diverged.ckpt`. (`safekeeping.NonFinite` ends a run without finite gradients.)

    Args:
        metric: The loss, as logged at every step; not a sum whose terms come one after another.
        factor: How many times its best the loss, averaged over some 200 steps, must be.
        patience: For how many steps.
    """

    def __init__(self, metric: str = "train/simple", factor: float = 5.0, patience: int = 300) -> None:
        self.metric, self.factor, self.patience = metric, factor, patience
        self.mean = self.best = math.inf
        self.looked = self.fine = 0  # steps of the last look, and of the last one that saw nothing
        self.reason = ""
        self.told = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.looked = trainer.global_step
        last = Path(trainer.default_root_dir, "checkpoints", "last.ckpt")
        if trainer.is_global_zero and last.is_file() and trainer.ckpt_path and last.samefile(trainer.ckpt_path):
            keep(last, last.with_name("good.ckpt"))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        step = trainer.global_step
        if step % EVERY or step == self.looked:
            return
        self.looked = step
        loss = trainer.callback_metrics.get(self.metric)
        if loss is not None:
            self._look(trainer, loss.item())
        elif not self.told:
            log.warning("Divergence goes unnoticed: training logs no %s", self.metric)
            self.told = True

    def _look(self, trainer: Trainer, loss: float) -> None:
        if math.isfinite(loss):
            self.mean = loss if math.isinf(self.mean) else self.mean + (loss - self.mean) / MEMORY
            self.best = min(self.best, self.mean)
        if self.mean <= self.factor * self.best:
            self.fine = self.looked
            last = Path(trainer.default_root_dir, "checkpoints", "last.ckpt")
            # The mean is slow: what is already far above it is not to be kept as good.
            if loss <= self.factor * self.best and trainer.is_global_zero and last.is_file():
                keep(last, last.with_name("good.ckpt"))
        above = self.looked - self.fine
        # One process's loss must not end it alone: the others would wait for it.
        if trainer.strategy.reduce_boolean_decision(above >= self.patience, all=False):
            self.reason = (
                f"step {self.looked}: {self.metric} is {self.mean:.3g} and was for {above} steps more than "
                f"{self.factor:g} times its best, {self.best:.3g}"
            )
            trainer.should_stop = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        last = Path(trainer.default_root_dir, "checkpoints", "last.ckpt")
        good = last.with_name("good.ckpt")
        if not self.reason:
            if trainer.is_global_zero:
                good.unlink(missing_ok=True)
            return
        found = trainer.strategy.broadcast(good.is_file())  # the others would see it on its way
        if trainer.is_global_zero and last.is_file():
            os.replace(last, last.with_name("diverged.ckpt"))
        if trainer.is_global_zero and found:
            os.replace(good, last)
        again = "go on from the last good checkpoint (--ckpt_path last)" if found else "begin anew"
        raise LipsyncError(f"{self.reason}: {again} with a lower model.lr")

    def state_dict(self) -> dict[str, float]:
        return {"mean": self.mean, "best": self.best, "fine": self.fine}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.mean, self.best, self.fine = state["mean"], state["best"], state["fine"]


def keep(path: Path, name: Path) -> None:
    """Gives a file a second name that outlives its replacement; where there are no links, a copy."""
    if name.is_file() and name.samefile(path):
        return
    with tolerated(name), whole(name) as beside:
        beside.unlink(missing_ok=True)
        try:
            os.link(path, beside)
        except OSError:
            shutil.copyfile(path, beside)
