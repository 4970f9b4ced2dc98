"""Each sick corpus ends a run with its own diagnosis, and a healthy one with none."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer

from lipsync import SyncExpert
from lipsync.corpora.datamodule import Corpus
from lipsync.corpora.puppet.write import write_corpus
from lipsync.corpora.records import build_manifest
from lipsync.diagnosis import Diagnosis, data_faults, estimate_offset, plateau_faults
from lipsync.sound import map_wav, write_wav


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus") / "synthetic"
    write_corpus(root, speakers=12, clips=2, seconds=2.4, size=64, seed=3)
    return root


def train(root: Path, folder: Path, steps: int = 2, **callback: int) -> list[str]:
    """Trains an expert for a moment and reads what the diagnosis says."""
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_steps=steps,
        val_check_interval=1,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Diagnosis(**callback)],
    )
    data = Corpus(str(root), size=32, batch_size=4, workers=0, val_windows=8, pair_frames=40)
    expert = SyncExpert("attentive", {"width": 8, "face_size": [16, 32], "embedding": 16}, lr=1e-6)
    trainer.fit(expert, datamodule=data)
    path = folder / "diagnosis.txt"
    return path.read_text().splitlines() if path.exists() else []


def sounds(root: Path, change) -> Path:
    """Rewrites every sound of a corpus."""
    for path in sorted(root.rglob("*.wav")):
        write_wav(path, change(np.array(map_wav(str(path)))))
    return root


def test_a_healthy_corpus_has_none(healthy: Path, tmp_path: Path) -> None:
    assert train(healthy, tmp_path, patience=9) == []


@pytest.mark.parametrize(("late", "told"), [(5, "5 frames (200 ms) late"), (-8, "8 frames (320 ms) early")])
def test_a_shifted_corpus(late: int, told: str, healthy: Path, tmp_path: Path) -> None:
    root = sounds(shutil.copytree(healthy, tmp_path / "shifted"), lambda sound: np.roll(sound, 640 * late))
    faults = train(root, tmp_path, patience=9)
    assert len(faults) == 1
    found = int(faults[0].split("comes ")[1].split()[0])
    assert faults[0].endswith(")")
    assert abs(found - abs(late)) <= 1
    assert told.rsplit(" ", 1)[1] in faults[0]


def test_silent_sound(healthy: Path, tmp_path: Path) -> None:
    root = sounds(shutil.copytree(healthy, tmp_path / "silent"), np.zeros_like)
    assert train(root, tmp_path, patience=9) == ["silent sound: nothing is heard in 100% of the windows"]


def test_a_single_clip(healthy: Path, tmp_path: Path) -> None:
    root = tmp_path / "single"
    shutil.copytree(healthy, root)
    for number, path in enumerate(sorted(root.rglob("*.json"))):
        if number > 1:
            path.unlink()
            continue
        record = json.loads(path.read_text()) | {"split": ("train", "val")[number]}
        path.write_text(json.dumps(record))
    build_manifest(root)
    faults = train(root, tmp_path, patience=9)
    assert faults[0] == "too few clips: 1 of 1 speakers; an expert needs hundreds, of many"


def test_a_plateau_is_told_with_its_reasons(healthy: Path, tmp_path: Path) -> None:
    faults = train(healthy, tmp_path, steps=3, patience=2)
    assert faults[0].startswith("plateau: accuracy 0.")
    assert faults[0].endswith("after 2 steps is guessing")
    assert any(fault.startswith("small batch: 4 windows") for fault in faults)


def test_constant_embeddings_are_seen() -> None:
    varied = torch.nn.functional.normalize(torch.rand(64, 16), dim=1)
    constant = varied[:1].expand(64, 16) + 1e-4 * torch.rand(64, 16)
    assert plateau_faults(varied, varied, 256) == []
    assert plateau_faults(constant, varied, 256)[0].startswith("constant embeddings: every sound")


def test_pictures_of_another_range_are_seen() -> None:
    windows = {"frames": torch.rand(8, 5, 3, 16, 16) * 255, "mel": torch.zeros(8, 1, 80, 16)}
    assert data_faults(windows, 100, 10)[0].startswith("wrong normalisation: pictures reach from 0.0")
    assert data_faults(windows | {"frames": windows["frames"] / 255}, 100, 10)[0].endswith("to 1.00, not -1 to 1")
    right = windows | {"frames": windows["frames"] / 127.5 - 1}
    assert data_faults(right, 100, 10) == []
    decibels = right["mel"] + 20
    assert data_faults(right | {"mel": decibels}, 100, 10) == [
        "wrong normalisation: mels reach from 20.00 to 20.00, not -4 to 4"
    ]


@pytest.mark.parametrize(("clips", "speakers", "few"), [(9, 9, True), (100, 2, True), (10, 3, False)])
def test_too_few_clips_or_speakers_are_counted(clips: int, speakers: int, few: bool) -> None:
    windows = {"frames": torch.rand(8, 5, 3, 16, 16) * 2 - 1, "mel": torch.zeros(8, 1, 80, 16)}
    told = f"too few clips: {clips} of {speakers} speakers; an expert needs hundreds, of many"
    assert data_faults(windows, clips, speakers) == [told] * few


@pytest.mark.parametrize("late", [-7, 0, 3])
def test_offset_of_noise_is_the_one_it_was_given(late: int) -> None:
    opening = torch.randn(6, 60)
    found, agreement = estimate_offset(opening.roll(late, dims=1), opening)
    assert found == late
    assert agreement == pytest.approx(1, abs=0.05)
