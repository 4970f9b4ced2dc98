"""Shipped sweeps, worked through by the real `wandb` command and agents, with a server on the loopback interface."""

import io
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import pytest
import wandb
import yaml
from loopback_wandb import ENTITY, PROJECT, LoopbackWandb, Run
from runs import COMMAND, ROOT, written

from lipsync import cli

SWEEPS = ROOT / "experiments" / "sweeps"
STEPS = 4
# What makes a trial one of seconds.
TINY = [argument for argument in COMMAND[2:] if argument.startswith("--") and argument != "--config"]
TINY += [f"--trainer.max_steps={STEPS}", "--trainer.val_check_interval=2", "--data.batch_size=2", "--data.workers=0"]


def sweep(name: str) -> dict:
    return yaml.safe_load((SWEEPS / f"{name}.yaml").read_text())


def ends(config: dict, which: int) -> dict:
    """A trial: every parameter of a sweep at the first (0) or the last (-1) of its values."""
    spans = {name: span.get("values") or [span["min"], span["max"]] for name, span in config["parameters"].items()}
    return {name: values[which] for name, values in spans.items()}


def whole_command(config: dict) -> list[str]:
    """A sweep's command, as it is understood in any folder, before the trial's own arguments."""
    *command, last = (part.replace("experiments/", f"{ROOT}/experiments/") for part in config["command"])
    assert (command[:2], last) == (["${env}", "lightning"], "${args}")
    return [command[0], str(Path(sys.executable).with_name("lightning")), *command[2:]]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("corpus"))


def start(folder: Path, server: LoopbackWandb, *arguments: str) -> subprocess.Popen:
    """Starts `wandb` in a folder; it knows of the server and of no other."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    own |= server.environment() | {"HOME": str(folder), "OMP_NUM_THREADS": "1"}
    command = [str(Path(sys.executable).with_name("wandb")), *arguments]
    with (folder / "log.txt").open("a") as log:
        return subprocess.Popen(command, cwd=folder, env=own, stdout=log, stderr=log, start_new_session=True)


def register(folder: Path, server: LoopbackWandb, corpus: Path) -> None:
    """Runs `wandb sweep` with loss_weights.yaml, its trials made tiny."""
    config = sweep("loss_weights")
    config["command"] = [*whole_command(config), *TINY, f"--data.root={corpus}", "${args}"]
    (folder / "sweep.yaml").write_text(yaml.safe_dump(config))
    assert start(folder, server, "sweep", "sweep.yaml").wait(60) == 0, (folder / "log.txt").read_text()
    assert server.sweeps == [config]


def agent(folder: Path, server: LoopbackWandb) -> subprocess.Popen:
    return start(folder, server, "agent", f"{ENTITY}/{PROJECT}/sweep1")


def check_arrived(run: Run, trial: dict) -> None:
    """Asserts that all of a trial that went well is at the server."""
    assert (run.sweep, run.exitcode) == ("sweep1", 0)
    config = {name: said["value"] for name, said in run.config.items()}
    model = config["model"]["init_args"]
    for name, value in trial.items():
        found = model
        for key in name.split(".")[1:]:
            found = found[key]
        assert config[name] == found == value
        assert isinstance(config[name], bool) == isinstance(found, bool) == isinstance(value, bool)
    assert config["trainer"]["max_steps"] == STEPS
    assert config["data"]["init_args"]["size"] == 32  # an interpolation
    for name in ("train/loss", "train/simple", "lr-AdamW/unet", "gradient/simple"):
        series = run.series(name)
        assert len(series) == STEPS, name
        assert all(math.isfinite(value) for value in series.values()), name
    synced = run.series("val/sync")
    assert len(synced) == STEPS // 2
    assert all(-1 <= value <= 1 for value in synced.values())
    assert run.summary()["val/sync"] == list(synced.values())[-1]
    assert set(run.series("val/sync_loss")) == set(synced)

    pictures = [body for name, body in run.files.items() if name.startswith("media/images/samples/sheet_")]
    assert len(pictures) == STEPS // 2
    assert all(body.startswith(b"\x89PNG") for body in pictures)
    films = [body for name, body in run.files.items() if name.startswith("media/videos/samples/dubbed_")]
    assert len(films) == STEPS // 2
    with av.open(io.BytesIO(films[0])) as film:
        assert film.streams.video[0].frames > 1
        assert film.streams.audio[0].sample_rate == 16000


def test_an_agent_works_through_a_sweep_of_which_a_trial_fails(tmp_path: Path, corpus: Path) -> None:
    least, most = (ends(sweep("loss_weights"), which) for which in (0, -1))
    assert {type(value) for value in least.values()} == {float, bool}
    mixed = most | {"model.lr": least["model.lr"], "model.sync_against_real": False}
    with LoopbackWandb() as server:
        register(tmp_path, server, corpus)
        server.trials = [least, most | {"model.expert_bar": 1.1}, most, mixed]  # more than any expert reaches
        worker = agent(tmp_path, server)
        assert worker.wait(500) == 0, (tmp_path / "log.txt").read_text()[-3000:]
    ((_, names),) = server.agents.items()
    runs = [server.runs[name] for name in names]
    for run, trial in zip((runs[0], *runs[2:]), (least, most, mixed), strict=True):
        check_arrived(run, trial)
    assert (runs[1].exitcode, runs[1].sweep) == (2, "sweep1")
    assert runs[1].config["model.expert_bar"]["value"] == 1.1
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted(f"loss_weights-{n}" for n in names)


def wait_for(what: Callable[[], bool], patience: float = 120) -> None:
    end = time.monotonic() + patience
    while not what():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.slow
def test_two_agents_at_once_one_trial_stopped_early_and_one_agent_killed(tmp_path: Path, corpus: Path) -> None:
    tried = ends(sweep("loss_weights"), 0)
    with LoopbackWandb() as server:
        register(tmp_path, server, corpus)
        long = {"trainer.max_steps": 50, "trainer.val_check_interval": 1000}
        server.trials = [tried | {"trainer.max_steps": 100_000}, tried | long, tried, tried]
        workers = [agent(tmp_path, server) for _ in range(2)]
        wait_for(lambda: len(server.runs) == 2)
        (first,), (second,) = server.agents.values()
        wait_for((tmp_path / "runs" / f"loss_weights-{first}" / "checkpoints" / "best.ckpt").is_file)
        # Hyperband's verdict, which the agent hears at its next heartbeat.
        server.stopped.add(first)
        # Agents are in a process group of their own, and so is each trial.
        lone = next(w for w in workers if not children(w.pid, first))
        lone.kill()
        lone.wait()
        (other,) = (worker for worker in workers if worker is not lone)
        assert other.wait(500) == 0, (tmp_path / "log.txt").read_text()[-3000:]
        wait_for(lambda: server.runs[second].exitcode is not None)
    assert server.runs[second].exitcode == 0
    assert max(server.runs[second].series("train/loss")) == 49
    assert server.runs[first].exitcode is not None
    for name in server.runs:
        assert (tmp_path / "runs" / f"loss_weights-{name}" / "checkpoints" / "last.ckpt").is_file()
    assert len(server.runs) == 4
    for name in server.runs.keys() - {first, second}:
        check_arrived(server.runs[name], tried)


def children(pid: int, run: str) -> bool:
    """Whether a process has a child that works on a run."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return any(f"WANDB_RUN_ID={run}\0" in Path(f"/proc/{child}/environ").read_text() for child in found)


