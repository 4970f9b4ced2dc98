"""Broken input of 130 kinds: each is dubbed, or refused in one line; nothing half-done stays, and nothing hangs."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from breaking import KINDS, film, pipe, wav, written
from lightning import Trainer
from PIL import Image

from lipsync import Diff2Lip
from lipsync.dubbing import dub as module
from lipsync.dubbing.dub import dub
from lipsync.errors import LipsyncError
from lipsync.exports import export

PATIENCE = 20  # seconds
SMALL = {"fold": 2, "channels": 8, "channel_mult": [1, 2], "num_res_blocks": 1, "attention_resolutions": []}
SMALL |= {"head_channels": 8, "groups": 4, "audio_channels": [8]}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("healthy")
    for name in ("good.mp4", "good.mkv", "good.mpg"):
        film(folder / name)
    film(folder / "mute.mp4", sound=False)
    wav(folder / "good.wav")
    Image.fromarray(np.random.default_rng(0).integers(90, 200, (80, 96, 3)).astype(np.uint8)).save(folder / "good.png")
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", default_root_dir=folder)
    trainer.strategy.connect(Diff2Lip(size=16, unet=SMALL, prediction="x_0", sampling_steps=(1,)))
    trainer.save_checkpoint(folder / "good.ckpt", weights_only=False)
    export(str(folder / "good.ckpt"), str(folder / "good.safetensors"))
    return folder


@pytest.fixture
def hurry() -> Iterator[None]:
    """Ends what hangs."""

    def late(*_: object) -> None:
        raise AssertionError(f"hangs: not done after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("name", KINDS)
def test_dubbed_or_refused_in_one_line(
    name: str, healthy: Path, tmp_path: Path, still_face: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, temporary = tmp_path / "at", tmp_path / "temporary"
    shutil.copytree(healthy, at)
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(module, "FaceFinder", lambda device: still_face())
    make, says = KINDS[name]
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    arguments = {"video": "good.mp4", "audio": "good.wav", "out": "dubbed.mp4", "checkpoint": "good.safetensors"}
    arguments = {role: str(at / path) for role, path in arguments.items()} | {"device": "cpu"} | make(at)
    before, line = contents(at), ""
    try:
        dub(**arguments)
    except LipsyncError as error:
        line = str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    assert says is None or (says in line and bool(says) == bool(line)), line
    assert "\n" not in line
    assert len(line) < 1000
    after = contents(at)
    if not line:
        with av.open(arguments["out"]) as container:
            assert sum(1 for _ in container.decode(video=0)) > 0
        del after[arguments["out"]]
        before.pop(arguments["out"], None)
    assert after == before
    assert not list(temporary.iterdir())
    assert "ahead" not in {thread.name for thread in threading.enumerate()}


def test_there_are_many_kinds() -> None:
    assert len(KINDS) >= 120


def test_the_command_says_one_line(healthy: Path, tmp_path: Path) -> None:
    """Exit code 2 and one line on stderr, also from a file that is cut off and from a pipe that nobody feeds."""
    shutil.copytree(healthy, tmp_path, dirs_exist_ok=True)
    inputs = {
        "no frame can be decoded": (
            written(tmp_path / "half.mp4", (tmp_path / "good.mp4").read_bytes()[:400]),
            "good.wav",
        ),
        "no such file": ("good.mp4", pipe(tmp_path / "pipe.wav")),
    }
    command = [sys.executable, "-m", "lipsync", "dub"]
    rest = ["out.mp4", "--checkpoint=good.safetensors"]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path, "env": os.environ}
    runs = {says: subprocess.Popen([*command, *given, *rest], **piped) for says, given in inputs.items()}
    for says, run in runs.items():
        _, errors = run.communicate(timeout=120)
        assert run.returncode == 2, errors
        assert says in errors
        assert len(errors.strip().splitlines()) == 1
    assert not list(tmp_path.glob("out*"))
