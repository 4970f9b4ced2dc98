"""One process, two, or accumulated halves: with the same global batch it is the same run, also when it changes."""

from pathlib import Path

import pytest
import runs
import torch

SERIAL = ("--data.workers=0", "--model.unet.dropout=0")
ONE = (*SERIAL, "--data.batch_size=4", "--trainer.devices=1")
TWO = (*SERIAL, "--data.batch_size=2", "--trainer.devices=2", "--trainer.strategy=ddp")
HALVES = (*SERIAL, "--data.batch_size=2", "--trainer.devices=1", "--trainer.accumulate_grad_batches=2")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.written(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    folder = tmp_path_factory.mktemp("one")
    runs.fit(folder, corpus, *ONE, "--trainer.max_steps=50", "--trainer.precision=64-true")
    return folder


@pytest.mark.parametrize("course", [[(TWO, 50)], [(TWO, 25), (HALVES, 50)]])
def test_fifty_steps_agree_in_float64(
    tmp_path: Path, corpus: Path, straight: Path, course: list[tuple[tuple[str, ...], int]]
) -> None:
    for number, (processes, steps) in enumerate(course):
        resumed = ("--ckpt_path=last",) if number else ()
        exact = (f"--trainer.max_steps={steps}", "--trainer.precision=64-true")
        runs.fit(tmp_path, corpus, *processes, *exact, *resumed)
    wanted, found = runs.weights(straight), runs.weights(tmp_path)
    assert runs.checkpoint(tmp_path)["global_step"] == 50
    assert wanted.keys() == found.keys()
    worst = max((tensor - found[name]).abs().max().item() for name, tensor in wanted.items())
    assert worst < 1e-9
    head = "unet.out.2.weight"
    moved = (wanted[f"raw {head}"] - wanted[f"average {head}"]).abs().max()
    assert moved > 1e-4


def test_ten_losses_agree_in_float32(tmp_path: Path, corpus: Path) -> None:
    curves = []
    for name, processes in (("one", ONE), ("two", TWO)):
        runs.fit(tmp_path / name, corpus, *processes, "--trainer.max_steps=10", "--trainer.precision=32-true")
        curves.append(torch.tensor([float(x) for x in runs.losses(tmp_path / name).values()]))
    assert len(curves[0]) == 10
    torch.testing.assert_close(curves[0], curves[1], atol=1e-5, rtol=0)
