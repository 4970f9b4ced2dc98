"""Runs at wandb: all arrives; and what befalls wandb, by the real client, befalls training no further."""

import csv
import os
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import wandb
from lightning import LightningModule, Trainer
from loopback_wandb import KEY, LoopbackWandb
from torch import nn
from torch.utils.data import DataLoader
from torchvision.io import write_png

from lipsync import tracking
from lipsync.history import History
from lipsync.tracking import SafeWandbLogger
from lipsync.video import write_clip

PATIENCE = 2.0


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An environment in which nobody has ever logged in, and a wandb client that has not read another."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "1")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    wandb.teardown()
    yield monkeypatch
    tracking.finish()
    wandb.teardown()


@pytest.fixture
def server(at_home: pytest.MonkeyPatch) -> Iterator[LoopbackWandb]:
    with LoopbackWandb() as server:
        for name, value in server.environment().items():
            at_home.setenv(name, value)
        yield server
        tracking.finish()


def logger(folder: Path, **arguments: object) -> SafeWandbLogger:
    return SafeWandbLogger(str(folder), **{"name": "runs/base", "offline": False, "patience": PATIENCE} | arguments)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == tracking.__name__]


def sync(folder: Path, server: LoopbackWandb, *options: str) -> None:
    """Runs `wandb sync` on every run in a folder, the oldest first; without options it passes over online ones."""
    found = sorted((folder / "wandb").glob("*run-*-*"), key=lambda path: path.stat().st_mtime)
    command = [str(Path(sys.executable).with_name("wandb")), "sync", *options, *map(str, found)]
    done = subprocess.run(command, env=os.environ | server.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_all_that_a_run_says_arrives(tmp_path: Path, server: LoopbackWandb, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "config.yaml").write_text("name: base\nmodel: {lr: 0.5, sync: true, named: '${name}', none: null}\n")
    (tmp_path / "page.html").write_text("<b>report</b>")
    write_png(torch.zeros(3, 8, 8, dtype=torch.uint8), str(tmp_path / "sheet.png"))
    write_clip(tmp_path / "film.mp4", np.zeros((5, 32, 32, 3), np.uint8), 25, np.zeros(3200, np.int16))
    (tmp_path / "checkpoints").mkdir()
    for name in ("last", "best", "other"):
        (tmp_path / "checkpoints" / f"{name}.ckpt").write_text(name)

    run = logger(tmp_path, checkpoints=("last", "best"))
    tracking.log_config([run], tmp_path / "config.yaml")
    for step in range(3):
        run.log_metrics({"train/loss": 1 / (step + 1)}, step)
    run.log_image("samples/sheet", [str(tmp_path / "sheet.png")], step=2)
    run.log_video("samples/dubbed", [str(tmp_path / "film.mp4")], step=2)
    run.log_table("evaluation/table", columns=["row", "value"], data=[["cross", 0.5]])
    run.log_page("evaluation/report", tmp_path / "page.html")
    run.finalize("success")
    run.finalize("success")  # after the test that follows a fit: nothing is sent again
    tracking.finish()

    (found,) = server.runs.values()
    assert found.exitcode == 0
    assert found.config["model"]["value"] == {"lr": 0.5, "sync": True, "named": "base", "none": None}
    assert found.series("train/loss") == {0: 1.0, 1: 0.5, 2: 1 / 3}
    assert found.summary()["train/loss"] == 1 / 3
    media = {re.sub(r"_\d+_\w+", "", name): body for name, body in found.files.items() if name.startswith("media/")}
    assert media["media/images/samples/sheet.png"] == (tmp_path / "sheet.png").read_bytes()
    assert media["media/videos/samples/dubbed.mp4"] == (tmp_path / "film.mp4").read_bytes()
    assert b"<b>report</b>" in media["media/html/evaluation/report.html"]
    assert b'[["cross",0.5]]' in media["media/table/evaluation/table.table.json"].replace(b" ", b"")
    models = [artifact for artifact in server.artifacts if artifact["artifactTypeName"] == "model"]
    for artifact, name in zip(models, ("last", "best"), strict=True):
        assert artifact["files"][f"{name}.ckpt"] == name.encode()
        assert {alias["alias"] for alias in artifact["aliases"]} - {"latest"} == {name}
    assert not told(caplog)


@pytest.mark.parametrize(
    "trouble",
    ["no key", "half a key", "another's key", "no server", pytest.param("a deaf server", marks=pytest.mark.slow)],
)
def test_a_run_that_cannot_begin_online_begins_offline(
    trouble: str, tmp_path: Path, at_home: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with LoopbackWandb() as server, socket.create_server(("127.0.0.1", 0)) as deaf:
        said = server.environment()
        said |= {
            "no key": {"WANDB_API_KEY": ""},
            "half a key": {"WANDB_API_KEY": KEY[:20]},
            "another's key": {"WANDB_API_KEY": KEY[::-1]},
            "no server": {"WANDB_BASE_URL": "http://127.0.0.1:9"},
            "a deaf server": {"WANDB_BASE_URL": f"http://127.0.0.1:{deaf.getsockname()[1]}"},
        }[trouble]
        for name, value in said.items():
            at_home.setenv(name, value)
        run = logger(tmp_path)
        for step in range(3):
            run.log_metrics({"train/loss": float(step)}, step)
        tracking.finish()
        (message,) = told(caplog)
        assert message.startswith("no wandb run can begin online, training goes on with one that is offline: ")
        assert not server.runs
        if trouble in ("no key", "no server"):
            sync(tmp_path, server)
            assert server.runs[run.version].series("train/loss") == {0: 0.0, 1: 1.0, 2: 2.0}


class Slope(LightningModule):
    """Loses a step's number, and at one step has a server go."""

    def __init__(self, server: LoopbackWandb, at: int) -> None:
        super().__init__()
        self.weight, self.server, self.at = nn.Parameter(torch.zeros(())), server, at

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        if self.global_step == self.at:
            self.server.__exit__()
        self.log("train/loss", float(self.global_step))
        return self.weight

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def test_a_server_that_goes_in_mid_run_costs_nothing(
    tmp_path: Path, server: LoopbackWandb, caplog: pytest.LogCaptureFixture
) -> None:
    run = logger(tmp_path)
    trainer = Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_steps=40,
        log_every_n_steps=1,
        logger=[History(str(tmp_path)), run],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Slope(server, at=10), DataLoader(torch.zeros(100, 1)))
    assert trainer.global_step == 40
    start = time.monotonic()
    tracking.finish()
    assert time.monotonic() - start < PATIENCE + 10
    with (tmp_path / "metrics.csv").open() as file:
        assert [float(row["train/loss"]) for row in csv.DictReader(file)] == list(range(40))
    assert len(told(caplog)) <= 1
    with LoopbackWandb() as later:
        sync(tmp_path, later, "--no-skip-online")
        assert later.runs[run.version].series("train/loss") == {step: float(step) for step in range(40)}


def test_a_folder_that_takes_no_files_leaves_no_wandb_run(
    tmp_path: Path, server: LoopbackWandb, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "wandb").write_text("a file, where wandb wants a folder")
    run = logger(tmp_path)
    run.log_metrics({"train/loss": 1.0}, 0)
    run.log_page("page", tmp_path / "wandb")
    run.finalize("success")
    online, offline = told(caplog)
    assert "begin online" in online
    assert "begin offline" in offline


def test_a_full_disk_is_told_once_and_metrics_go_on(
    tmp_path: Path, server: LoopbackWandb, caplog: pytest.LogCaptureFixture
) -> None:
    run = logger(tmp_path)
    run.log_metrics({"train/loss": 0.0}, 0)
    write_png(torch.zeros(3, 8, 8, dtype=torch.uint8), str(tmp_path / "sheet.png"))
    (tmp_path / "page.html").write_text("<b>report</b>")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # This process can write no file: what a full disk looks like, to it.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        run.log_image("samples/sheet", [str(tmp_path / "sheet.png")], step=1)
        run.log_page("evaluation/report", tmp_path / "page.html")
        run.log_metrics({"train/loss": 1.0}, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    tracking.finish()
    (message,) = told(caplog)
    assert "File too large" in message
    assert server.runs[run.version].series("train/loss") == {0: 0.0, 1: 1.0}


@pytest.mark.parametrize("later", [False, True])
def test_a_run_that_goes_on_is_one_run(later: bool, tmp_path: Path, server: LoopbackWandb) -> None:
    first = logger(tmp_path, offline=later)
    for step in range(3):
        first.log_metrics({"train/loss": float(step)}, step)
        first.log_metrics({"lr": 0.5}, step)
    tracking.finish()
    time.sleep(1.1)  # wandb names folders by the second
    second = logger(tmp_path, offline=later, id=first.version)
    for step in range(3, 6):
        second.log_metrics({"train/loss": float(step)}, step)
    tracking.finish()
    if later:
        sync(tmp_path, server)
    (run,) = server.runs.values()
    assert run.series("train/loss") == {step: float(step) for step in range(6)}
    places = [row["_step"] for row in run.history()]
    assert places == sorted(set(places))


@pytest.mark.parametrize(
    ("environment", "offline", "mode"),
    [
        ({}, True, "offline"),
        ({}, False, "online"),
        ({"WANDB_MODE": "online"}, True, "online"),
        ({"WANDB_MODE": "disabled"}, False, "disabled"),
        ({"WANDB_SWEEP_ID": "abc"}, True, "online"),
        ({"WANDB_SWEEP_ID": "abc", "WANDB_MODE": "offline"}, True, "offline"),
    ],
)
def test_the_environment_and_a_sweep_decide_the_mode(
    environment: dict[str, str], offline: bool, mode: str, tmp_path: Path, at_home: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        at_home.setenv(name, value)
    assert SafeWandbLogger(str(tmp_path), offline=offline).mode == mode
