"""Run folders: numbered when taken, found again by `last`, gone on with where an evaluation was cut."""

import os
from pathlib import Path

import pytest
from jsonargparse import Namespace

from lipsync import LipsyncError, run_folder


def test_a_taken_name_gets_a_number_and_resuming_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(run_folder.RUN, "")

    def choose(checkpoint: Path | None, *how: str | bool) -> Path:
        monkeypatch.delenv(run_folder.RUN, raising=False)
        return run_folder.run_folder(tmp_path / "base", checkpoint and str(checkpoint), *(how or ("fit",)))

    assert choose(None) == tmp_path / "base"
    for age, name in enumerate(("base-other", "base-2", "base")):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "checkpoints" / "last.ckpt").touch()
        os.utime(tmp_path / name / "checkpoints" / "last.ckpt", (0, 1000 - age))
    assert choose(None) == tmp_path / "base-3"

    newest = run_folder.newest(tmp_path / "base")
    assert newest == tmp_path / "base-2" / "checkpoints" / "last.ckpt"
    assert choose(newest) == tmp_path / "base-2"
    assert choose(newest, "test") == tmp_path / "base-2" / "test"
    (tmp_path / "base-2" / "test").mkdir()
    assert choose(newest, "test") == tmp_path / "base-2" / "test-2"
    # Only an evaluation goes on, and only one that has no table yet.
    assert choose(newest, "test", True) == tmp_path / "base-2" / "test-2"
    (tmp_path / "base-2" / "test" / "evaluation.json").touch()
    assert choose(newest, "test", True) == tmp_path / "base-2" / "test"
    assert choose(newest, "test", False) == tmp_path / "base-2" / "test-2"
    (tmp_path / "base-2" / "test" / "results.json").touch()
    assert choose(newest, "test", True) == tmp_path / "base-2" / "test-2"
    # The other processes of a run are told by the first.
    assert run_folder.run_folder(tmp_path / "base", None, "fit") == tmp_path / "base-2" / "test-2"


def test_the_last_checkpoint_of_no_run_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(LipsyncError, match=r"no run in .*base has a checkpoint"):
        run_folder.newest(tmp_path / "base")


def test_relocate_reaches_loggers_and_callbacks() -> None:
    node = Namespace(
        trainer=Namespace(
            default_root_dir="runs/a",
            callbacks=[Namespace(init_args=Namespace(dirpath="runs/a/checkpoints", other="runs/ab"))],
        )
    )
    run_folder.relocate(node, "runs/a", "runs/a-2")
    assert node.trainer.default_root_dir == "runs/a-2"
    assert node.trainer.callbacks[0].init_args.dirpath == "runs/a-2/checkpoints"
    assert node.trainer.callbacks[0].init_args.other == "runs/ab"
