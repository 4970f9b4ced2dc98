"""SyncExpert, the LightningModule that trains a SyncNet, and the frozen form of it that sits in the loss."""

from collections.abc import Callable

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lipsync.checkpoints import SafeLoading
from lipsync.contrast import cosines, negative_weights, objective, two_way_accuracy
from lipsync.errors import LipsyncError, check_choice, check_keys
from lipsync.learning_rate import obey, warm_up_then_decay
from lipsync.metrics.expert import ExpertQuality
from lipsync.networks.attentive_syncnet import AttentiveSyncNet
from lipsync.networks.syncnet import SyncNet

NETWORKS = {"wav2lip": SyncNet, "attentive": AttentiveSyncNet}
Expert = SyncNet | AttentiveSyncNet


class SyncExpert(SafeLoading, LightningModule):
    """Learns whether a window's mouth and its sound belong together.

    Args:
        network: `wav2lip` (`networks.syncnet`) or `attentive` (`networks.attentive_syncnet`).
        syncnet: Arguments of that network.
        objective: `bce`, `margin` or `info_nce`, as in `contrast`.
        foreign_share: Weight of negatives of another speaker; the rest is other moments of the same one, which want a
            data module with `run` > 1. None weighs all negatives alike.
        chunk: Windows whose activations are held at once; a larger batch is computed in chunks, twice, and its gradient
            is that of the whole batch (but for BatchNorm, whose statistics are a chunk's). None holds all.
        crop_rule: How the faces it looks at are cut out; the data's rule.
        lr: Learning rate of AdamW.
        weight_decay: Of AdamW.
        warmup: Steps over which the learning rate rises.
        decay: Share of the run, at its end, over which the learning rate falls to zero.
    """

    def __init__(
        self,
        network: str = "wav2lip",
        syncnet: dict[str, int | str | list[int]] | None = None,
        objective: str = "bce",
        foreign_share: float | None = None,
        chunk: int | None = None,
        crop_rule: str = "square",
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        warmup: int = 100,
        decay: float = 0.4,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_choice("network", network, NETWORKS)
        self.crop_rule = crop_rule
        check_keys(f"syncnet of network {network}", NETWORKS[network], syncnet or {})
        try:
            self.syncnet = NETWORKS[network](**(syncnet or {}))
        except TypeError as error:
            raise LipsyncError(f"syncnet of network {network}: {error}") from error

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        stored = getattr(data, "crop_rule", self.crop_rule)
        if stored != self.crop_rule:
            raise LipsyncError(f"the expert's crop_rule is {self.crop_rule}, the data's {stored}: set data.crop_rule")
        frames = getattr(data, "frames", self.syncnet.frames)
        if frames != self.syncnet.frames:
            raise LipsyncError(
                f"the expert looks at {self.syncnet.frames} frames, the data's windows have {frames}: set data.frames"
            )

    def on_train_start(self) -> None:
        obey(self.optimizers(False), self.lr_schedulers(), [self.hparams.lr], self.hparams.weight_decay)

    def embed(self, mel: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Embeds windows: mel (B, 1, 80, M), frames (B, T, 3, S, S) -> audio and face (B, E), of unit length."""
        face = self.syncnet.faces(frames)
        chunk = self.hparams.chunk or len(mel)
        if not torch.is_grad_enabled() or len(mel) <= chunk:
            return self.syncnet(mel, face)
        parts = zip(mel.split(chunk), face.split(chunk), strict=True)
        embedded = [checkpoint(self.syncnet, *part, use_reentrant=False) for part in parts]
        audio, face = (torch.cat(tensors) for tensors in zip(*embedded, strict=True))
        return audio, face

    def compare(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Returns the cosines (B, B) of all processes' windows and the weights of the negatives (B, B)."""
        audio, face = self.embed(batch["mel"], batch["frames"])
        places = torch.stack([batch[name] for name in ("clip", "speaker", "first_frame")], dim=1)
        # Validation's shares may be of unequal size, which a gathering would wait for in vain.
        if self.training and self.trainer.world_size > 1:
            audio, face = (self.all_gather(x, sync_grads=True).flatten(0, 1) for x in (audio, face))
            places = self.all_gather(places).flatten(0, 1)
        share = self.hparams.foreign_share
        return cosines(audio, face), negative_weights(*places.unbind(1), batch["frames"].shape[1], share)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        cosine, weights = self.compare(batch)
        loss = objective(self.hparams.objective, cosine, weights)
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/accuracy", two_way_accuracy(cosine.detach(), weights > 0))
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        cosine, weights = self.compare(batch)
        if not weights.any():  # what is left over of the last batch has nothing to be compared with
            return
        self.log("val/loss", objective(self.hparams.objective, cosine, weights), prog_bar=True, sync_dist=True)
        self.log("val/accuracy", two_way_accuracy(cosine, weights > 0), prog_bar=True, sync_dist=True)

    def on_test_start(self) -> None:
        self.quality = ExpertQuality().to(self.device)

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Adds every window of a batch of clips (`pairs.Pairs`) to the measures of `ExpertQuality`."""
        for i, mels in enumerate(batch["own_sliding"]):
            windows = batch["frames"][i].unfold(0, batch["frames"].shape[1] - len(mels) + 1, 1).movedim(-1, 1)
            audio, face = self.embed(mels[:, None], windows)
            self.quality.update(
                audio, face, batch["opening"][i], mels, int(batch["index"][i]), int(batch["speaker"][i])
            )

    def on_test_epoch_end(self) -> None:
        self.log_dict(self.quality.compute())

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr, weight_decay=self.hparams.weight_decay)
        return warm_up_then_decay(optimizer, self.hparams.warmup, self.hparams.decay, self.trainer.max_steps)


class FrozenExpert(nn.Module):
    """Holds a SyncNet that judges and never learns: no gradient, no training mode, no place in optimizer or checkpoint.

    Its weights become non-persistent buffers: they move with `.to` and take part in nothing else.
    """

    def __init__(self, syncnet: Expert) -> None:
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
        exact = next(self.syncnet.buffers()).dtype  # float32, but where a run is in float64 as a whole
        with torch.autocast(frames.device.type, enabled=False):
            return self.syncnet(mel.to(exact), self.syncnet.faces(frames.to(exact)))


@torch.no_grad()
def examine(expert: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], windows: dict[str, Tensor]) -> float:
    """Measures a frozen expert's two-way accuracy on one batch of windows; NaN where they have nothing to compare."""
    places = [windows[name] for name in ("clip", "speaker", "first_frame")]
    cosine = cosines(*expert(windows["mel"], windows["frames"]))
    return float(two_way_accuracy(cosine, negative_weights(*places, windows["frames"].shape[1]) > 0))
