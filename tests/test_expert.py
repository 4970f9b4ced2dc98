"""The frozen form of an expert, and the shipped one at work on speakers it never heard."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from lightning import Trainer
from torch.utils.data import default_collate

from lipsync import SyncExpert
from lipsync.checkpoints import load_expert
from lipsync.contrast import cosines, two_way_accuracy
from lipsync.corpora.datamodule import Corpus
from lipsync.corpora.puppet.write import write_corpus
from lipsync.corpora.records import load_manifest
from lipsync.corpora.synthetic import Synthetic
from lipsync.corpora.windows import Windows
from lipsync.errors import LipsyncError
from lipsync.expert import FrozenExpert
from lipsync.networks.syncnet import SyncNet
from lipsync.safekeeping import LastCheckpoint


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


def batch_of(count: int) -> dict[str, torch.Tensor]:
    """Windows of smooth pictures and sounds, so that a network can tell them apart."""
    mel = F.interpolate(torch.rand(count, 1, 5, 4) * 8 - 4, (80, 16), mode="bilinear")
    frames = F.interpolate(torch.rand(count, 15, 4, 4) * 2 - 1, 64, mode="bilinear").unflatten(1, (5, 3))
    number = torch.arange(count)
    return {"mel": mel, "frames": frames, "clip": number, "speaker": number, "first_frame": number}


def silent(expert: SyncExpert) -> SyncExpert:
    """Without a Trainer that logs."""
    expert.trainer = SimpleNamespace(world_size=1)
    expert.log = lambda *_, **__: None
    return expert


@pytest.mark.parametrize("network", [{}, {"network": "attentive"}])
@pytest.mark.parametrize("objective", ["bce", "margin", "info_nce"])
def test_overfitting_one_batch_reaches_everything(network: dict, objective: str) -> None:
    torch.manual_seed(0)
    syncnet = {"width": 8} if network else {"width": 8, "norm": "group"}
    expert = silent(SyncExpert(**network, syncnet=syncnet, objective=objective))
    batch = batch_of(8)
    optimizer = torch.optim.AdamW(expert.parameters(), lr=3e-4)
    for _ in range(200):
        optimizer.zero_grad()
        expert.training_step(batch, 0).backward()
        optimizer.step()
        cosine, weights = expert.compare(batch)
        if two_way_accuracy(cosine, weights > 0) == 1:
            return
    pytest.fail("200 steps do not suffice for eight windows")


def test_a_batch_in_chunks_has_the_gradient_of_the_whole() -> None:
    batch = batch_of(7)
    for objective in ("bce", "info_nce"):
        gradients = []
        for chunk in (None, 3):
            torch.manual_seed(0)
            expert = silent(SyncExpert("attentive", {"width": 8}, objective, chunk=chunk)).double()
            double = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
            expert.training_step(double, 0).backward()
            gradients.append(torch.cat([parameter.grad.flatten() for parameter in expert.parameters()]))
        torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-4)


def test_two_processes_have_the_gradient_of_their_windows_together(tmp_path: Path) -> None:
    write_corpus(tmp_path / "synthetic", speakers=4, clips=2, seconds=1.6, size=64, seed=0)
    slopes = []
    for processes in (1, 2):
        torch.manual_seed(0)
        network = {"width": 8, "face_size": [16, 32], "embedding": 16}
        expert = SyncExpert("attentive", network, "info_nce", foreign_share=0.2)
        data = Corpus(str(tmp_path / "synthetic"), size=32, batch_size=8 // processes, workers=0, run=2)
        quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
        trainer = Trainer(
            accelerator="cpu",
            devices=processes,
            strategy="auto" if processes == 1 else "ddp_spawn",
            precision="64-true",
            max_steps=1,
            limit_val_batches=0,
            use_distributed_sampler=False,
            default_root_dir=tmp_path / str(processes),
            callbacks=[LastCheckpoint()],
            **quiet,
        )
        trainer.fit(expert, datamodule=data)
        last = torch.load(tmp_path / str(processes) / "checkpoints" / "last.ckpt", weights_only=True)
        # Adam's mean of gradients is a tenth of the first.
        means = [state["exp_avg"].flatten() for state in last["optimizer_states"][0]["state"].values()]
        slopes.append(10 * torch.cat(means))
    assert slopes[0].norm() > 0.01
    torch.testing.assert_close(*slopes, atol=1e-6, rtol=1e-4)


def test_a_step_of_training_lowers_the_loss() -> None:
    expert = silent(SyncExpert(syncnet={"width": 8, "norm": "group"}))
    batch = batch_of(8)
    optimizer = torch.optim.SGD(expert.parameters(), lr=0.01)
    before = expert.training_step(batch, 0)
    assert before.item() == pytest.approx(0.69, abs=0.15)
    before.backward()
    optimizer.step()
    assert expert.training_step(batch, 0) < before


def test_the_shipped_experts_judge_speakers_they_never_heard(tmp_path: Path) -> None:
    write_corpus(tmp_path / "synthetic", speakers=8, clips=1, seconds=2.0, seed=99, size=112)
    corpus = Synthetic(str(tmp_path / "synthetic"), workers=0)
    manifest = load_manifest(tmp_path / "synthetic")
    drawn = Windows(manifest, "train", length=24)
    batch = corpus.on_after_batch_transfer(default_collate([drawn[i] for i in range(24)]), 0)
    for name in ("synthetic", "synthetic_eval"):
        frozen = FrozenExpert(load_expert(name).syncnet)
        cosine = cosines(*frozen(batch["mel"], batch["frames"]))
        assert two_way_accuracy(cosine, ~torch.eye(24, dtype=torch.bool)) > 0.8, name


def test_the_expert_of_the_evaluation_is_another_one() -> None:
    loss, evaluation = load_expert("synthetic"), load_expert("synthetic_eval")
    assert type(loss.syncnet) is not type(evaluation.syncnet)
    assert loss.syncnet.face_size != evaluation.syncnet.face_size


def test_windows_of_another_length_are_refused() -> None:
    expert = SyncExpert("attentive", {"width": 8, "frames": 16})
    expert.trainer = SimpleNamespace(datamodule=SimpleNamespace(crop_rule="square", frames=5))
    with pytest.raises(LipsyncError, match=r"looks at 16 frames, the data's windows have 5: set data.frames"):
        expert.setup("fit")
    expert.trainer.datamodule.frames = 16
    expert.setup("fit")
