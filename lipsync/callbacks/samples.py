"""Pictures of what the model makes, while it learns."""

from pathlib import Path

import torch
import torch.nn.functional as F
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor
from torchvision.io import encode_png

from lipsync.corpora.records import FPS, SAMPLES_A_FRAME
from lipsync.files import tolerated, whole
from lipsync.video import to_bytes, write_clip


class Samples(Callback):
    """Writes, at every validation, a sheet (reference, masked input, generated, truth) and a short dubbed video.

    The video shows held-out speakers: above as they were filmed, below dubbed with the sound of another's clip, which
    is what one hears; clips follow one another.

    Args:
        clips: How many clips the sheet and the video show.
        columns: Moments of each clip on the sheet.
        frames: Of each clip in the video, at most.
        steps: Sampling steps; None: the model's own.
    """

    def __init__(self, clips: int = 3, columns: int = 8, frames: int = 25, steps: int | None = None) -> None:
        self.clips, self.columns, self.frames, self.steps = clips, columns, frames, steps
        self.shown: dict[str, Tensor] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reads the clips once, and before any training: a corpus that has too few must say so now."""
        batch = trainer.datamodule.sample_pairs(self.clips, pl_module.device)
        moments = torch.linspace(0, batch["frames"].shape[1] - 1, self.columns).long()
        still = {"reference": batch["reference"]}
        # All that is generated is shown: sampling is what these pictures cost.
        self.shown = still | {name: batch[name][:, moments] for name in ("frames", "own_mels")}
        self.filmed = still | {name: batch[name][:, : self.frames] for name in ("frames", "driving_mels")}
        self.sound = batch["driving_sound"][:, : SAMPLES_A_FRAME * self.frames]

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.shown is None or not trainer.is_global_zero:
            return
        own = pl_module.dub_clips(self.shown, "own_mels", self.steps)
        dubbed = pl_module.dub_clips(self.filmed, "driving_mels", self.steps)
        picture = encode_png(sheet(self.shown, own, pl_module.mask)).numpy()
        film = torch.cat((self.filmed["frames"], dubbed), dim=3).flatten(0, 1)
        # Small pictures are hard to judge at their own size.
        film = F.interpolate(film, scale_factor=max(1, 192 // pl_module.size), mode="bicubic")
        images, sound = to_bytes(film).permute(0, 2, 3, 1).cpu().numpy(), self.sound.flatten().cpu().numpy()
        folder = Path(trainer.default_root_dir) / "samples"
        name = f"step_{trainer.global_step:07d}"
        with tolerated(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with whole(folder / f"{name}.png") as beside:
                beside.write_bytes(picture)
            write_clip(folder / f"{name}.mp4", images, FPS, sound)
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_image("samples/sheet", [str(folder / f"{name}.png")], step=trainer.global_step)
                    logger.log_video("samples/dubbed", [str(folder / f"{name}.mp4")], step=trainer.global_step)


def sheet(batch: dict[str, Tensor], generated: Tensor, mask: Tensor) -> Tensor:
    """Lays out (3, H, W) uint8: for every clip four rows (reference, masked input, generated, truth) of its frames."""
    frames, reference = batch["frames"], batch["reference"].expand_as(batch["frames"])
    rows = torch.stack((reference, frames * (1 - mask), generated, frames), dim=1)
    return to_bytes(rows.permute(3, 0, 1, 4, 2, 5).flatten(1, 3).flatten(2, 3)).cpu()
