import csv
import math
import os
import re
import sys

import numpy as np
import pytest
import torch

from lipsync import cli
from lipsync.errors import LipsyncError
from lipsync.evaluation.compare import compare, labels, remarks, results_folder, sign_flip
from lipsync.evaluation.table import Results, summarise, write_tables

CLIPS = [f"clip_{k:02d}" for k in range(30)]


def write(folder, better=0.0, clips=CLIPS, rows=("truth", "cross"), failed=None, **about):
    """A run whose cross row has a lower LSE-D, by `better` and noise, and PSNRs that differ by chance alone."""
    common, own = np.random.default_rng(0), np.random.default_rng(len(clips) + int(100 * better) + 7)
    hard = {clip: common.normal(7.0, 2.0) for clip in CLIPS}  # clips differ far more than runs
    scores = {
        row: {
            clip: {"lse_d": hard[clip] - better * (row == "cross") + own.normal(0, 0.2), "psnr": 30 + own.normal()}
            for clip in clips
        }
        for row in rows
    }
    draw = torch.Generator().manual_seed(0)
    features = {row: {clip: torch.randn(4, 3, generator=draw) for clip in clips} for row in rows}
    results = Results({"frechet": "fd_mesh", "steps": 8} | about, scores, features, failed or {})
    write_tables(folder, results, summarise(results))
    return results


def found(comparison, row, metric):
    (one,) = (each for each in comparison.rows if (each.row, each.metric) == (row, metric))
    return one


def test_a_known_difference_is_found_among_clips_that_differ_more(tmp_path, capsys):
    first, second = write(tmp_path / "a"), write(tmp_path / "b", better=0.5)
    one = found(compare([str(tmp_path / "a"), str(tmp_path / "b")]), "cross", "lse_d")
    values = [[r.scores["cross"][clip]["lse_d"] for clip in CLIPS] for r in (first, second)]
    assert one.clips == 30
    assert one.means == pytest.approx(np.mean(values, axis=1), abs=1e-12)
    (difference,) = one.differences
    assert difference.mean == pytest.approx(one.means[1] - one.means[0], abs=1e-12)
    assert difference.low < -0.5 < difference.high < -0.3
    assert difference.p < 0.001
    assert "-0.5" in capsys.readouterr().out


def test_without_a_difference_small_p_are_as_rare_as_they_should_be():
    draw = np.random.default_rng(2)
    few = np.array([sign_flip(draw.normal(0, 1, 8)) for _ in range(400)])
    many = np.array([sign_flip(draw.normal(0, 1, 30)) for _ in range(100)])
    assert 0.02 < (few < 0.05).mean() < 0.08
    assert few.mean() == pytest.approx(0.5, abs=0.05)
    assert many.mean() == pytest.approx(0.5, abs=0.1)


def test_p_of_few_differences_is_exact():
    assert sign_flip(np.ones(5)) == 2 / 2**5
    assert sign_flip(np.array([0.1, 0.2, 0.3])) == 2 / 2**3
    assert sign_flip(np.array([1.0, 2.0, -3.0])) == 1.0
    assert sign_flip(np.array([3.0, -1.0])) == 1.0  # |2| is reached by all four
    assert sign_flip(np.zeros(5)) == sign_flip(np.zeros(50)) == 1.0
    assert sign_flip(np.ones(40)) == 1 / 10001
    assert sign_flip(np.full(13, 0.1)) == pytest.approx(2 / 2**13, abs=4e-4)


def test_clips_and_rows_that_not_all_have_are_counted_and_named(tmp_path, capsys):
    write(tmp_path / "a", clips=CLIPS[:20], rows=("truth", "cross", "silence"), failed={"clip_77": "no face"})
    write(tmp_path / "b", clips=CLIPS[5:])
    comparison = compare([str(tmp_path / "a"), str(tmp_path / "b")], str(tmp_path / "out"))
    assert found(comparison, "cross", "lse_d").clips == 15
    assert {one.row for one in comparison.rows} == {"truth", "cross"}
    cross = [(each.name, each.runs) for each in comparison.lonely if (each.row, each.kind) == ("cross", "clip")]
    assert cross == [(clip, ("a",)) for clip in CLIPS[:5]] + [(clip, ("b",)) for clip in CLIPS[20:]]
    told = "\n".join(remarks(comparison))
    assert "1 row only in a: silence" in told
    assert "Rows truth, cross: 5 clips only in a: clip_00, clip_01, clip_02, clip_03, clip_04\n" in told
    assert "Rows truth, cross: 10 clips only in b: " + ", ".join(CLIPS[20:]) in told
    assert "a: 1 clip failed: clip_77 (no face)" in told
    assert "Rows truth, cross: 10 clips" in (tmp_path / "out" / "compare.md").read_text()
    assert "clip_27 and 2 more" in " ".join(capsys.readouterr().out.split())


