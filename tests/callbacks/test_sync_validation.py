"""val/sync: near 1 for mouths that move as the sound's own did, and far from it for those of others."""

from pathlib import Path

import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn

from lipsync.callbacks import SyncValidation
from lipsync.corpora.puppet.write import write_corpus
from lipsync.corpora.synthetic import Synthetic

RECIPE = {"speakers": 6, "clips": 2, "seconds": 1.6}


class Unchanging(LightningModule):
    """Dubs nobody: every clip stays as it was filmed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return self.weight

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        pass

    def dub_clips(self, batch: dict[str, Tensor], mels: str, steps: int) -> Tensor:
        assert (mels, steps) == ("driving_mels", 3)
        return batch["frames"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


class OwnSound(Synthetic):
    """Pairs in which every clip is driven by its own sound."""

    def sample_pairs(self, *asked: object) -> dict[str, Tensor]:
        batch = super().sample_pairs(*asked)
        return batch | {"opening_driving": batch["opening"]}


def validated(kind: type[Synthetic], root: Path, folder: Path) -> float:
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_steps=1,
        val_check_interval=1,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        callbacks=[SyncValidation(clips=4, steps=3)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    small = {"size": 64, "batch_size": 2, "workers": 0, "val_windows": 2, "pair_frames": 30}
    trainer.fit(Unchanging(), kind(str(root), **RECIPE, track_size=64, **small))
    return trainer.callback_metrics["val/sync"].item()


def test_only_mouths_that_follow_the_sound_score(tmp_path: Path) -> None:
    root = tmp_path / "synthetic"
    write_corpus(root, **RECIPE, size=64, seed=0)
    own, foreign = (validated(kind, root, tmp_path) for kind in (OwnSound, Synthetic))
    assert own > 0.8
    assert foreign < 0.5