@pytest.mark.parametrize("which", [0, -1])
@pytest.mark.parametrize("name", [path.stem for path in SWEEPS.glob("*.yaml")])
def test_all_of_a_sweep_is_understood(
    name: str, which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    config = sweep(name)
    trial = ends(config, which)
    _, program, *arguments = whole_command(config)
    # As the agent writes them.
    said = [program, *arguments, *(f"--{key}={value}" for key, value in trial.items()), "--print_config"]
    monkeypatch.setattr(sys, "argv", said)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.fit_main()
    assert not ended.value.code
    model = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]
    for key, value in trial.items():
        found = model
        for part in key.split(".")[1:]:
            found = found[part]
        assert (found, type(found)) == (value, type(value))
    if "early_terminate" in config:
        (interval,) = (int(part.split("=")[1]) for part in arguments if "val_check_interval" in part)
        steps = yaml.safe_load((ROOT / "experiments" / "base.yaml").read_text())["trainer"]["max_steps"]
        assert steps // interval > config["early_terminate"]["min_iter"] * config["early_terminate"]["eta"]


def test_a_trial_of_guidance_and_steps_is_an_evaluation_of_its_own(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lightning(*arguments: str) -> None:
        monkeypatch.setenv(cli.RUN, "")
        monkeypatch.delenv(cli.RUN)
        monkeypatch.setattr(sys, "argv", ["lightning", *arguments, *TINY, f"--data.root={corpus}", *last])
        cli.fit_main()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    last = ("--trainer.max_steps=1", "--model.expert=null")
    lightning("fit", f"--config={ROOT}/experiments/base.yaml")
    monkeypatch.delenv("WANDB_MODE")
    last = ("--model.evaluation.guidance=2.0", "--model.evaluation.steps=1")
    with LoopbackWandb() as server:
        environment = server.environment() | {"WANDB_SWEEP_ID": "sweep1", "WANDB_RUN_ID": "trial"}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        wandb.teardown()  # or its client would go on with another environment
        lightning(*whole_command(sweep("sampling"))[2:])
        wandb.teardown()
    run = server.runs["trial"]
    assert (run.sweep, run.exitcode) == ("sweep1", 0)
    assert run.config["model"]["value"]["init_args"]["evaluation"]["guidance"] == 2.0
    results = json.loads((tmp_path / "runs" / "base" / "test-trial" / "results.json").read_text())
    (told,) = run.series(sweep("sampling")["metric"]["name"]).values()
    assert told == pytest.approx(results["summary"]["cross"]["opening_r"]["mean"])
    assert any(name.startswith("media/table/evaluation/table") for name in run.files)
    assert any(b"<html" in body for name, body in run.files.items() if name.startswith("media/html/evaluation/report"))
