"""The data module under a real Trainer: what arrives on the device, resuming, sharing, and colours."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn

from lipsync.corpora.augment import degrade, disturb, recolour
from lipsync.corpora.crop import crop, rule_boxes
from lipsync.corpora.datamodule import Corpus
from lipsync.corpora.mel import clip_mels, window_mels
from lipsync.corpora.records import load_manifest
from lipsync.corpora.windows import Windows
from lipsync.errors import LipsyncError


class Listener(LightningModule):
    """Learns nothing and remembers the batches it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.heard: list[dict[str, Tensor]] = []

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.heard.append(batch)
        return self.weight * 0

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.heard.append(batch)

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder: Path, steps: int, **options: object) -> Trainer:
    return Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_steps=steps,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        **options,
    )


def data(root: Path, **options: object) -> Corpus:
    return Corpus(**{"root": str(root), "size": 32, "batch_size": 2, "workers": 0, "pair_frames": 12} | options)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_training_batch(corpus: Path, sound: Callable) -> None:
    listener = Listener()
    trainer(corpus, 1).fit(listener, datamodule=data(corpus, batch_size=3, augment=False))
    batch = listener.heard[0]
    shapes = {name: tuple(tensor.shape) for name, tensor in batch.items()}
    assert shapes == {
        "frames": (3, 5, 3, 32, 32),
        "reference": (3, 1, 3, 32, 32),
        "frame_mels": (3, 5, 80, 16),
        "mel": (3, 1, 80, 16),
        "opening": (3, 5),
        "clip": (3,),
        "speaker": (3,),
        "first_frame": (3,),
        "index": (3,),
        "replaced": (3,),
    }
    assert batch["index"].tolist() == [0, 1, 2]
    manifest = load_manifest(corpus)
    raw = Windows(manifest, "train")[1]
    box = torch.tensor(manifest[0].box)
    torch.testing.assert_close(batch["frames"][1], crop(raw["frames"], box, 32, 2) / 127.5 - 1, atol=1e-5, rtol=0)
    torch.testing.assert_close(batch["reference"][1], crop(raw["reference"], box, 32, 2) / 127.5 - 1, atol=1e-5, rtol=0)
    clip = round((raw["frames"][:, 0].float().mean().item() - 40) / 20)
    mels = clip_mels(sound(clip), [Fraction(raw["first_frame"] + i, 25) for i in range(5)])
    torch.testing.assert_close(batch["frame_mels"][1], mels, atol=1e-4, rtol=0)


def test_augmented_crops_and_colours_are_those_drawn(corpus: Path) -> None:
    listener = Listener()
    trainer(corpus, 1).fit(listener, datamodule=data(corpus, batch_size=4))
    dataset = Windows(load_manifest(corpus), "train", augment=True, jitter=0.03)
    for b in range(4):
        raw = dataset[b]
        for name, box in (("frames", "box"), ("reference", "reference_box")):
            square = crop(raw[name], raw[box], 32, 2)[None] / 255
            expected = recolour(square, raw["colour"][None])[0] * 2 - 1
            torch.testing.assert_close(listener.heard[0][name][b], expected, atol=1e-5, rtol=0)


def test_stored_tracks_can_be_cut_tight(corpus: Path) -> None:
    listener = Listener()
    trainer(corpus, 1).fit(listener, datamodule=data(corpus, augment=False, crop_rule="tight"))
    manifest = load_manifest(corpus)
    raw = Windows(manifest, "train")[0]
    box = rule_boxes("tight", torch.tensor([manifest[0].box]), *raw["frames"].shape[-2:])
    expected = crop(raw["frames"], box, 32, 2) / 127.5 - 1
    torch.testing.assert_close(listener.heard[0]["frames"][0], expected, atol=1e-5, rtol=0)


def test_a_crop_that_is_not_in_the_tracks_is_refused(corpus: Path) -> None:
    with pytest.raises(LipsyncError, match="was cut by the rule square, not voxceleb2"):
        data(corpus, crop_rule="voxceleb2").setup("test")
    with pytest.raises(LipsyncError, match="oval"):
        data(corpus, crop_rule="oval")


def test_filters_and_balance_reach_what_is_read(corpus: Path) -> None:
    module = data(corpus, balanced=True, filters={"seconds": [0.9, 1.5]})
    module.setup("fit")
    module.setup("validate")
    assert module.train.rows.tolist() == [1]
    assert module.val.rows.tolist() == [3]
    assert module.train.speaker_ends.tolist() == [26]
    assert module.val.speaker_ends is None  # validation looks at what there is
    module = data(corpus, filters={"seconds": [0.7, None]})
    module.setup("fit")
    assert {record.id for record in map(module.manifest.__getitem__, module.val.rows)} == {"carl/0", "dora/0"}
    with pytest.raises(LipsyncError, match=r"length.* is none of face"):
        data(corpus, filters={"length": [1, None]})