def test_a_metric_that_one_run_lacks_is_named_and_rules_that_differ_are_told(tmp_path):
    write(tmp_path / "a", steps=8, notes=["clip_01: cut to 10 s"])
    results = write(tmp_path / "b", steps=25)
    for scores in results.scores["cross"].values():
        scores["lpips"] = scores.pop("psnr")
    write_tables(tmp_path / "b", results, summarise(results))
    told = remarks(compare([str(tmp_path / "a"), str(tmp_path / "b")]))
    assert [line for line in told if "Not the same" in line] == ["Not the same steps: a: 8; b: 25"]
    assert "Row cross: 1 metric only in a: psnr" in told
    assert "Row cross: 1 metric only in b: lpips" in told


def test_several_runs_are_compared_to_the_first_over_the_same_clips(tmp_path):
    write(tmp_path / "a"), write(tmp_path / "b", better=0.3), write(tmp_path / "c", better=1.0, clips=CLIPS[:12])
    runs = [str(tmp_path / name) for name in "abc"]
    one = found(compare(runs, str(tmp_path)), "cross", "lse_d")
    assert one.clips == 12
    assert [round(each.mean, 1) for each in one.differences] == [-0.3, -1.0]
    assert one.differences[1].p == 2 / 2**12
    with open(tmp_path / "compare.csv", newline="") as file:
        lines = [line for line in csv.DictReader(file) if (line["row"], line["metric"]) == ("cross", "lse_d")]
    assert [line["run"] for line in lines] == runs
    assert [line["mean"] for line in lines] == ["", *(repr(each.mean) for each in one.differences)]
    assert [float(line["value"]) for line in lines] == one.means
    text = (tmp_path / "compare.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| LSE-D ↓ | 12 |") and "**" in line)
    assert re.search(r"\*\*-0\.\d\d \[-1\.\d\d, -0\.\d\d\]\*\* \| \*\*0\.00049\*\*", row)
    compare(runs, str(tmp_path))
    assert (tmp_path / "compare.md").read_text() == text


def test_a_frechet_distance_stands_beside_its_like_without_a_test(tmp_path):
    write(tmp_path / "a"), write(tmp_path / "b")
    comparison = compare([str(tmp_path / "a"), str(tmp_path / "b")])
    one = found(comparison, "cross", "fd_mesh")
    assert (one.means[0], one.differences, one.clips) == (one.means[1], [], 30)
    assert one.means[0] > 0
    assert all(math.isfinite(value) for each in comparison.rows for value in each.means)


def test_runs_are_called_by_what_tells_them_apart():
    assert labels(["runs/a", "runs/b/test"]) == ["a", "b/test"]
    assert labels(["runs/a/test", "runs/b/test"]) == ["a/test", "b/test"]
    assert labels(["runs", "runs/a"]) == ["runs", "runs/a"]
    assert labels(["/x/a", "/x/a"]) == ["a", "a"]


def test_results_are_looked_for_in_the_newest_test(tmp_path):
    for age, name in enumerate(("test-2", "test-10", "test")):
        write(tmp_path / name)
        os.utime(tmp_path / name / "results.json", (0, 1000 - age))
    (tmp_path / "test-11").mkdir()  # one that was killed
    assert results_folder(tmp_path) == tmp_path / "test-2"
    write(tmp_path)
    assert results_folder(tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        (["good", "nowhere"], "nowhere: no such run"),
        (["empty", "good"], "empty holds no results.json, nor does a test in it: .*lightning test"),
        (["good"], "compare takes two runs or more, not only good"),
        (["good", "damaged"], "damaged: results.json or clips.csv is missing or damaged"),
        (["good", "other"], "good, other have no row with a clip that all of them scored"),
    ],
)
def test_the_command_tells_a_mistake_in_one_line(runs, told, tmp_path, monkeypatch, capsys):
    write(tmp_path / "good", clips=CLIPS[:3])
    write(tmp_path / "other", clips=CLIPS[3:6])
    write(tmp_path / "damaged")
    (tmp_path / "damaged" / "clips.csv").unlink()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lipsync", "compare", *runs])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"lipsync: {told}", line)


def test_the_command_takes_any_number_of_runs(tmp_path, monkeypatch, capsys):
    for name in "abc":
        write(tmp_path / "runs" / name / "test")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["lipsync", "compare", "runs/a", "runs/b", "runs/c", "--out", "both"])
    cli.main()
    out = capsys.readouterr().out
    heads = next(line for line in out.splitlines() if line.startswith("cross")).split()
    assert heads == ["cross", "clips", "a", "b", "difference", "p", "c", "difference", "p"]
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == ["compare.csv", "compare.md"]
    monkeypatch.setattr(sys, "argv", ["lipsync", "compare", "--help"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 0
    assert "compare [--out OUT] runs [runs ...]" in capsys.readouterr().out


def test_fewer_runs_than_two_are_refused():
    with pytest.raises(LipsyncError, match="two runs or more, not only none"):
        compare([])
