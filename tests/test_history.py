"""metrics.csv: whole through a full disk, and every row is in it in the end."""

import csv
import logging
from pathlib import Path

import pytest
from full_disk import full_disk

from lipsync.history import History


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("room", [0, 50])  # for nothing, or for a part of a row
@pytest.mark.parametrize("later", ["loss", "val/loss"])  # the same columns, or another one
def test_a_full_disk_loses_no_row(room: int, later: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "metrics.csv"
    history = History(str(tmp_path))
    for step in range(3):
        history.log_metrics({"loss": 1 / (step + 1)}, step)
        history.save()
    before = path.read_bytes()
    assert len(before) == 47
    with full_disk(room):
        for step in range(3, 6):
            history.log_metrics({later: 1 / (step + 1)}, step)
            history.save()
    assert path.read_bytes() == before
    history.log_metrics({"loss": 1 / 7}, 6)
    history.finalize("success")

    found = rows(path)
    assert [int(row["step"]) for row in found] == list(range(7))
    names = ["loss"] * 3 + [later] * 3 + ["loss"]
    assert [float(row[name]) for row, name in zip(found, names, strict=True)] == [1 / (n + 1) for n in range(7)]
    assert sum(bool(row["loss"]) for row in found) == (7 if later == "loss" else 4)
    told = [record for record in caplog.records if record.name == "lipsync.files"]
    assert [(record.levelno, str(path) in record.getMessage()) for record in told] == [(logging.WARNING, True)]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.csv"]


def test_the_rows_of_an_interrupted_run_stay(tmp_path: Path) -> None:
    for start in (0, 2, 4):
        history = History(str(tmp_path))
        history.log_metrics({"loss": 1.0}, start)
        history.finalize("success")
    found = {path.name: int(rows(path)[0]["step"]) for path in tmp_path.iterdir()}
    assert found == {"metrics-1.csv": 0, "metrics-2.csv": 2, "metrics.csv": 4}
