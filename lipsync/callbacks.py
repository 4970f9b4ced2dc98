"""Lightning callbacks: averaged weights, the run folder's metrics.json, and pictures of what the model makes."""

import csv
import json
from pathlib import Path

import torch
import torch.nn.functional as F
import wandb
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, WandbLogger
from torch import Tensor
from torchvision.io import write_png

from lipsync.errors import LipsyncError
from lipsync.files import whole
from lipsync.video import write_clip


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


class MetricsFile(Callback):
    """Keeps the latest value of every metric in `metrics.json` of the run folder."""

    def __init__(self) -> None:
        self.latest: dict[str, float] = {}

    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        path = Path(trainer.default_root_dir) / "metrics.json"
        if not self.latest and path.is_file():  # of the run that is being resumed
            self.latest = json.loads(path.read_text())
        self.latest |= {name: value.item() for name, value in trainer.callback_metrics.items()}
        self.latest["step"] = max(trainer.global_step, self.latest.get("step", 0))
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as beside:
            beside.write_text(json.dumps(self.latest, indent=2, sort_keys=True) + "\n")

    on_validation_end = _write
    on_test_end = _write


class Samples(Callback):
    """Writes, at every validation, a sheet (reference, masked input, generated, truth) and a short dubbed video.

    The video shows held-out speakers: above as they were filmed, below dubbed with the sound of another's clip, which
    is what one hears; clips follow one another.

    Args:
        clips: How many clips the sheet and the video show.
        columns: Moments of each clip on the sheet.
        steps: Sampling steps.
    """

    def __init__(self, clips: int = 3, columns: int = 8, steps: int = 8) -> None:
        self.clips, self.columns, self.steps = clips, columns, steps
        self.batch: dict[str, Tensor] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reads the clips once, and before any training: a corpus that has too few must say so now."""
        self.batch = trainer.datamodule.sample_pairs(self.clips, pl_module.device)

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.batch is None or not trainer.is_global_zero:
            return
        batch = self.batch
        dubbed = pl_module.dub_clips(batch, "driving_mels", self.steps)
        own = pl_module.dub_clips(batch, "own_mels", self.steps)
        folder = Path(trainer.default_root_dir) / "samples"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"step_{trainer.global_step:07d}"
        write_png(sheet(batch, own, pl_module.mask, self.columns), str(folder / f"{name}.png"))
        film = torch.cat((batch["frames"], dubbed), dim=3).flatten(0, 1)
        # Small pictures are hard to judge at their own size.
        film = F.interpolate(film, scale_factor=max(1, 192 // pl_module.size), mode="bicubic")
        write_clip(
            folder / f"{name}.mp4",
            to_bytes(film).permute(0, 2, 3, 1).cpu().numpy(),
            25,
            batch["driving_sound"].flatten().cpu().numpy(),
        )
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("samples/sheet", [str(folder / f"{name}.png")], step=trainer.global_step)
                logger.log_video("samples/dubbed", [str(folder / f"{name}.mp4")], step=trainer.global_step)


def log_evaluation(loggers: list[Logger], folder: Path) -> None:
    """Puts the table and the report of an evaluation on wandb."""
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        heads, *lines = csv.reader(file)
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table("evaluation/table", columns=heads, data=lines)
            logger.experiment.log({"evaluation/report": wandb.Html(str(folder / "report.html"))})


def to_bytes(pictures: Tensor) -> Tensor:
    """Converts pictures in [-1, 1] to uint8, rounding."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def sheet(batch: dict[str, Tensor], generated: Tensor, mask: Tensor, columns: int) -> Tensor:
    """Lays out (3, H, W) uint8: for every clip four rows (reference, masked input, generated, truth) of moments."""
    frames, reference = batch["frames"], batch["reference"].expand_as(batch["frames"])
    moments = torch.linspace(0, frames.shape[1] - 1, columns).long()
    rows = torch.stack((reference, frames * (1 - mask), generated, frames), dim=1)[:, :, moments]
    return to_bytes(rows.permute(3, 0, 1, 4, 2, 5).flatten(1, 3).flatten(2, 3)).cpu()
