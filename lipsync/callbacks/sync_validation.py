"""How well a model that is being trained follows the sound, in one number."""

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lipsync.metrics.opening import MouthMeter, correlation


class SyncValidation(Callback):
    """Logs `val/sync` at every validation: do held-out mouths follow the sound of other people's clips?

    The mean correlation of the mouth's opening, as painted and as it was in the clip that the sound is from: 1 is best,
    a mouth that never moves has 0. No network that is trained on has a say in it.

    Args:
        clips: How many are dubbed at most.
        steps: Sampling steps; None: the model's own.
    """

    def __init__(self, clips: int = 8, steps: int | None = None) -> None:
        self.clips, self.steps = clips, steps
        self.batch: dict[str, Tensor] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reads the clips once, and before any training: a corpus that has too few must say so now."""
        self.batch = trainer.datamodule.sample_pairs(self.clips, pl_module.device)
        self.meter = MouthMeter().to(pl_module.device)

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.batch is None:
            return
        # Every process dubs all of them: what is compared must be known everywhere.
        dubbed = pl_module.dub_clips(self.batch, "driving_mels", self.steps)
        painted = self.meter(dubbed.flatten(0, 1)).view(dubbed.shape[:2])
        score = correlation(painted.float(), self.batch["opening_driving"].float()).mean()
        pl_module.log("val/sync", score, sync_dist=True)
