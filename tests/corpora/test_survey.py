"""Files that went bad after preparation: training goes on with the others, or does not begin at all."""

import warnings
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from lipsync.corpora.datamodule import UNREADABLE_CLIPS, Corpus
from lipsync.corpora.records import load_manifest
from lipsync.corpora.survey import survey
from lipsync.errors import LipsyncError


class Nothing(LightningModule):
    """Counts the windows that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[int] = []
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.shown += batch["index"].tolist()
        return self.weight**2

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(corpus: Path, folder: Path, **arguments: float) -> Nothing:
    data = Corpus(str(corpus), size=16, batch_size=4, workers=0, augment=False, **arguments)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(
        accelerator="cpu", max_steps=-1, max_epochs=1, limit_train_batches=8, limit_val_batches=0,
        use_distributed_sampler=False, default_root_dir=folder, **quiet,
    )  # fmt: skip
    model = Nothing()
    trainer.fit(model, data)
    return model


def spoil(corpus: Path) -> None:
    """The manifest no longer agrees with two of its files, one of them cut off."""
    (corpus / "anna/0.mp4").write_bytes((corpus / "anna/0.mp4").read_bytes()[:3000])
    (corpus / "bert/0.wav").unlink()


def test_training_goes_on_and_a_report_names_what_is_bad(corpus, tmp_path):
    spoil(corpus)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model = fit(corpus, tmp_path / "run", max_bad=0.99)
    assert model.shown == list(range(32))
    assert sum("will be replaced" in str(warning.message) for warning in told) == 2
    lines = (tmp_path / "run" / UNREADABLE_CLIPS).read_text().splitlines()
    assert sorted(line.split("\t")[0] for line in lines) == ["anna/0", "bert/0"]
    assert any("bert/0.wav: no such file" in line for line in lines)


def test_too_many_bad_clips_stop_the_run_before_its_first_step(corpus, tmp_path):
    spoil(corpus)
    with pytest.raises(LipsyncError, match=r"2 of 3 clips of .* more than 50%: anna/0 .*; bert/0 .*data\.max_bad"):
        fit(corpus, tmp_path / "run", max_bad=0.5)
    assert not (tmp_path / "run" / UNREADABLE_CLIPS).exists()


def test_a_sound_corpus_has_nothing_to_report(corpus, tmp_path):
    manifest = load_manifest(corpus)
    assert survey(manifest, manifest.rows("train"), 0.0) == {}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "clip .* cannot be read")
        fit(corpus, tmp_path / "run", max_bad=0.0)
    assert not (tmp_path / "run" / UNREADABLE_CLIPS).exists()
