"""What training sees is the clip itself: its frames as decoded from the start, its sound where it was heard."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning import LightningModule, Trainer
from torch import Tensor, nn

from lipsync.corpora import windows
from lipsync.corpora.datamodule import Corpus
from lipsync.corpora.records import Record, build_manifest, write_record
from lipsync.sound import write_wav
from lipsync.video import VideoWriter, read_frames

SIDE, FRAMES, T = 64, 83, 5  # more than three groups of 25 pictures, the last one cut short
LAST = FRAMES - T
CLICKS = (0, 1, 7, 16, 17, 50, 90, 133, 134, 201, 246, 259, 264)  # columns of the mel, up to its last


class Listener(LightningModule):
    """Learns nothing and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.heard: list[dict[str, Tensor]] = []

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.heard.append(batch)
        return self.weight * 0

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """There is one, or Lightning warns."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of patches that change with every frame; silence but for clicks of one sample."""
    root = tmp_path_factory.mktemp("exact")
    for number, split in enumerate(("train", "val")):
        # One tint: decoders spread colours over pixels, of which there is one in four, each in its own way.
        grey = np.random.default_rng(number).integers(40, 216, (FRAMES, SIDE // 8, SIDE // 8, 1))
        patches = (grey + np.array([30, 0, -30])).astype(np.uint8)
        with VideoWriter(root / f"{split}.mp4", SIDE, SIDE, 25) as writer:
            writer.write(patches.repeat(8, axis=1).repeat(8, axis=2))
        sound = np.zeros(640 * FRAMES, np.int16)
        sound[200 * np.array(CLICKS)] = 20_000  # a column is centred on its 200th sample
        write_wav(root / f"{split}.wav", sound)
        box = (0.0, SIDE, 0.0, SIDE)
        write_record(root, Record(split, f"{split}.mp4", f"{split}.wav", "", split, split, FRAMES, SIDE, box))
    build_manifest(root)
    return root


@pytest.fixture(scope="module", params=["streamed", "kept decoded"])
def drawn(corpus: Path, request: pytest.FixtureRequest) -> dict[str, Tensor]:
    """Enough training windows to have the clip's first and last among them, as the Trainer hands them over."""
    listener = Listener()
    data = Corpus(str(corpus), size=SIDE // 2, frames=T, batch_size=20, workers=0, augment=False)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(accelerator="cpu", max_steps=16, use_distributed_sampler=False, limit_val_batches=0, **quiet)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "KEPT", 0 if request.param == "streamed" else windows.KEPT)
        trainer.fit(listener, datamodule=data)
    assert (data.train.kept is None) == (request.param == "streamed")
    return {name: torch.cat([batch[name] for batch in listener.heard]) for name in listener.heard[0]}


def test_frames_are_those_of_a_sequential_decode(corpus: Path, drawn: dict[str, Tensor]) -> None:
    decoded = torch.from_numpy(np.stack([frame.image for frame in read_frames(corpus / "train.mp4")]))
    # Half the size of the whole picture: each pixel is the mean of four.
    decoded = F.avg_pool2d(decoded.permute(0, 3, 1, 2).float(), 2) / 127.5 - 1
    first = drawn["first_frame"]
    assert {0, LAST} <= set(first.tolist())
    assert len(set(first.tolist())) > 70
    expected = decoded[first[:, None] + torch.arange(T)]
    # The decoders round differently, by a level or two; another frame is 0.4 away.
    assert (drawn["frames"] - expected).abs().mean((2, 3, 4)).max() < 0.02
    distances = torch.stack([(drawn["reference"][:, 0] - frame).abs().mean((1, 2, 3)) for frame in decoded])
    nearest = distances.min(dim=0)
    assert nearest.values.max() < 0.02
    assert (distances.sort(dim=0).values[1] > 0.3).all()
    assert ((nearest.indices < first) | (nearest.indices >= first + T)).all()


@pytest.mark.parametrize(
    ("name", "begin"),
    [
        ("frame_mels", lambda frame: int(80 * max(Fraction(frame, 25) - Fraction(1, 25), 0))),
        ("mel", lambda frame: int(Fraction(80 * frame, 25))),
    ],
)
def test_clicks_sit_in_their_columns(drawn: dict[str, Tensor], name: str, begin: Callable[[int], int]) -> None:
    # (B, 1 or T, 80, 16): a click fills its column, half of it those beside, and silence is -4.
    loudness = drawn[name].mean(2)
    full = loudness.max()
    assert full > -2
    seen = set()
    for window, first in zip(loudness, drawn["first_frame"].tolist(), strict=True):
        for frame, columns in enumerate(window, start=first):
            found = (columns > full - 0.1).nonzero()[:, 0] + begin(frame)
            assert found.tolist() == [click for click in CLICKS if begin(frame) <= click < begin(frame) + 16]
            seen |= set(found.tolist())
    assert seen == set(CLICKS)
