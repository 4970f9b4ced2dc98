"""SyncExpert, the LightningModule that trains a SyncNet, and the frozen form of it that sits in the loss."""

import torch
from lightning import LightningModule
from torch import Tensor, nn

from lipsync.learning_rate import warm_up_then_decay
from lipsync.losses import contrast_loss, pair_cosines
from lipsync.networks.syncnet import SyncNet


class SyncExpert(LightningModule):
    """Learns whether a window's mouth and its sound belong together.

    Args:
        syncnet: Arguments of `networks.syncnet.SyncNet`.
        lr: Learning rate of AdamW.
        weight_decay: Of AdamW.
        warmup: Steps over which the learning rate rises.
        decay: Share of the run, at its end, over which the learning rate falls to zero.
    """

    def __init__(
        self,
        syncnet: dict[str, int | str | list[int]] | None = None,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        warmup: int = 100,
        decay: float = 0.4,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.syncnet = SyncNet(**(syncnet or {}))

    def embed(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Embeds a batch's windows: audio (B, E) and face (B, E), of unit length."""
        return self.syncnet(batch["mel"], self.syncnet.faces(batch["frames"]))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = contrast_loss(*self.embed(batch))
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        audio, face = self.embed(batch)
        if len(audio) < 2:  # what is left over of the last batch has nothing to be compared with
            return
        own, foreign = pair_cosines(audio, face)
        self.log("val/loss", contrast_loss(audio, face), prog_bar=True, sync_dist=True)
        # Two-way accuracy: how often the own sound scores above a foreign one (a tie counts half).
        above = (own[:, None] - foreign).sign()
        self.log("val/accuracy", (0.5 * (1 + above)).mean(), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr, weight_decay=self.hparams.weight_decay)
        return warm_up_then_decay(optimizer, self.hparams.warmup, self.hparams.decay, self.trainer.max_steps)


class FrozenExpert(nn.Module):
    """Holds a SyncNet that judges and never learns: no gradient, no training mode, no place in optimizer or checkpoint.

    Its weights become non-persistent buffers: they move with `.to` and take part in nothing else.
    """

    def __init__(self, syncnet: SyncNet) -> None:
        super().__init__()
        self.syncnet = syncnet
        for part in syncnet.modules():
            tensors = {name: p.detach() for name, p in part.named_parameters(recurse=False)}
            tensors |= dict(part.named_buffers(recurse=False))
            for name, tensor in tensors.items():
                delattr(part, name)
                part.register_buffer(name, tensor, persistent=False)
        super().train(False)

    def train(self, mode: bool = True) -> "FrozenExpert":
        return self

    def forward(self, mel: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Embeds windows in float32: mel (B, 1, 80, M), frames (B, T, 3, S, S) -> audio, face, each (B, E)."""
        with torch.autocast(frames.device.type, enabled=False):
            return self.syncnet(mel.float(), self.syncnet.faces(frames.float()))
