"""Lightning's progress bar, without a look at the device at every step."""

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

EVERY = 10  # steps between two looks, each of which waits for the device


class ProgressBar(RichProgressBar):
    """`RichProgressBar` whose figures, in training, are those of the latest tenth step; its clock runs on at each."""

    known: dict[str, int | str | float] | None = None

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, int | str | float]:
        if not (self.known and trainer.training and trainer.global_step % EVERY):
            self.known = super().get_metrics(trainer, pl_module)
        return self.known
