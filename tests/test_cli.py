"""The commands as users type them: run folders, interpolation, mistakes in one line."""

import contextlib
import io
import os
import re
import subprocess
import sys
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest
import yaml
from jsonargparse import Namespace

from lipsync import LipsyncError, cli

ROOT = Path(__file__).resolve().parents[1]
BASE = ROOT / "experiments" / "base.yaml"


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An empty working folder, and an environment that forgets the run that a test names."""
    monkeypatch.setenv(cli.RUN, "")
    monkeypatch.delenv(cli.RUN)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def run(arguments: list[str], fresh: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> str:
    """Runs `lightning` in this process up to its mistake; returns what it printed on stderr."""
    fresh.setattr(sys, "argv", ["lightning", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.fit_main()
    assert stopped.value.code == 2
    return capsys.readouterr().err


def config(*arguments: str, folder: Path) -> dict:
    """The configuration that `lightning fit` would run with."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["lightning", "fit", "--config", str(BASE), *arguments, "--print_config"])
        with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as stopped:
            cli.fit_main()
    assert not stopped.value.code
    return yaml.safe_load(printed.getvalue())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model.lr=fast"], "lr.*float.*fast"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--ckpt_path", "nowhere.ckpt"], "nowhere.ckpt: no such checkpoint"),
        (["--model.prediction=noise"], "prediction.*noise.*eps, v, x_0"),
        (["--model=SyncExpert"], "Interpolation key .*model.init_args.size' not found.*data.init_args.size"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(arguments, told, tmp_path, fresh, capsys) -> None:
    error = run(["fit", "--config", str(BASE), *arguments], fresh, capsys)
    lines = [line for line in error.splitlines() if not line.startswith("Seed set")]
    assert len(lines) == 1
    assert re.search(told, lines[0])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("given", "wrong", "meant"),
    [
        ("--model.lrr=1", "lrr", "lr"),
        ("--model.init_args.sizee=3", "sizee", "size"),
        ("--trainer.max_stepss=3", "trainer.max_stepss", "trainer.max_steps"),
        ("--trainer.max_step=3", "trainer.max_step", "trainer.max_steps"),  # half a name is none
        ("--modle.lr=3", "modle.lr", "model"),
        ("--seed_evrything=3", "seed_evrything", "seed_everything"),
        ("--model=Dif2Lip", "Dif2Lip", "Diff2Lip"),
        ("--model.unet.chanels=3", "chanels", "channels"),
        ("--model.discriminator.chanels=3", "chanels", "channels"),
        ("--model.evaluation={protocol: [own]}", "protocol", "protocols"),
        ("--model.loss_weights.snc=3", "snc", "sync"),
        ("--model.schedule={snc: [0, 0]}", "snc", "sync"),
        ("model: {init_args: {lrr: 2}}", "lrr", "lr"),
        ("trainer: {max_stepss: 3}", "trainer.max_stepss", "trainer.max_steps"),
        ("modle: {init_args: {lr: 3}}", "modle.init_args.lr", "model"),
        ("data: {class_path: LRS3, init_args: {root: x}}", "LRS3", "LRS2"),
        (
            "{model: {class_path: SyncExpert, init_args: {syncnet: {widht: 3}}}, data: {init_args: {size: 64}}}",
            "widht",
            "width",
        ),
        ("trainer: {callbacks: [{class_path: lipsync.callbacks.EMAA}]}", "EMAA", "EMA"),
        ("trainer: {callbacks: [{class_path: lipsync.callbacks.EMA, init_args: {decai: 3}}]}", "decai", "decay"),
    ],
)
def test_a_wrong_name_is_one_line_with_the_nearest(given, wrong, meant, tmp_path, fresh, capsys) -> None:
    (tmp_path / "wrong.yaml").write_text(given)
    error = run(
        ["fit", "--config", str(BASE), given if given.startswith("--") else "--config=wrong.yaml"], fresh, capsys
    )
    (line,) = (line for line in error.splitlines() if not line.startswith("Seed set"))
    assert wrong in line
    assert line.endswith(f"; did you mean {meant}?")
    assert not (tmp_path / "runs").exists()


