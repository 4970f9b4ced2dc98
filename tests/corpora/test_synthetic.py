"""Synthetic writes itself and serves batches like any other corpus."""

import pytest
import torch
from torch.utils.data import default_collate

from lipsync.corpora.synthetic import Synthetic


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Synthetic:
    root = str(tmp_path_factory.mktemp("synthetic") / "corpus")
    data = Synthetic(root, speakers=3, clips=2, seconds=2.0, track_size=64, size=32, augment=False, pair_frames=25)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    return data


def test_windows_become_a_batch(data):
    batch = data.on_after_batch_transfer(default_collate([data.train[index] for index in range(3)]), 0)
    assert batch["frames"].shape == (3, 5, 3, 32, 32)
    assert batch["reference"].shape == (3, 1, 3, 32, 32)
    assert batch["frame_mels"].shape == (3, 5, 80, 16)
    assert batch["frames"].abs().max() <= 1
    assert batch["frames"].std() > 0.2  # a face, not a grey square
    assert batch["replaced"].sum() == 0


def test_one_speaker_a_split(data):
    speakers = data.manifest.column("speaker")
    people = [set(speakers[data.manifest.rows(split)]) for split in ("train", "val", "test")]
    assert people == [{"s000"}, {"s001"}, {"s002"}]


def test_tested_pairs_know_the_true_opening(data):
    batch = data.on_after_batch_transfer(default_collate([data.test[0]]), 0)
    assert batch["frames"].shape == (1, 25, 3, 32, 32)
    assert torch.isfinite(batch["opening_driving"]).all()
    assert batch["opening_driving"].max() > 0.05
