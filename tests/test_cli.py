"""The commands as users type them: run folders, interpolation, mistakes in one line."""

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
    command = [sys.executable, "-c", "from lipsync.cli import fit_main; fit_main()", "fit", "--config", str(BASE)]
    command += [*arguments, "--print_config"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return yaml.safe_load(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model.init_args.sizee=3"], "sizee"),
        (["--model.lr=fast"], "lr.*float.*fast"),
        (["--trainer.max_stepss=3"], "max_stepss"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--ckpt_path", "nowhere.ckpt"], "nowhere.ckpt: no such checkpoint"),
        (["--model.prediction=noise"], "prediction.*noise.*eps, v, x_0"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(arguments, told, tmp_path, fresh, capsys) -> None:
    error = run(["fit", "--config", str(BASE), *arguments], fresh, capsys)
    lines = [line for line in error.splitlines() if not line.startswith("Seed set")]
    assert len(lines) == 1
    assert re.search(told, lines[0])
    assert not (tmp_path / "runs").exists()


def test_testing_asks_for_a_checkpoint(fresh: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert "test needs --ckpt_path" in run(["test", "--config", str(BASE)], fresh, capsys)


PUBLISHED = ("lrs2.yaml", "lrw.yaml", "voxceleb2.yaml")
EXPERIMENTS = sorted(path.relative_to(ROOT / "experiments").as_posix() for path in ROOT.glob("experiments/**/*.yaml"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_parses_over_base(name: str, tmp_path: Path) -> None:
    over = ["official.yaml"] if name in PUBLISHED else []  # as their first lines say
    extra = [f"--config={ROOT / 'experiments' / each}" for each in [*over, name] if each != "base.yaml"]
    merged = config(*extra, folder=tmp_path)
    own = yaml.safe_load((ROOT / "experiments" / name).read_text())
    assert merged["name"] == own["name"]
    assert merged["name"] == Path(name).stem
    if "trainer" in own:
        assert merged["trainer"]["max_steps"] == own["trainer"]["max_steps"]
    changed = set(own.get("model", {}).get("init_args", {})) | set(own.get("data", {}).get("init_args", {}))
    assert changed <= set(merged["model"]["init_args"]) | set(merged["data"]["init_args"])
    resolved = cli.OmegaConf.to_container(cli.OmegaConf.create(merged), resolve=True)
    large = name == "official.yaml" or name in PUBLISHED
    assert resolved["data"]["init_args"]["size"] == (128 if large else 64)
    assert resolved["data"]["init_args"]["batch_size"] == (8 if large else 128 if name == "syncnet.yaml" else 14)


def test_interpolation_follows_overrides(tmp_path: Path) -> None:
    merged = config("--model.size=32", "--name=other", "--seed_everything=7", folder=tmp_path)
    resolved = cli.OmegaConf.to_container(cli.OmegaConf.create(merged), resolve=True)
    assert resolved["data"]["init_args"]["size"] == 32
    assert resolved["data"]["init_args"]["seed"] == resolved["model"]["init_args"]["seed"] == 7
    assert resolved["trainer"]["default_root_dir"] == "runs/other"
    assert resolved["trainer"]["logger"][0]["init_args"]["save_dir"] == "runs/other"


def test_a_taken_name_gets_a_number_and_resuming_stays(tmp_path: Path, fresh: pytest.MonkeyPatch) -> None:
    def choose(checkpoint: Path | None, subcommand: str = "fit") -> Path:
        fresh.delenv(cli.RUN, raising=False)
        return cli.run_folder(tmp_path / "base", checkpoint and str(checkpoint), subcommand)

    assert choose(None) == tmp_path / "base"
    for age, name in enumerate(("base-other", "base-2", "base")):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "checkpoints" / "last.ckpt").touch()
        os.utime(tmp_path / name / "checkpoints" / "last.ckpt", (0, 1000 - age))
    assert choose(None) == tmp_path / "base-3"

    newest = cli.newest(tmp_path / "base")
    assert newest == tmp_path / "base-2" / "checkpoints" / "last.ckpt"
    assert choose(newest) == tmp_path / "base-2"
    assert choose(newest, "test") == tmp_path / "base-2" / "test"
    (tmp_path / "base-2" / "test").mkdir()
    assert choose(newest, "test") == tmp_path / "base-2" / "test-2"
    # The other processes of a run are told by the first.
    assert cli.run_folder(tmp_path / "base", None, "fit") == tmp_path / "base-2" / "test-2"


def test_the_last_checkpoint_of_no_run_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(LipsyncError, match=r"no run in .*base has a checkpoint"):
        cli.newest(tmp_path / "base")


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


def test_relocate_reaches_loggers_and_callbacks() -> None:
    node = Namespace(
        trainer=Namespace(
            default_root_dir="runs/a",
            callbacks=[Namespace(init_args=Namespace(dirpath="runs/a/checkpoints", other="runs/ab"))],
        )
    )
    cli.relocate(node, "runs/a", "runs/a-2")
    assert node.trainer.default_root_dir == "runs/a-2"
    assert node.trainer.callbacks[0].init_args.dirpath == "runs/a-2/checkpoints"
    assert node.trainer.callbacks[0].init_args.other == "runs/ab"


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
