"""The LightningDataModule over a prepared corpus: workers decode, the device crops, colours and computes mels."""

import math
from pathlib import Path

import torch
from lightning import LightningDataModule
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from lipsync.corpora.augment import degrade, disturb, recolour
from lipsync.corpora.crop import RULES, crop, rule_boxes
from lipsync.corpora.filters import check
from lipsync.corpora.mel import sliding_mels, window_mels
from lipsync.corpora.pairs import Pairs
from lipsync.corpora.records import load_manifest
from lipsync.corpora.sampler import EndlessSampler
from lipsync.corpora.survey import survey
from lipsync.corpora.windows import Windows
from lipsync.errors import LipsyncError, check_choice

UNREADABLE_CLIPS = "unreadable.txt"  # in the run's folder
OVERSAMPLE = 2  # of the crop at least; more where tracks are more than twice as large as the network's pictures
ON_THE_HOST = {"degrading", "disturbing"}


class Corpus(LightningDataModule):
    """Serves windows to train and validate on, and pairs of clips to test with, from a corpus on disk.

    Run the Trainer with `use_distributed_sampler=False` and `max_steps`: the stream has no epochs, and shares itself
    out among processes.

    Args:
        root: folder of the corpus.
        size: S, side of the square pictures.
        frames: T, frames in a window.
        batch_size: windows a device and micro-batch.
        seed: together with a sample's index it decides all that is drawn for it.
        workers: processes that decode; 0 decodes in the main one.
        augment: mirror, recolour and jitter training windows.
        jitter: how far, in shares of a crop's side, window and reference are moved against each other.
        degrade: when augmenting, share of windows that are blurred, and of those that are compressed.
        disturb: when augmenting, share of windows whose sound gets another loudness and noise; of those with a closed
            mouth, as large a share is silenced.
        val_windows: fixed windows that validation looks at.
        pair_frames: N, frames of the clips that testing dubs.
        pair_clips: how many clips testing dubs at most.
        pair_list: file that says who is dubbed with whose sound (`corpora.pair_list`); None matches them by the seed.
        judged: side of the pictures that an evaluation judges, for which a clip that cannot be read is a result, too.
        crop_rule: how faces are cut out of the stored tracks (`corpora.crop`).
        run: so many training windows in a row come from one clip.
        reference: which other moment of the clip training shows: `any`, or one with a `dissimilar` mouth.
        balanced: train on every speaker equally often, however much each of them talks.
        filters: leave out clips by what was measured on them: name -> [least, most], null where there is no bound, for
            example {sync_confidence: [0.1, null]}; names are those of `corpora.filters`.
        max_bad: share of clips that may be unreadable; of more, training says so before its first step.
    """

    def __init__(
        self,
        root: str,
        size: int = 128,
        frames: int = 5,
        batch_size: int = 8,
        seed: int = 0,
        workers: int = 4,
        augment: bool = True,
        jitter: float = 0.03,
        degrade: float = 0.0,
        disturb: float = 0.0,
        val_windows: int = 96,
        pair_frames: int = 50,
        pair_clips: int = 100,
        pair_list: str | None = None,
        judged: int | None = None,
        crop_rule: str = "square",
        run: int = 1,
        reference: str = "any",
        balanced: bool = False,
        filters: dict[str, list[float | None]] | None = None,
        max_bad: float = 0.05,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # more processes than clips to test on
        self.root, self.size, self.frames, self.batch_size, self.seed = Path(root), size, frames, batch_size, seed
        self.workers, self.val_windows = workers, val_windows
        self.augment, self.jitter, self.degrade, self.disturb = augment, jitter, degrade, disturb
        self.pair_frames, self.pair_clips, self.pair_list, self.judged = pair_frames, pair_clips, pair_list, judged
        self.crop_rule, self.run = crop_rule, run
        self.reference, self.balanced, self.filters, self.max_bad = reference, balanced, filters or {}, max_bad
        check_choice("crop_rule", crop_rule, RULES)
        check(self.filters)

    def setup(self, stage: str) -> None:
        self.manifest = load_manifest(self.root, self.filters)
        stored = {*self.manifest.column("crop_rule")}
        # A stored track holds more of the face than its square: `tight` lies inside, too.
        if stored != {"square" if self.crop_rule == "tight" else self.crop_rule}:
            raise LipsyncError(f"{self.root} was cut by the rule {', '.join(sorted(stored))}, not {self.crop_rule}")
        if stage in ("fit", "validate"):
            self.val = Windows(self.manifest, "val", self.frames, self.seed, length=self.val_windows)
        if stage == "fit":
            drawn = (self.frames, self.seed, self.augment, self.jitter, self.degrade, self.disturb)
            chosen = {"run": self.run, "reference": self.reference, "balanced": self.balanced}
            unreadable = self.trainer and Path(self.trainer.default_root_dir, UNREADABLE_CLIPS)
            bad = {"most_bad": self.max_bad, "unreadable": unreadable}
            self.train = Windows(self.manifest, "train", *drawn, **chosen, **bad)
            for id, why in survey(self.manifest, self.train.rows, self.max_bad).items():
                rank_zero_warn(f"clip {id} of {self.root} cannot be read and will be replaced: {why}")
        if stage in ("test", "predict"):
            asked = self.pair_frames, self.pair_clips, self.seed, self.pair_list
            self.test = Pairs(self.manifest, "test", *asked, tolerant=self.judged is not None and stage == "test")

    def train_dataloader(self) -> DataLoader:
        rank, world = self.trainer.global_rank, self.trainer.world_size
        global_batch = self.batch_size * world * self.trainer.accumulate_grad_batches
        start = self.trainer.global_step * global_batch
        return self._loader(self.train, EndlessSampler(start, self.batch_size, rank, world), self.batch_size)

    def val_dataloader(self) -> DataLoader:
        return self._loader(self.val, self._share(self.val), self.batch_size)

    def test_dataloader(self) -> DataLoader:
        return self._loader(self.test, self._share(self.test), batch_size=1)

    predict_dataloader = test_dataloader

    def _share(self, dataset: Dataset) -> range:
        """Every process's own part of a finite dataset, nothing twice and nothing dropped."""
        return range(self.trainer.global_rank, len(dataset), self.trainer.world_size)

    def _loader(self, dataset: Dataset, sampler: Sampler | range, batch_size: int) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size,
            sampler=sampler,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
        )

    def clip_names(self, clips: Tensor) -> list[str]:
        """Name the training clips of a batch, by their numbers in it (B,); each once."""
        return [self.manifest[self.train.rows[number]].id for number in clips.unique().tolist()]

    def sample_pairs(self, count: int, device: torch.device | str, split: str = "val") -> dict[str, Tensor]:
        """Read and prepare `count` pairs of a split at most, evenly spaced, as one batch on a device."""
        pairs = Pairs(self.manifest, split, self.pair_frames, count, self.seed)
        batch = default_collate([pairs[i] for i in range(len(pairs))])
        return self.on_after_batch_transfer(self.transfer_batch_to_device(batch, device, 0), 0)

    def sample_windows(self, count: int, device: torch.device | str) -> dict[str, Tensor]:
        """Read and prepare the first `count` training windows as one batch on a device."""
        batch = default_collate([self.train[i] for i in range(count)])
        return self.on_after_batch_transfer(self.transfer_batch_to_device(batch, device, 0), 0)

    def transfer_batch_to_device(
        self, batch: dict[str, Tensor], device: torch.device | str, dataloader_idx: int
    ) -> dict[str, Tensor]:
        """Moves a batch but for that by which the host decides what is done to it."""
        stays = {name: batch[name] for name in batch.keys() & ON_THE_HOST}
        return move_data_to_device({name: batch[name] for name in batch if name not in stays}, device) | stays

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Turn what workers read into a Batch, on the device.

        Args:
            batch: collated samples of `Windows` or `Pairs`.
            dataloader_idx: unused.

        Returns:
            Of windows: frames (B, T, 3, S, S) and reference (B, 1, 3, S, S) in [-1, 1], frame_mels (B, T, 80, 16),
            mel (B, 1, 80, 16), opening (B, T), and (B,) clip, speaker, first_frame, index and replaced. Of pairs:
            frames (B, N, 3, S, S), reference, own_mels and driving_mels (B, N, 80, 16), own_sliding (B, N - T + 1, 80,
            16), driving_sliding alike, own_sound and driving_sound (B, 640 N) int16, opening and opening_driving (B,
            N), speaker, index and pair (B,); with `judged` also judged (B, N, 3, J, J) and judged_reference; of a pair
            that could not be read pair, index and failed alone.
        """
        if "failed" in batch:
            return batch
        batch = self._pairs(batch) if "driving_audio" in batch else self._windows(batch)
        # What is computed here has missed the Trainer's own conversion (`64-true`, `bf16-true`).
        return batch if self.trainer is None else self.trainer.precision_plugin.convert_input(batch)

    def _windows(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        frames = self._squares(batch["frames"], batch["box"])
        reference = self._squares(batch["reference"], batch["reference_box"])
        if "colour" in batch:
            both = recolour(torch.cat([frames, reference], dim=1), batch["colour"])
            both = degrade(both, batch["degrading"]) if "degrading" in batch else both
            frames, reference = both[:, :-1], both[:, -1:]
        audio = batch["audio"]
        if "disturbing" in batch:
            audio = disturb(audio, batch["disturbing"], self.seed, batch["index"])
        frame_mels, mel = window_mels(audio, batch["first_frame"], frames.shape[1])
        return {
            "frames": frames * 2 - 1,
            "reference": reference * 2 - 1,
            "frame_mels": frame_mels,
            "mel": mel,
        } | {name: batch[name] for name in ("clip", "speaker", "first_frame", "opening", "index", "replaced")}

    def _pairs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        count = batch["frames"].shape[1]
        kept = ("own_sound", "driving_sound", "opening", "opening_driving", "speaker", "index", "pair")
        pair = {name: batch[name] for name in kept}
        for name, prefix in (("own", ""), ("driving", "driving_")):
            heard = batch[f"{prefix}audio"], batch[f"{prefix}first_frame"], count
            pair[f"{name}_mels"] = window_mels(*heard)[0]
            pair[f"{name}_sliding"] = sliding_mels(*heard, self.frames)
        for name in ("frames", "reference"):
            pair[name] = self._squares(batch[name], batch["box"]) * 2 - 1
        if self.judged is not None:
            pair["judged"] = self._squares(batch["frames"], batch["box"], self.judged) * 2 - 1
            pair["judged_reference"] = self._squares(batch["reference"], batch["box"], self.judged) * 2 - 1
        return pair

    def _squares(self, pictures: Tensor, boxes: Tensor, size: int | None = None) -> Tensor:
        """(B, N, 3, D, D) uint8 and one box (B, 4) for all N -> (B, N, 3, S, S) in [0, 1]; S is `size` or ours."""
        size = size or self.size
        batch, count, _, height, width = pictures.shape
        if self.crop_rule == "tight":
            boxes = rule_boxes(self.crop_rule, boxes, height, width)
        samples = max(OVERSAMPLE, math.ceil(height / size))
        squares = crop(pictures.flatten(0, 1), boxes.repeat_interleave(count, dim=0), size, samples)
        return squares.unflatten(0, (batch, count)) / 255
