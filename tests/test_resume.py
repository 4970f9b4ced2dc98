"""kill -9 at any moment, and the run that goes on is bitwise the one that was never killed."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
import runs
import torch

ONE = ("--data.batch_size=4", "--data.workers=1", "--trainer.devices=1")
TWO = ("--data.batch_size=2", "--data.workers=1", "--trainer.devices=2", "--trainer.strategy=ddp")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.written(tmp_path_factory.mktemp("corpus"))


@pytest.mark.parametrize(
    ("processes", "kills"),
    [
        pytest.param(ONE, 1, id="one"),
        pytest.param(TWO, 1, id="two"),
        pytest.param(ONE, 12, id="one-often", marks=pytest.mark.slow),
        pytest.param(TWO, 8, id="two-often", marks=pytest.mark.slow),
    ],
)
def test_killed_at_random_moments_it_ends_as_if_nothing_had_been(
    tmp_path: Path, corpus: Path, processes: tuple[str, ...], kills: int
) -> None:
    steps = 30 * kills + 10
    how = (*processes, f"--trainer.max_steps={steps}", "--trainer.val_check_interval=5")
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    runs.fit(straight, corpus, *how)
    killed.mkdir()
    last = killed / "runs" / "base" / "checkpoints" / "last.ckpt"
    chance, killings = random.Random(kills), 0
    for number in range(kills):
        resumed = ("--ckpt_path=last",) if number else ()
        written = last.stat().st_mtime_ns if last.exists() else 0
        run = runs.start(killed, corpus, *how, *resumed)
        while run.poll() is None and (not last.exists() or last.stat().st_mtime_ns == written):
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 1.0))  # amid a step, a checkpoint, a validation
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            killings += 1
        run.wait()
    assert killings == kills
    assert runs.checkpoint(killed)["global_step"] < steps
    runs.fit(killed, corpus, *how, "--ckpt_path=last")

    assert runs.checkpoint(killed)["global_step"] == steps
    wanted, found = runs.weights(straight), runs.weights(killed)
    assert wanted.keys() == found.keys()
    assert not [name for name, tensor in wanted.items() if not torch.equal(tensor, found[name])]
    assert runs.losses(killed) == runs.losses(straight)
    assert len(runs.losses(straight)) == steps
    assert not list(last.parent.glob(".*"))
