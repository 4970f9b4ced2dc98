"""The promises of experiments/base.yaml and syncnet.yaml, kept from empty folders: twenty minutes each on two cores."""

import json
import sys
from pathlib import Path

import pytest

from lipsync import cli

BASE = Path(__file__).resolve().parents[1] / "experiments" / "base.yaml"


@pytest.mark.slow
def test_base_learns_to_speak_and_to_paint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cli.RUN, "")
    monkeypatch.delenv(cli.RUN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning", "fit", "--config", str(BASE)])
    cli.fit_main()
    metrics = json.loads((tmp_path / "runs" / "base" / "metrics.json").read_text())
    assert metrics["opening_correlation"] >= 0.85
    assert metrics["opening_correlation_worst"] >= 0.6
    assert metrics["opening_correlation_pooled"] >= 0.8
    assert abs(metrics["opening_correlation_shuffled"]) <= 0.15
    assert metrics["psnr_painted"] - metrics["psnr_copy_reference"] >= 2
    assert metrics["psnr_gain_worst"] >= 0
    assert 0.4 <= metrics["grain_ratio"] <= 1.3


@pytest.mark.slow
def test_the_expert_hears_what_it_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cli.RUN, "")
    monkeypatch.delenv(cli.RUN)
    monkeypatch.chdir(tmp_path)
    command = ["lightning", "fit", "--config", str(BASE), "--config", str(BASE.with_name("syncnet.yaml"))]
    monkeypatch.setattr(sys, "argv", command)
    cli.fit_main()
    metrics = json.loads((tmp_path / "runs" / "syncnet" / "metrics.json").read_text())
    assert metrics["accuracy"] >= 0.95
    assert metrics["accuracy_all"] >= 0.9
    assert metrics["offset_recall"] >= 0.98
    assert metrics["offset"] == 0
