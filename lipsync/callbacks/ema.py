"""An exponential average of the UNet's weights."""

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lipsync.errors import LipsyncError


class EMA(Callback):
    """Averages the UNet's weights; validation, tests and checkpoints show the average, training resumes from the raw.

    Args:
        decay: Of the exponential average, once warm: min(decay, (1 + n) / (10 + n)) after n steps.
    """

    def __init__(self, decay: float = 0.9999) -> None:
        self.decay = decay
        self.shadow: list[Tensor] = []
        self.steps = 0
        # What the module holds is the average (and the shadow the raw weights) while this is set.
        self.swapped = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not before: the module may have taken another checkpoint's weights to start from.
        if not self.shadow:
            self.shadow = [p.detach().clone() for p in pl_module.unet.parameters()]
        self.shadow = [s.to(pl_module.device) for s in self.shadow]
        self._show(pl_module, average=False)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if trainer.global_step > self.steps:
            self.steps = trainer.global_step
            if all(p.grad is None for p in pl_module.unet.parameters()):
                return  # a step that was skipped moves nothing
            weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(self.shadow, [p.detach() for p in pl_module.unet.parameters()], weight)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(pl_module, average=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(pl_module, average=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(pl_module, average=True)

    def _show(self, pl_module: LightningModule, average: bool) -> None:
        if self.shadow and average != self.swapped:
            for parameter, place in zip(pl_module.unet.parameters(), range(len(self.shadow)), strict=True):
                parameter.data, self.shadow[place] = self.shadow[place].to(parameter.device), parameter.data
            self.swapped = average

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict) -> None:
        names = [f"unet.{name}" for name, _ in pl_module.unet.named_parameters()]
        live = {name: checkpoint["state_dict"][name] for name in names}
        shadow = dict(zip(names, self.shadow, strict=True))
        average, raw = (live, shadow) if self.swapped else (shadow, live)
        checkpoint["state_dict"] |= average
        checkpoint["raw_weights"] = raw
        checkpoint["ema_steps"] = self.steps

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict) -> None:
        if trainer.state.fn != "fit":
            return
        if "raw_weights" not in checkpoint:
            raise LipsyncError("the checkpoint was written without the EMA callback: resume it without, or start anew")
        named = dict(pl_module.unet.named_parameters())
        self.shadow = [checkpoint["state_dict"][f"unet.{name}"].clone() for name in named]
        with torch.no_grad():
            for name, parameter in named.items():
                parameter.copy_(checkpoint["raw_weights"][f"unet.{name}"])
        self.steps, self.swapped = checkpoint["ema_steps"], False
