"""`lipsync runs`: best figures of runs laid out by hand; where a real run's come from, and that they come again."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from test_experiments import lightning, small

from lipsync import cli
from lipsync.corpora.puppet.write import write_corpus
from lipsync.errors import LipsyncError
from lipsync.runs import histories, read_run, runs

CUT = "step,val/sync,val/loss,train/loss\n9,0.2,0.5,\n19,0.9,0.4,7.0\n"
LAST = "step,val/sync,train/loss\n19,0.3,nan\n29,0.25,5.0\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two runs, the second interrupted and resumed."""
    for name, steps in (("one", 20), ("two", 40)):
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(f"trainer: {{max_steps: {steps}}}\n")
        (run / "metrics.csv").write_text(LAST if name == "two" else CUT)
    (run / "metrics-1.csv").write_text(CUT)
    (run / "metrics.json").write_text(json.dumps({"step": 30, "psnr_painted": 27.25, "val/loss": 0.4}))
    (tmp_path / "runs" / "one" / "metrics.json").write_text(json.dumps({"step": 20}))
    return tmp_path / "runs"


def test_the_best_of_a_history_counts_as_it_was_done_last(folder: Path) -> None:
    assert histories(folder / "two")["val/sync"] == {9: 0.2, 19: 0.3, 29: 0.25}
    two = read_run(folder / "two")
    assert two.figures["val/sync"][:2] == (0.3, 20)
    assert two.figures["val/loss"][:2] == (0.4, 20)  # the lowest
    assert two.figures["psnr_painted"] == (27.25, None, folder / "two" / "metrics.json")
    assert (two.steps, two.wanted, two.finished) == (30, 40, False)
    assert read_run(folder / "one").figures["val/sync"][:2] == (0.9, 20)
    assert read_run(folder / "one").finished


def test_a_torn_row_costs_no_other(folder: Path) -> None:
    """What a power cut leaves: half a row, half a number, bytes that are none."""
    path = folder / "two" / "metrics.csv"
    path.write_bytes(LAST.encode() + b"39,0.2\n4x,1,1\n49,0.1,5.e\n\0\0\xff,\n59,0.6,4.0")
    assert histories(folder / "two")["val/sync"] == {9: 0.2, 19: 0.3, 29: 0.25, 39: 0.2, 59: 0.6}
    assert histories(folder / "two")["train/loss"] == {19: 7.0, 29: 5.0, 59: 4.0}


def test_runs_are_listed(folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["lipsync", "runs", str(folder)])
    cli.main()
    heads, *lines = capsys.readouterr().out.splitlines()
    assert heads.split() == ["run", "started", "steps", "state", "val/sync", "val/loss", "psnr_painted"]
    cells = {line.split()[0]: re.split(r"\s{2,}", line.strip())[2:] for line in lines}
    assert cells["one"] == ["20", "finished", "0.900", "0.400"]
    assert cells["two"] == ["30", "unfinished", "0.300", "0.400", "27.2"]


def test_mistakes_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LipsyncError, match="holds no runs"):
        runs(str(tmp_path))
    with pytest.raises(LipsyncError, match="has no run three; it has one, two"):
        runs(str(folder), show="three")


def test_a_runs_figures_come_again_by_the_command_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    corpus = tmp_path / "synthetic"
    write_corpus(corpus, speakers=4, clips=2, seconds=1.6, size=64, seed=0)
    given = small("base", corpus, tmp_path)
    lightning("fit", tmp_path, *given)
    lightning("fit", tmp_path, *given, "--trainer.max_steps=2", "--ckpt_path=last")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    runs(show="base")
    told = capsys.readouterr().out
    assert "runs/base: 2 of 2 steps, finished" in told
    assert len(re.findall(r"^  lightning fit --config=.*--data.root=", told, re.MULTILINE)) == 2
    assert "manifest" in told
    (again,) = re.findall(r"is made again by\n  (.*)", told)
    words = shlex.split(again)
    assert words[:2] == ["lightning", "fit"]
    lightning("fit", tmp_path, *words[2:])
    first, second = (histories(tmp_path / "runs" / name)["train/loss"] for name in ("base", "base-2"))
    assert sorted(first) == [0, 1]
    assert first == second
