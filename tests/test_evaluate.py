"""`lightning test` with experiments/evaluate.yaml: one process and two give the same table to the last digit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import runs
from lightning import Trainer

from lipsync import Diff2Lip

SMALL = {"fold": 2, "channels": 8, "channel_mult": [1, 2], "num_res_blocks": 1, "attention_resolutions": [8]}
SMALL |= {"head_channels": 8, "groups": 4, "audio_channels": [8], "audio_blocks": 1}
EVALUATE = [
    str(Path(sys.executable).with_name("lightning")),
    "test",
    f"--config={runs.ROOT / 'experiments' / 'base.yaml'}",
    f"--config={runs.ROOT / 'experiments' / 'evaluate.yaml'}",
    "--ckpt_path=last",
    "--model.size=32",
    *(f"--model.unet.{name}={value}" for name, value in SMALL.items()),
    "--model.loss_weights.gan=0",
    "--model.evaluation.protocols=[cross]",
    "--model.evaluation.steps=1",
    "--data.speakers=12",
    "--data.clips=1",
    "--data.seconds=1.6",
    "--data.track_size=64",
    "--data.pair_frames=12",
    "--data.pair_clips=3",
    "--data.workers=0",
    "--trainer.accelerator=cpu",
    "--trainer.logger=false",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of an untrained model, where a run of base.yaml would have left it."""
    path = tmp_path / "runs" / "base" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", default_root_dir=tmp_path)
    trainer.strategy.connect(Diff2Lip(size=32, unet=SMALL, prediction="x_0", loss_weights={"gan": 0.0}))
    trainer.save_checkpoint(path, weights_only=False)
    return tmp_path


def test_one_process_and_two_give_the_same_table(folder: Path) -> None:
    # A sum's last digits depend on the threads that share it, of which one process has more than each of two.
    single = os.environ | {"OMP_NUM_THREADS": "1"}
    for number, devices in enumerate((1, 2)):
        command = [*EVALUATE, f"--trainer.devices={devices}"]
        done = subprocess.run(command, cwd=folder, env=single, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert f"Run folder: runs/base/test{'-2' * number}" in done.stdout.splitlines()
    one, two = (folder / "runs" / "base" / name for name in ("test", "test-2"))
    for name in ("results.json", "clips.csv", "table.md"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    told = json.loads((one / "results.json").read_text())["summary"]
    assert told["truth"]["lse_d_0"]["clips"] >= 2
    logged = json.loads((one / "metrics.json").read_text())
    assert logged["cross/lse_d"] == pytest.approx(told["cross"]["lse_d"]["mean"])
