"""Why an expert does not learn: the questions one asks of a plateau, asked by the machine."""

import logging
import math
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lipsync.corpora.clips import UNREADABLE
from lipsync.corpora.datamodule import Corpus
from lipsync.files import tolerated, whole
from lipsync.metrics.opening import correlation

LAGS = 12  # frames, either way
IN_SYNC = 2  # frames by which loudness may lead or follow the mouth in good data
CORRELATED = 0.2  # below it loudness and mouth tell nothing about each other
SILENT = -3.9  # mean mel of a window without sound; -4 is the floor
FEW_CLIPS, FEW_SPEAKERS, SMALL_BATCH = 10, 3, 32
PLATEAU = 0.6  # accuracy that guessing reaches

log = logging.getLogger(__name__)


def data_faults(windows: dict[str, Tensor], clips: int, speakers: int) -> list[str]:
    """Finds what is wrong with windows as the network gets them.

    Args:
        windows: A batch: frames (B, T, 3, S, S) and mel (B, 1, 80, M).
        clips, speakers: How many the training split has.
    """
    faults = []
    if clips < FEW_CLIPS or speakers < FEW_SPEAKERS:
        faults.append(f"too few clips: {clips} of {speakers} speakers; an expert needs hundreds, of many")
    silent = float((windows["mel"].mean(dim=(1, 2, 3)) < SILENT).float().mean())
    if silent > 0.5:
        faults.append(f"silent sound: nothing is heard in {silent:.0%} of the windows")
    low, high = windows["frames"].aminmax()
    # Among so many pictures some are dark: none below 0 means that they are in [0, 1].
    if low < -1.01 or high > 1.01 or high - low < 0.5 or low >= 0:
        faults.append(f"wrong normalisation: pictures reach from {low:.2f} to {high:.2f}, not -1 to 1")
    low, high = windows["mel"].aminmax()
    if low < -4.01 or high > 4.01:
        faults.append(f"wrong normalisation: mels reach from {low:.2f} to {high:.2f}, not -4 to 4")
    return faults


def estimate_offset(loudness: Tensor, opening: Tensor) -> tuple[int, float]:
    """Finds by how many frames the sound comes late: where loudness and mouth opening go together best.

    Args:
        loudness: (C, W) of clips, a number a frame.
        opening: (C, W) of the mouths.

    Returns:
        Frames by which the sound is late (negative: early), and the mean correlation there.
    """
    size = loudness.shape[1]
    lags = range(-LAGS, LAGS + 1)
    means = []
    for lag in lags:
        heard = loudness[:, max(lag, 0) : size + min(lag, 0)]
        seen = opening[:, max(-lag, 0) : size + min(-lag, 0)]
        means.append(float(correlation(heard, seen).mean()))
    best = max(range(len(means)), key=means.__getitem__)
    return lags[best], means[best]


def plateau_faults(audio: Tensor, face: Tensor, batch: int) -> list[str]:
    """Finds why a network guesses, from its embeddings (B, E) and the batch size of all processes together."""
    faults = []
    for name, embedding in (("sound", audio), ("face", face)):
        if float(embedding.std(dim=0).norm()) < 0.02:
            faults.append(f"constant embeddings: every {name} looks the same to the network; lower the learning rate")
    if batch < SMALL_BATCH:
        faults.append(f"small batch: {batch} windows; a batch of hundreds leaves the plateau far sooner (model.chunk)")
    return faults


class Diagnosis(Callback):
    """Says, and writes to `diagnosis.txt`, what is wrong with the data, and why accuracy stays at guessing.

    Args:
        clips: How many clips the sound's offset is estimated on.
        patience: Validations at guessing after which the plateau is diagnosed.
    """

    def __init__(self, clips: int = 24, patience: int = 3) -> None:
        self.clips, self.patience = clips, patience
        self.faults: list[str] = []
        self.guessing = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Corpus = trainer.datamodule
        split = data.train
        count = min(48, 8 * len(split.rows))
        windows = data.sample_windows(count, pl_module.device)
        faults = data_faults(windows, len(split.rows), len(set(split.speakers.tolist())))
        if not any("silent" in fault for fault in faults):
            faults += self._offset_fault(data, pl_module)
        self._tell(trainer, faults)

    def _offset_fault(self, data: Corpus, pl_module: LightningModule) -> list[str]:
        try:
            pairs = data.sample_pairs(self.clips, pl_module.device, "train")
        except UNREADABLE as error:  # of which LipsyncError is one: clips too short, too few, without openings
            log.info("The sound's offset was not examined: %s", error)
            return []
        opening = pairs["opening"][:, : pairs["own_sliding"].shape[1]]
        known = opening.isfinite().all(dim=1)
        if not known.any():
            return []
        late, agreement = estimate_offset(pairs["own_sliding"][known, :, :, :3].mean(dim=(2, 3)), opening[known])
        if agreement < CORRELATED or abs(late) <= IN_SYNC:
            return []
        side, milliseconds = ("late" if late > 0 else "early"), 40 * abs(late)
        return [f"sound out of step: it comes {abs(late)} frames ({milliseconds} ms) {side} (r {agreement:.2f})"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        accuracy = float(trainer.callback_metrics.get("val/accuracy", math.nan))
        self.guessing = self.guessing + 1 if accuracy < PLATEAU else 0
        if self.guessing == self.patience:
            windows = trainer.datamodule.sample_windows(48, pl_module.device)
            with torch.no_grad():
                audio, face = pl_module.embed(windows["mel"], windows["frames"])
            batch = trainer.datamodule.batch_size * trainer.world_size
            reasons = plateau_faults(audio, face, batch) or [
                "no reason found: train longer, or lower the learning rate"
            ]
            told = f"plateau: accuracy {accuracy:.2f} after {trainer.global_step} steps is guessing"
            self._tell(trainer, [told, *reasons])

    def _tell(self, trainer: Trainer, faults: list[str]) -> None:
        new = [fault for fault in faults if fault not in self.faults]
        if not new:
            return
        self.faults += new
        for fault in new:
            log.warning("Diagnosis: %s", fault)
        if trainer.is_global_zero:
            path = Path(trainer.default_root_dir) / "diagnosis.txt"
            with tolerated(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with whole(path) as beside:
                    beside.write_text("\n".join(self.faults) + "\n")
