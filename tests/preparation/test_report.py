import io
import json

from rich.console import Console

from lipsync.preparation.report import ROWS_SHOWN, Report, Row


def report(folder) -> Report:
    rows = [
        Row("a [b].mp4", 2, 75.0, "1 shorter than 1 s"),
        Row("c.mp4", 1, 15.0),
        Row("notes.txt", note="not a video"),
    ]
    return Report(str(folder), rows, {"train": 2, "val": 1})


def printed(a_report: Report, width: int = 100) -> list[str]:
    text = io.StringIO()
    a_report.print(Console(width=width, file=text))
    return text.getvalue().splitlines()


def test_totals(tmp_path):
    assert report(tmp_path).kept == 3
    assert report(tmp_path).summary() == "3 tracks (1.5 minutes) kept from 2 of 3 files; clips: train 2, val 1"
    assert Report("x").summary() == "0 tracks (0.0 minutes) kept from 0 of 0 files"


def test_the_files_hold_every_row(tmp_path):
    report(tmp_path).write()
    lines = (tmp_path / "report.txt").read_text().splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["a", "[b].mp4", "2", "75.0", "1", "shorter", "than", "1", "s"],
        ["c.mp4", "1", "15.0"],
        ["notes.txt", "-", "-", "not", "a", "video"],
    ]
    assert lines[-1] == report(tmp_path).summary()
    rows = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert rows[0] == {"source": "a [b].mp4", "kept": 2, "seconds": 75.0, "note": "1 shorter than 1 s"}
    assert len(rows) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.jsonl", "report.txt"]


def test_few_files_are_printed_one_by_one_and_many_counted(tmp_path):
    lines = printed(report(tmp_path))
    assert [line.split()[0] for line in lines[1:4]] == ["a", "c.mp4", "notes.txt"]
    many = Report("x", [Row(f"{k}.mp4", 1, 2.0) for k in range(ROWS_SHOWN)] + [Row("bad.mp4", note="no sound")])
    assert [line.split() for line in printed(many)[:2]] == [
        [str(ROWS_SHOWN), "everything", "kept"],
        ["1", "no", "sound"],
    ]
    assert printed(many)[-1] == many.summary()
