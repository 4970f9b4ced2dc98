"""A list of pairs through the Trainer: all that can be dubbed is, and the others are named."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lipsync import checkpoints
from lipsync.diff2lip import Diff2Lip
from lipsync.dubbing import dub_many as module
from lipsync.dubbing.dub_many import dub_many
from lipsync.errors import LipsyncError
from lipsync.exports import export

TINY = {
    "size": 16,
    "unet": {
        "channels": 8,
        "channel_mult": [1, 2],
        "num_res_blocks": 1,
        "attention_resolutions": [],
        "head_channels": 8,
        "groups": 4,
        "audio_channels": [8, 8, 8, 8],
        "audio_blocks": 0,
    },
    "sampling_steps": [1],
}


@pytest.fixture
def work(make_video: Callable, make_sound: Callable, tmp_path: Path) -> Path:
    """Three pairs, one of which has a sound that is none."""
    for name in ("a", "b"):
        make_video(f"{name}.mp4")
        make_sound(0.4, f"{name}.wav")
    make_video("c.mp4")
    (tmp_path / "c.wav").write_text("no sound")
    return tmp_path


def test_all_that_can_be_dubbed_is(
    work: Path, still_face: type, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(checkpoints, "load_diff2lip", lambda path, device: Diff2Lip(**TINY))
    monkeypatch.setattr(module, "FaceFinder", lambda device: still_face())
    out = work / "out"
    with pytest.raises(LipsyncError, match="1 of 3 could not be dubbed"):
        dub_many(str(work), str(out), "model.ckpt", accelerator="cpu", devices=1)
    assert "c.wav: not a media file" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["a.json", "a.mp4", "b.json", "b.mp4"]
    assert json.loads((out / "a.json").read_text())["painted"] == 10

    (work / "c.wav").unlink()
    (out / "a.mp4").write_bytes(b"as it was")
    (out / "b.mp4").unlink()
    files = dub_many(str(work), str(out), "model.ckpt", accelerator="cpu", devices=1)
    assert files == [str(out / "a.mp4"), str(out / "b.mp4")]
    assert (out / "a.mp4").read_bytes() == b"as it was"
    assert (out / "b.mp4").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize(("given", "dubbed"), [("abc", "ab"), ("b", "b")])
def test_two_processes_share_the_list(work: Path, given: str, dubbed: str) -> None:
    """Also one that has only one pair."""
    for name in set("abc") - set(given):
        (work / f"{name}.wav").unlink()
    torch.manual_seed(0)
    model = Diff2Lip(**TINY)
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, work / "model.ckpt")
    export(str(work / "model.ckpt"), str(work / "model.safetensors"))
    command = [sys.executable, "-m", "lipsync", "dub_many", str(work), str(work / "out")]
    command += ["--checkpoint", str(work / "model.safetensors"), "--accelerator=cpu", "--devices=2"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    failed = given != dubbed
    assert run.returncode == 2 * failed, run.stderr
    assert ("1 of 3 could not be dubbed" in run.stderr) == failed
    expected = [f"{name}.{suffix}" for name in dubbed for suffix in ("json", "mp4")]
    assert sorted(path.name for path in (work / "out").iterdir()) == expected
