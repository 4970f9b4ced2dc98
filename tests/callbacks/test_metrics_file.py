"""metrics.json: the latest of every metric, whole through a full disk."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from full_disk import full_disk

from lipsync.callbacks import MetricsFile


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = SimpleNamespace(sanity_checking=False, is_global_zero=True, default_root_dir=tmp_path, global_step=1)
    trainer.callback_metrics = {"val/loss": torch.tensor(0.5)}
    callback, path = MetricsFile(), tmp_path / "metrics.json"
    callback.on_validation_end(trainer, None)
    assert json.loads(path.read_text()) == {"step": 1, "val/loss": 0.5}
    trainer.global_step, trainer.callback_metrics = 2, {"val/loss": torch.tensor(0.25)}
    with full_disk():
        callback.on_validation_end(trainer, None)
        callback.on_validation_end(trainer, None)
    assert json.loads(path.read_text()) == {"step": 1, "val/loss": 0.5}
    trainer.callback_metrics = {"val/other": torch.tensor(1.0)}
    callback.on_validation_end(trainer, None)
    assert json.loads(path.read_text()) == {"step": 2, "val/loss": 0.25, "val/other": 1.0}
    assert len([record for record in caplog.records if record.name == "lipsync.files"]) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]
