"""Lightning's progress bar, without a look at the device at every step."""

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

EVERY = 10  # steps between two looks, each of which waits for the device


class ProgressBar(RichProgressBar):
    """`RichProgressBar` whose loss is that of the latest tenth step; its clock runs on at every one."""

    def __init__(self, refresh_rate: int = 1, leave: bool = False) -> None:
        super().__init__(refresh_rate, leave)
        self.known: dict[str, int | str | float] = {}

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, int | str | float]:
        if trainer.global_step % EVERY == 0 or not trainer.training:
            self.known = super().get_metrics(trainer, pl_module)
        return self.known
