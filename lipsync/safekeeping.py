"""Lightning callbacks a long run relies on: checkpoints that are always whole, steps that are always finite."""

import logging
from io import BytesIO
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from lipsync.errors import LipsyncError
from lipsync.files import tolerated, whole

NAMED = 5  # clips in a message

log = logging.getLogger(__name__)


class WholeCheckpoint(TorchCheckpointIO):
    """Writes a checkpoint beside, synced and renamed; what the disk does not take leaves the one that was there."""

    written = False

    def save_checkpoint(self, checkpoint: dict[str, object], path: str | Path, storage_options: object = None) -> None:
        # To a file that takes no more torch.save raises anything; the parent's way is by the system's temporary folder.
        content = BytesIO()
        torch.save(checkpoint, content)
        path = Path(path)
        with tolerated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole(path) as beside:
                beside.write_bytes(content.getbuffer())
            self.written = True


def save(trainer: Trainer, path: Path) -> bool:
    """Writes a checkpoint, in which all processes take part; all learn whether the disk took it."""
    # Below the place where processes wait for each other: an error above it would leave the others waiting.
    trainer.strategy.checkpoint_io = checkpoint_io = WholeCheckpoint()
    trainer.save_checkpoint(path, weights_only=False)
    return trainer.strategy.broadcast(checkpoint_io.written)


class LastCheckpoint(Checkpoint):
    """Keeps `checkpoints/last.ckpt` of the run folder, which is always whole.

    One more is written when training ends; on one process also when an error or Ctrl-C ends it. One that the disk does
    not take is tried again after as many steps, the one before it stays.

    Args:
        every: Steps between two.
    """

    def __init__(self, every: int = 1000) -> None:
        self.every = every
        self.tried = self.finished = 0
        self.written = True

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict) -> None:
        # Lightning counts micro-batches, of which a step may have had another number on other machines.
        batches = checkpoint["global_step"] * trainer.accumulate_grad_batches
        for progress in ("total", "current"):
            counts = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"][progress]
            # Differences tell Lightning whether the checkpoint was written amid a step or after training.
            behind = {name: counts["ready"] - counts[name] for name in ("ready", "started", "processed", "completed")}
            counts |= {name: batches - difference for name, difference in behind.items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.tried = self.finished = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        self.finished = trainer.global_step
        if trainer.global_step % self.every == 0:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)
        if not self.written and trainer.is_global_zero:
            log.warning("Training has ended at step %d, which no last.ckpt could be written of", trainer.global_step)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # Between a step and its average a checkpoint would be neither; and other processes may have met no exception,
        # and would be waited for in vain.
        if trainer.state.fn == "fit" and self.finished == trainer.global_step and trainer.world_size == 1:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if trainer.global_step != self.tried:
            self.tried = trainer.global_step
            self.written = save(trainer, Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt")


class NonFinite(Callback):
    """Lets a step whose gradient is not finite move nothing, names its clips, and ends a run that has many in a row.

    Args:
        limit: Steps in a row that end the run, with a checkpoint.
    """

    def __init__(self, limit: int = 20) -> None:
        self.limit = limit
        self.skipped = self.in_a_row = 0
        self.reason = ""
        self.clips: list[Tensor] = []
        self.losses: list[Tensor] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: dict[str, Tensor], batch_idx: int
    ) -> None:
        self.clips.append(batch["clip"])

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self.losses.append(loss.detach())

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        clips, self.clips = self.clips, []
        losses, self.losses = self.losses, []
        weights = [weight for weight in pl_module.parameters() if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights])
        # A look that waits for the device: the optimizer must not see what is not finite. Processes have averaged their
        # gradients by now, so that all of them see the same.
        if norm.isfinite():
            pl_module.log("gradient/total", norm)
            self.in_a_row = 0
            return
        for weight in weights:
            weight.grad = None
        self.skipped += 1
        self.in_a_row += 1
        pl_module.log("train/skipped", float(self.skipped))
        names = trainer.datamodule.clip_names(torch.cat(clips))
        named = ", ".join(names[:NAMED]) + f" and {len(names) - NAMED} more" * (len(names) > NAMED)
        what = f"step {trainer.global_step}: the gradient is not finite, nothing was moved; its clips: {named}"
        # Under a GradScaler too large a gradient of a finite loss is how the scale is found: told only if it lasts.
        if getattr(trainer.precision_plugin, "scaler", None) is None or not torch.stack(losses).isfinite().all():
            log.warning(what)
        if self.in_a_row >= self.limit:
            self.reason = f"{what}; {self.in_a_row} such steps in a row: lower model.lr, or look at these clips"
            trainer.should_stop = True  # every process alike, and the last checkpoint is written as ever

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.reason:
            raise LipsyncError(self.reason)

    def state_dict(self) -> dict[str, int]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.skipped = state["skipped"]