def test_testing_asks_for_a_checkpoint(fresh: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert "test needs --ckpt_path" in run(["test", "--config", str(BASE)], fresh, capsys)


def says(merged: object, own: object) -> bool:
    """Whether a merged config holds what one file of it says: dicts merge, all else is replaced or looked up."""
    if isinstance(own, dict):
        return all(says(merged[key], value) for key, value in own.items())
    return merged == own or str(own).startswith("${")


PUBLISHED = ("hires.yaml", "lrs2.yaml", "lrw.yaml", "voxceleb2.yaml")
EXPERIMENTS = sorted(
    path.relative_to(ROOT / "experiments").as_posix()
    for path in ROOT.glob("experiments/**/*.yaml")
    if path.parent.name != "sweeps"  # which wandb reads
)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_parses_over_base(name: str, tmp_path: Path) -> None:
    over = ["official.yaml"] if name in PUBLISHED else []  # as their first lines say
    extra = [f"--config={ROOT / 'experiments' / each}" for each in [*over, name] if each != "base.yaml"]
    merged = config(*extra, folder=tmp_path)
    own = yaml.safe_load((ROOT / "experiments" / name).read_text())
    # It judges another run's checkpoint, whose name it keeps.
    assert merged["name"] == own.get("name", "base")
    assert merged["name"] == ("base" if name == "evaluate.yaml" else Path(name).stem)
    if "max_steps" in own.get("trainer", {}):
        assert merged["trainer"]["max_steps"] == own["trainer"]["max_steps"]
    for part in own.keys() & {"model", "data"}:
        assert says(merged[part]["init_args"], own[part]["init_args"])
    if not over and "class_path" not in own.get("model", {}):
        # What it does not speak of stays as base.yaml has it, in dicts, too.
        base = yaml.safe_load(BASE.read_text())["model"]["init_args"]
        for argument in ("loss_weights", "schedule", "unet", "discriminator"):
            wanted = base[argument] | own.get("model", {}).get("init_args", {}).get(argument, {})
            assert {key: merged["model"]["init_args"][argument][key] for key in wanted} == wanted
    resolved = cli.OmegaConf.to_container(cli.OmegaConf.create(merged), resolve=True)
    large = name == "official.yaml" or name in PUBLISHED
    assert resolved["data"]["init_args"]["size"] == (256 if name == "hires.yaml" else 128 if large else 64)
    assert resolved["data"]["init_args"]["batch_size"] == (8 if large else 128 if name == "syncnet.yaml" else 14)


def test_dicts_merge_and_another_class_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("model: {init_args: {loss_weights: {gan: 0.5}, lr: 0.1}}")
    (tmp_path / "two.yaml").write_text("model: {init_args: {loss_weights: {mesh: 0.5}, sampling_steps: [3]}}")
    told = config("--config=one.yaml", "--config=two.yaml", "--model.loss_weights.sync=0.25", folder=tmp_path)
    model = told["model"]["init_args"]
    own = {"simple": 1.0, "vb": 0.001, "l2": 0.0, "sync": 0.25, "lpips": 0.0, "mesh": 0.5, "gan": 0.5}
    assert model["loss_weights"] == own
    assert (model["lr"], model["sampling_steps"]) == (0.1, [3])
    (tmp_path / "two.yaml").write_text("data: {class_path: Folder, init_args: {root: x, filters: {yaw: [null, 9.0]}}}")
    (tmp_path / "three.yaml").write_text("data: {class_path: LRW, init_args: {root: x, filters: {pitch: [null, 9.0]}}}")
    told = config("--config=two.yaml", "--config=three.yaml", folder=tmp_path)
    assert told["data"]["init_args"]["filters"] == {"pitch": [None, 9.0]}


def test_interpolation_follows_overrides(tmp_path: Path) -> None:
    merged = config("--model.size=32", "--name=other", "--seed_everything=7", folder=tmp_path)
    resolved = cli.OmegaConf.to_container(cli.OmegaConf.create(merged), resolve=True)
    assert resolved["data"]["init_args"]["size"] == 32
    assert resolved["data"]["init_args"]["seed"] == resolved["model"]["init_args"]["seed"] == 7
    assert resolved["trainer"]["default_root_dir"] == "runs/other"
    assert resolved["trainer"]["logger"][0]["init_args"]["save_dir"] == "runs/other"


@pytest.mark.parametrize(("accelerator", "gpu", "bf16", "chosen"), [
    ("auto", True, True, "bf16-mixed"), ("auto", True, False, "32-true"),
    ("auto", False, True, "32-true"), ("cpu", True, True, "32-true"),
])  # fmt: skip
def test_precision_suits_the_machine(accelerator, gpu, bf16, chosen, monkeypatch) -> None:
    monkeypatch.setattr(cli.torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(cli.torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    assert cli.precision(accelerator) == chosen


def test_a_workers_error_is_told_without_its_traceback(capsys: pytest.CaptureFixture) -> None:
    def command() -> None:
        raise LipsyncError("Caught in worker 0.\nTraceback ...\nlipsync.errors.LipsyncError: clip a: unreadable")

    with pytest.raises(SystemExit):
        cli.report(command)
    assert capsys.readouterr().err == "lipsync: clip a: unreadable\n"


def test_our_own_bugs_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        cli.report(lambda: 1 / 0)


def test_both_commands_are_ours() -> None:
    ours = {e.name: e.value for e in distribution("lipsync").entry_points if e.group == "console_scripts"}
    assert ours == {"lightning": "lipsync.cli:fit_main", "lipsync": "lipsync.cli:main"}
    # lightning before 2.6 and lightning-sdk install a script of that name: the last one installed would win.
    others = entry_points(group="console_scripts", name="lightning")
    assert {e.value for e in others} == {"lipsync.cli:fit_main"}


def test_python_m_lipsync_is_the_command() -> None:
    command = [sys.executable, "-m", "lipsync", "dub", "no.mp4", "no.wav", "out.mp4", "--checkpoint", "no.ckpt"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"}, check=False)
    assert done.returncode == 2
    assert done.stderr == "lipsync: no.mp4: no such file\n"


def test_a_resumed_run_has_its_id_at_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    wandb = Namespace(class_path="lightning.pytorch.loggers.WandbLogger", init_args=Namespace(id=None))
    loggers = [Namespace(class_path="lipsync.history.History", init_args=Namespace(save_dir="x")), wandb]
    cli.continue_wandb(loggers, tmp_path)
    assert wandb.init_args.id is None  # there was none
    for age, name in enumerate(("offline-run-20261125_190223-vnsu3hgt", "run-20261124_080357-of-monday")):
        (tmp_path / "wandb" / name).mkdir(parents=True)
        os.utime(tmp_path / "wandb" / name, (0, 1000 - age))
    cli.continue_wandb(loggers, tmp_path)
    assert wandb.init_args.id == "vnsu3hgt"
    os.utime(tmp_path / "wandb" / "run-20261124_080357-of-monday", (0, 2000))
    cli.continue_wandb(wandb, tmp_path)
    assert wandb.init_args.id == "of-monday"
    monkeypatch.setenv("WANDB_RUN_ID", "of-a-sweep")
    wandb.init_args.id = None
    cli.continue_wandb(wandb, tmp_path)
    assert wandb.init_args.id is None
