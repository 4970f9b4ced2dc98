"""Dubbing many videos, on as many devices as there are."""

from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from lipsync.device import choose_precision
from lipsync.dubbing.dub import check, dub_with, load
from lipsync.dubbing.pairs import Pair, read_pairs
from lipsync.dubbing.report import save
from lipsync.errors import LipsyncError
from lipsync.preparation.faces import FaceFinder

PATIENCE = timedelta(days=30)  # of a process that has done its share, with the others


class Outcome(NamedTuple):
    """What came of a pair: the file, and what was wrong, if something was."""

    out: str
    error: str = ""


class Dubber(LightningModule):
    """Dubs pairs of a video and a sound as the Trainer's predictions; one that cannot be dubbed stops no other.

    Args:
        model: A Diff2Lip.
        pairs: All of them.
        out: Folder of the dubbed videos.
        options: Of `dub_with`.
    """

    def __init__(self, model: torch.nn.Module, pairs: list[Pair], out: Path, options: dict[str, object]) -> None:
        super().__init__()
        self.model, self.pairs, self.out, self.options = model, pairs, out, options
        self.allow_zero_length_dataloader_with_multiple_devices = True

    def predict_dataloader(self) -> DataLoader:
        """This process's share; with fewer pairs than devices none, which Lightning's own sampler forbids."""
        share = self.pairs[self.trainer.global_rank :: self.trainer.world_size]
        return DataLoader(share, batch_size=1, collate_fn=list)

    def on_predict_start(self) -> None:
        self.finder = FaceFinder(self.device)

    def predict_step(self, batch: list[Pair], batch_idx: int) -> Outcome:
        """Dubs one pair, and writes beside it what there is to say; what has been dubbed before stays."""
        pair = batch[0]
        out = self.out / f"{pair.name}.mp4"
        if out.exists():
            return Outcome(str(out))
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            check(pair.video, [pair.sound], str(out))
            said = dub_with(
                self.model,
                self.finder,
                pair.video,
                pair.sound,
                str(out),
                resume=True,
                watched=False,
                device=self.device,
                **self.options | {"precision": choose_precision(self.options["precision"], self.device)},
            )
            save(said, str(out.with_suffix(".json")))
        except Exception as error:  # a device out of memory, a folder that cannot be made: the others' turn comes
            return Outcome(str(out), str(error) if isinstance(error, LipsyncError) else repr(error))
        return Outcome(str(out))


def dub_many(
    pairs: str,
    out: str,
    checkpoint: str,
    root: str | None = None,
    face: str = "largest",
    length: str = "video",
    missing: str = "keep",
    reference: str = "closed",
    quality: str = "source",
    mark: bool = False,
    steps: int | None = None,
    sampler: str = "fast",
    guidance: float = 1.0,
    seed: int = 0,
    precision: str = "auto",
    accelerator: str = "auto",
    devices: int | str = "auto",
) -> list[str]:
    """Dubs every pair of a list or folder, shared out over the devices; run again, it goes on where it was stopped.

    Args:
        pairs: A list of lines `VIDEO,SOUND` or `VIDEO,SOUND,NAME`, or a folder where a.mp4 lies beside a.wav.
        out: Folder for NAME.mp4, and NAME.json with the remarks.
        checkpoint: As for `dub`, like all that follows but for:
        root: Folder that the list's paths start from and may not leave; without, the list's own.
        accelerator: Of the Trainer: cpu, gpu, ... or auto.
        devices: Of the Trainer: how many processes, one a device.

    Returns:
        The dubbed files.

    Raises:
        LipsyncError: As `dub`; or some pairs could not be dubbed, which are named when all others are done.
    """
    found = read_pairs(pairs, root)
    model, how = load(checkpoint, steps, sampler, guidance, precision, torch.device("cpu"))
    how["precision"] = precision  # each process's device chooses
    how |= {"face": face, "length": length, "missing": missing, "reference": reference, "seed": seed}
    how |= {"quality": quality, "mark": mark, "checkpoint": checkpoint}
    several = (
        accelerator != "cpu" and torch.accelerator.device_count() > 1 if devices == "auto" else str(devices) != "1"
    )
    trainer = Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy=DDPStrategy(timeout=PATIENCE) if several else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=out,
    )
    outcomes = gathered(trainer.predict(Dubber(model, found, Path(out), how)) or [])
    if failed := [outcome for outcome in outcomes if outcome.error]:
        if trainer.is_global_zero:
            for outcome in failed:
                print(f"{outcome.out}: {outcome.error}")
        raise LipsyncError(f"{pairs}: {len(failed)} of {len(outcomes)} could not be dubbed, as told above")
    return sorted(outcome.out for outcome in outcomes)


def gathered(outcomes: list[Outcome]) -> list[Outcome]:
    """Those of all processes."""
    if not torch.distributed.is_initialized():
        return outcomes
    everywhere = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everywhere, outcomes)
    return [outcome for part in everywhere for outcome in part]
