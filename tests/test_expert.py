"""The frozen form of an expert, and the shipped one at work on speakers it never heard."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import default_collate

from lipsync import SyncExpert
from lipsync.checkpoints import load_expert
from lipsync.corpora.puppet.write import write_corpus
from lipsync.corpora.records import load_manifest
from lipsync.corpora.synthetic import Synthetic
from lipsync.corpora.windows import Windows
from lipsync.expert import FrozenExpert
from lipsync.losses import pair_cosines
from lipsync.networks.syncnet import SyncNet


def windows(count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(count, 1, 80, 16) * 8 - 4, torch.rand(count, 5, 3, 64, 64) * 2 - 1


def test_freezing_changes_no_number() -> None:
    mel, frames = windows()
    syncnet = SyncNet(width=2, norm="batch").eval()
    expected = syncnet(mel, syncnet.faces(frames))
    frozen = FrozenExpert(syncnet)
    for got, want in zip(frozen(mel, frames), expected, strict=True):
        torch.testing.assert_close(got, want)


def test_frozen_means_no_parameters_no_state_and_no_training() -> None:
    frozen = FrozenExpert(SyncNet(width=2, norm="batch"))
    assert not list(frozen.parameters())
    assert not frozen.state_dict()
    frozen.train()
    assert not any(module.training for module in frozen.modules())
    frozen.double()
    assert {buffer.dtype for buffer in frozen.buffers() if buffer.is_floating_point()} == {torch.float64}


def test_its_verdict_stays_float32_under_autocast_and_passes_a_gradient() -> None:
    mel, frames = windows()
    frames.requires_grad_()
    frozen = FrozenExpert(SyncNet(width=2, norm="group"))
    with torch.autocast("cpu", torch.bfloat16):
        audio, face = frozen(mel, frames)
    assert audio.dtype == face.dtype == torch.float32
    (audio * face).sum().backward()
    assert frames.grad[:, :, :, 32:].abs().sum() > 0
    assert frames.grad[:, :, :, :32].abs().sum() == 0  # it looks at the lower half only


def test_a_step_of_training_lowers_the_loss() -> None:
    expert = SyncExpert(syncnet={"width": 8, "norm": "group"})
    expert.log = lambda *_, **__: None
    mel, frames = windows(8)
    batch = {"mel": mel, "frames": frames}
    optimizer = torch.optim.SGD(expert.parameters(), lr=0.01)
    before = expert.training_step(batch, 0)
    assert before.item() == pytest.approx(0.69, abs=0.15)
    before.backward()
    optimizer.step()
    assert expert.training_step(batch, 0) < before


def test_the_shipped_expert_judges_speakers_it_never_heard(tmp_path: Path) -> None:
    write_corpus(tmp_path / "synthetic", speakers=8, clips=1, seconds=2.0, seed=99, size=112)
    corpus = Synthetic(str(tmp_path / "synthetic"), workers=0)
    manifest = load_manifest(tmp_path / "synthetic")
    drawn = Windows(manifest, "train", length=24)
    batch = corpus.on_after_batch_transfer(default_collate([drawn[i] for i in range(24)]), 0)
    frozen = FrozenExpert(load_expert("synthetic"))
    own, foreign = pair_cosines(*frozen(batch["mel"], batch["frames"]))
    assert (own[:, None] > foreign).float().mean() > 0.8