def test_a_resumed_run_hears_the_rest(corpus: Path) -> None:
    straight, first, second = Listener(), Listener(), Listener()
    trainer(corpus, 4, accumulate_grad_batches=2).fit(straight, datamodule=data(corpus))
    half = trainer(corpus, 2, accumulate_grad_batches=2)
    half.fit(first, datamodule=data(corpus))
    half.save_checkpoint(corpus / "half.ckpt")
    rest = trainer(corpus, 4, accumulate_grad_batches=2)
    rest.fit(second, datamodule=data(corpus), ckpt_path=corpus / "half.ckpt", weights_only=True)
    assert [batch["index"].tolist() for batch in straight.heard] == [[2 * m, 2 * m + 1] for m in range(8)]
    assert [batch["index"].tolist() for batch in second.heard] == [[2 * m, 2 * m + 1] for m in range(4, 8)]
    assert all(same(a, b) for a, b in zip(straight.heard, first.heard + second.heard, strict=True))


def test_workers_change_nothing(corpus: Path) -> None:
    alone, helped = Listener(), Listener()
    trainer(corpus, 3).fit(alone, datamodule=data(corpus))
    trainer(corpus, 3).fit(helped, datamodule=data(corpus, workers=2))
    assert all(same(a, b) for a, b in zip(alone.heard, helped.heard, strict=True))


def test_validation_sees_fixed_windows_once(corpus: Path) -> None:
    first, second = Listener(), Listener()
    for listener in (first, second):
        validator = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
        validator.validate(listener, datamodule=data(corpus, val_windows=5), verbose=False)
    assert [batch["index"].tolist() for batch in first.heard] == [[0, 1], [2, 3], [4]]
    assert all(same(a, b) for a, b in zip(first.heard, second.heard, strict=True))


def test_a_pair_on_the_device(corpus: Path, sound: Callable, clips: tuple) -> None:
    module = data(corpus)
    module.setup("fit")
    batch = module.sample_pairs(5, "cpu")
    shapes = {name: tuple(tensor.shape) for name, tensor in batch.items()}
    assert shapes == {
        "frames": (3, 12, 3, 32, 32),
        "reference": (3, 1, 3, 32, 32),
        "own_mels": (3, 12, 80, 16),
        "driving_mels": (3, 12, 80, 16),
        "own_sliding": (3, 8, 80, 16),
        "driving_sliding": (3, 8, 80, 16),
        "own_sound": (3, 7680),
        "driving_sound": (3, 7680),
        "opening": (3, 12),
        "opening_driving": (3, 12),
        "speaker": (3,),
        "index": (3,),
        "pair": (3,),
    }
    assert batch["index"].tolist() == [3, 4, 5]
    assert batch["pair"].tolist() == [0, 1, 2]
    assert -1 <= batch["frames"].amin() < -0.5 < batch["frames"].amax() <= 1
    for b, target in enumerate(batch["index"].tolist()):
        driving = round(batch["opening_driving"][b, 0].item())  # the whole part of an opening is its clip
        for name, clip in (("own_mels", target), ("driving_mels", driving)):
            frames = clips[clip][3]
            mels = clip_mels(sound(clip), [Fraction(f, 25) for f in range(frames - 12, frames)])
            torch.testing.assert_close(batch[name][b], mels, atol=1e-4, rtol=0)


def test_testing_takes_the_pairs_of_the_test_split(corpus: Path) -> None:
    listener = Listener()
    tester = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    tester.test(listener, datamodule=data(corpus), verbose=False)
    assert [batch["index"].tolist() for batch in listener.heard] == [[6]]


def test_degraded_and_disturbed_windows_arrive_as_drawn(corpus: Path) -> None:
    listener = Listener()
    options = {"batch_size": 6, "degrade": 0.7, "disturb": 0.9}
    trainer(corpus, 1).fit(listener, datamodule=data(corpus, **options))
    batch, plain = listener.heard[0], Listener()
    trainer(corpus, 1).fit(plain, datamodule=data(corpus, batch_size=6))
    dataset = Windows(load_manifest(corpus), "train", 5, 0, True, 0.03, 0.7, 0.9)
    for b in range(6):
        raw = dataset[b]
        both = torch.cat([plain.heard[0][name][b] for name in ("frames", "reference")])[None] * 0.5 + 0.5
        expected = degrade(both, raw["degrading"][None])[0] * 2 - 1
        torch.testing.assert_close(batch["frames"][b], expected[:-1], atol=1e-5, rtol=0)
        torch.testing.assert_close(batch["reference"][b], expected[-1:], atol=1e-5, rtol=0)
        heard = disturb(raw["audio"][None], raw["disturbing"][None], 0, torch.tensor([b]))
        mels, _ = window_mels(heard, torch.tensor([raw["first_frame"]]))
        torch.testing.assert_close(batch["frame_mels"][b], mels[0], atol=1e-4, rtol=0)
    assert not torch.equal(batch["frames"], plain.heard[0]["frames"])
    assert not torch.equal(batch["frame_mels"], plain.heard[0]["frame_mels"])


def test_large_tracks_are_averaged_over_more_samples(corpus: Path) -> None:
    listener = Listener()
    trainer(corpus, 1).fit(listener, datamodule=data(corpus, size=8, augment=False))
    record = load_manifest(corpus)[0]
    samples = -(-record.size // 8)
    assert samples > 2
    expected = crop(Windows(load_manifest(corpus), "train")[1]["frames"], torch.tensor(record.box), 8, samples)
    torch.testing.assert_close(listener.heard[0]["frames"][1], expected / 127.5 - 1, atol=1e-5, rtol=0)
