"""The engine's switches: what they may change is speed and rounding."""

import shutil
from pathlib import Path

import pytest
import runs
import torch

STEPS = 6


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.written(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def plain(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return losses(tmp_path_factory.mktemp("plain"), corpus)


def losses(folder: Path, corpus: Path, *arguments: str, patience: float = 300) -> list[float]:
    # Dropout draws element by element, so that another memory layout would draw another mask.
    how = ("--data.batch_size=4", "--data.workers=0", "--trainer.devices=1", "--model.unet.dropout=0")
    runs.fit(folder, corpus, *how, f"--trainer.max_steps={STEPS}", *arguments, patience=patience)
    found = [float(loss) for _, loss in sorted(runs.losses(folder).items())]
    assert len(found) == STEPS
    return found


def test_channels_last_is_the_same_run(tmp_path, corpus, plain):
    assert losses(tmp_path, corpus, "--model.channels_last=true") == pytest.approx(plain, rel=1e-4)
    kernel = runs.weights(tmp_path)["raw unet.middle_block.0.in_layers.2.weight"]
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert not kernel.is_contiguous()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_compiled_it_is_the_same_run(tmp_path, corpus, plain):
    found = losses(tmp_path, corpus, "--model.compiled=true", patience=1800)
    assert found == pytest.approx(plain, rel=1e-4)
    assert found != plain  # other kernels round otherwise
    assert not [name for name in runs.weights(tmp_path) if "_orig_mod" in name]


def test_bfloat16_rounds_and_learns_alike(tmp_path, corpus, plain):
    found = losses(tmp_path, corpus, "--trainer.precision=bf16-mixed")
    assert found == pytest.approx(plain, rel=0.03)
    assert found != plain
    kept = [tensor for name, tensor in runs.weights(tmp_path).items() if name.startswith("raw")]
    assert {tensor.dtype for tensor in kept} == {torch.float32}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="float16 with its loss scale is for GPUs")
def test_float16_rounds_and_learns_alike(tmp_path, corpus, plain):
    found = losses(tmp_path, corpus, "--trainer.precision=16-mixed", "--trainer.accelerator=cuda")
    assert found == pytest.approx(plain, rel=0.03)
