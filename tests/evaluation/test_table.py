import csv
import json
import math

import numpy as np
import pytest
import torch
from rich.console import Console

from lipsync.errors import LipsyncError
from lipsync.evaluation.intervals import HELD, at_once, frechet_interval, interval
from lipsync.evaluation.measures import MEASURES, TELLING, in_order
from lipsync.evaluation.table import (
    Interval,
    Results,
    best_rows,
    decimals,
    extremes,
    read_tables,
    rich_tables,
    summarise,
    write_tables,
)
from lipsync.metrics.frechet import frechet_distance, moments

FILES = ["clips.csv", "results.json", "table.csv", "table.md"]


def results(**changed) -> Results:
    """Three rows; the silent one lacks what makes no sense for it, and one score of a clip is undefined."""
    draw = np.random.default_rng(0)
    scores = {
        row: {f"clip, {k}": {"lse_d": base + draw.normal(), "psnr": 30 + draw.normal()} for k in range(6)}
        for row, base in (("truth", 6.0), ("cross", 7.0), ("copy_input@cross", 12.0))
    }
    del scores["cross"]["clip, 2"]["psnr"]
    scores["silence"] = {f"clip, {k}": {"leak": k / 10} for k in range(6)}
    about = {"sync judge": "synthetic_eval", "steps": 8, "protocols": ["cross", "silence"], "frechet": "fd_mesh"}
    return Results(about, scores, {}, {"clip, 6": "no face"})._replace(**changed)


def test_intervals_cover_the_true_mean_as_often_as_they_say():
    draw = np.random.default_rng(1)
    found = [interval(draw.normal(5.0, 2.0, 40).tolist()) for _ in range(400)]
    covered = sum(low <= 5.0 <= high for _, low, high, _ in found) / len(found)
    assert 0.90 <= covered <= 0.975  # 95 %, a little less because 40 clips are few
    width = np.mean([high - low for _, low, high, _ in found])
    assert width == pytest.approx(2 * 1.96 * 2.0 / math.sqrt(40), rel=0.05)


def test_means_are_exact_and_equal_clips_leave_no_doubt():
    assert interval([1e16, 1.0, -1e16, 1.0]).mean == 0.5
    assert interval([0.1] * 10) == (0.1, 0.1, 0.1, 10)
    assert interval([3.0]) == (3.0, 3.0, 3.0, 1)


def test_the_same_seed_gives_the_same_digits_in_any_order_of_clips():
    given = results()
    turned = {row: dict(reversed(clips.items())) for row, clips in given.scores.items()}
    assert summarise(given) == summarise(results(scores=turned)) == summarise(given, seed=0)
    assert summarise(given, seed=1)["cross"]["psnr"].mean == summarise(given)["cross"]["psnr"].mean
    assert summarise(given, seed=1)["cross"]["psnr"] != summarise(given)["cross"]["psnr"]


def test_a_mean_is_of_the_clips_that_have_the_score():
    given = results()
    found = summarise(given)["cross"]["psnr"]
    values = [scores["psnr"] for scores in given.scores["cross"].values() if "psnr" in scores]
    assert found.clips == len(values) == 5
    assert found.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert found.low < found.mean < found.high
    assert list(summarise(given)["silence"]) == ["leak"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused_by_name(bad, tmp_path):
    given = results()
    summary = summarise(given)
    given.scores["cross"]["clip, 3"]["lse_d"] = bad
    for attempt in (lambda: summarise(given), lambda: write_tables(tmp_path, given, summary)):
        with pytest.raises(LipsyncError, match="row cross, clip clip, 3: lse_d is"):
            attempt()
    assert list(tmp_path.iterdir()) == []
    features = {"truth": {"a": torch.zeros(3, 2)}, "cross": {"a": torch.tensor([[1.0, bad]])}}
    with pytest.raises(LipsyncError, match="row cross, clip a: features of fd_mesh"):
        summarise(results(features=features))


def test_what_was_written_is_read_to_the_last_digit(tmp_path):
    given = results()
    summary = summarise(given)
    write_tables(tmp_path / "new", given, summary)
    read, again = read_tables(tmp_path / "new")
    assert read == given
    assert again == summary
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == FILES
    first = [(tmp_path / "new" / name).read_bytes() for name in FILES]
    write_tables(tmp_path / "new", given, summarise(results()))
    assert [(tmp_path / "new" / name).read_bytes() for name in FILES] == first


def test_what_a_row_lacks_is_blank(tmp_path):
    write_tables(tmp_path, results(), summarise(results()))
    with open(tmp_path / "clips.csv", newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["row", "clip", "lse_d", "leak", "psnr"]
    assert len(lines) == 1 + 4 * 6
    silent = next(line for line in lines if line[:2] == ["silence", "clip, 4"])
    assert silent[2:] == ["", "0.4", ""]
    assert next(line for line in lines if line[:2] == ["cross", "clip, 2"])[4] == ""
    text = (tmp_path / "table.md").read_text()
    assert "nan" not in "".join((tmp_path / name).read_text().lower() for name in FILES)
    sync = [line for line in text.splitlines() if line.startswith(("| sync", "| cross", "| silence"))]
    assert sync[0] == "| sync | clips | LSE-D ↓ |"
    mean, low, high, _ = summarise(results())["cross"]["lse_d"]
    assert f"| cross | 6 | **{mean:.2f}** [{low:.2f}, {high:.2f}] |" in sync
    assert json.loads((tmp_path / "results.json").read_text())["failed"] == {"clip, 6": "no face"}


def test_the_terminal_shows_every_row_and_metric_whole():
    scores = {row: {"a": dict.fromkeys(MEASURES, 1 / 3)} for row in ("truth", "cross", "average_mouth@reconstruction")}
    console = Console(width=100)
    with console.capture() as captured:
        for table in rich_tables(summarise(results(scores=scores))):
            console.print(table)
    shown = captured.get()
    assert shown.count("average_mouth@reconstruction") == 4  # tables
    assert shown.count("0.333") == 3 * len(MEASURES)
    assert "…" not in shown


def test_damaged_results_are_told_in_one_line(tmp_path):
    with pytest.raises(LipsyncError, match=r"results\.json or clips\.csv is missing or damaged"):
        read_tables(tmp_path)
    write_tables(tmp_path, results(), summarise(results()))
    whole = (tmp_path / "clips.csv").read_text()
    (tmp_path / "clips.csv").write_text(whole.replace("0.4", "nan"))
    with pytest.raises(LipsyncError, match="row silence, clip clip, 4: leak is nan"):
        read_tables(tmp_path)
    (tmp_path / "clips.csv").write_text(whole)
    for text in ("{", "[]", "{}", '{"about": {}, "failed": {}, "summary": {"a": {"psnr": {"mean": 1}}}}'):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(LipsyncError, match="damaged") as told:
            read_tables(tmp_path)
        assert "\n" not in str(told.value)


def shifted(clips, frames=8, width=4, between=0.0, seed=0):
    """Features of clips, and the same moved by (1, 0, ...) and by as much again as clips differ."""
    draw = torch.Generator().manual_seed(seed)
    truth = [torch.randn(frames, width, generator=draw) for _ in range(clips)]
    step = torch.eye(width)[0]
    return [x + step * (1 + between * torch.randn((), generator=draw)) for x in truth], truth


def test_the_frechet_distance_is_of_all_frames_and_its_interval_is_about_it():
    clips = at_once(4) + 5
    moved, truth = shifted(clips, frames=2)
    found = frechet_interval(moved, truth)
    whole = frechet_distance(moments(torch.cat(moved)), moments(torch.cat(truth)))
    assert found.mean == pytest.approx(1.0, abs=1e-6)
    assert found.mean == pytest.approx(float(whole), abs=1e-9)
    # Every clip moved by the same: whichever are drawn, the distance is 1.
    assert found.high - found.low < 1e-6
    assert found.clips == clips
    assert frechet_interval(truth, truth)[:3] == pytest.approx((0, 0, 0), abs=1e-9)


def test_the_frechet_interval_is_as_wide_as_clips_differ():
    found = [frechet_interval(*shifted(20, between=0.5, seed=seed)) for seed in range(20)]
    means = np.array([each.mean for each in found])
    assert all(each.low < each.mean < each.high for each in found)
    # Half a standard normal interval of |mean shift|^2: 2 * 0.5 / sqrt(20), and some for the covariance.
    assert np.mean([each.high - each.low for each in found]) == pytest.approx(2 * 1.96 * means.std(), rel=0.35)
    assert frechet_interval(*shifted(20, between=0.5)) == found[0]
    assert frechet_interval(*shifted(20, between=0.5), seed=1) != found[0]


def test_the_frechet_interval_holds_the_distance_although_resampling_enlarges_it():
    # Clips that are a little off, each in its own way: those drawn twice make that look like a property of the set.
    truth = shifted(30, frames=25, width=32)[1]
    draw = torch.Generator().manual_seed(1)
    ours = [x + 0.3 * torch.randn(32, generator=draw) for x in truth]
    found = frechet_interval(ours, truth)
    assert 0 < found.low < found.mean < found.high < 2 * found.mean


def test_features_wider_than_frames_keep_their_distance():
    """Few frames span little of 2048 dimensions: turned into it, distances and intervals are finite and the same."""
    moved, truth = shifted(5, frames=3, width=2048)
    found = frechet_interval(moved, truth)
    assert found.mean == pytest.approx(1.0, abs=1e-6)
    assert found.low <= found.mean <= found.high < 1 + 1e-6
    unlike = [x + 0.1 * torch.randn(3, 2048, generator=torch.Generator().manual_seed(k)) for k, x in enumerate(truth)]
    found = frechet_interval(unlike, truth)
    assert 0 < found.low < found.mean < found.high < math.inf
    assert frechet_interval(truth[:1], truth[:1])[:3] == pytest.approx((0, 0, 0), abs=1e-6)

    moved, truth = shifted(5, frames=2, width=24, between=0.5)
    assert frechet_interval(moved, truth).mean == pytest.approx(
        float(frechet_distance(moments(torch.cat(moved)), moments(torch.cat(truth)))), rel=1e-9
    )


def test_wide_features_of_many_frames_have_fewer_resamples(monkeypatch):
    monkeypatch.setattr("lipsync.evaluation.intervals.WIDE", 3)
    few = [frechet_interval(*shifted(20, between=0.5, seed=seed)) for seed in range(20)]
    monkeypatch.undo()
    many = [frechet_interval(*shifted(20, between=0.5, seed=seed)) for seed in range(20)]
    assert [each.mean for each in few] == [each.mean for each in many]
    assert all(each.low < each.mean < each.high for each in few)
    widths = [np.mean([each.high - each.low for each in found]) for found in (few, many)]
    assert widths[0] == pytest.approx(widths[1], rel=0.15)
    assert widths[0] != widths[1]


@pytest.mark.parametrize("width", [4, 128, 512, 2048, 10**4])
def test_second_moments_stay_within_memory(width):
    count = at_once(width)
    assert 1 <= count <= 256
    assert count == 1 or count * 8 * width**2 <= HELD


def test_rows_with_features_are_set_against_the_truth():
    moved, truth = shifted(5)
    names = [f"clip, {k}" for k in range(5)]
    features = {
        "truth": dict(zip(names, truth, strict=True)),
        "cross": dict(zip(names[1:], moved[1:], strict=True)) | {"other": torch.full((8, 4), 1e3)},
    }
    summary = summarise(results(features=features))
    assert summary["cross"]["fd_mesh"].mean == pytest.approx(1.0, abs=1e-6)
    assert summary["cross"]["fd_mesh"].clips == 4
    assert [row for row in summary if "fd_mesh" in summary[row]] == ["cross"]
    with pytest.raises(LipsyncError, match="row cross has features of no clip"):
        summarise(results(features={"cross": features["cross"]}))


def test_rows_of_one_protocol_compete_and_real_frames_do_not():
    def summary(**means):
        return {
            row: {"psnr": Interval(*[mean] * 3, 1), "sharpness": Interval(*[mean] * 3, 1)}
            for row, mean in means.items()
        }

    found = summary(truth=99.0, resized=90.0, cross=0.7, **{"copy@cross": 1.2, "mean@cross": 1.2, "own": 0.8})
    assert best_rows(found) == {"psnr": {"copy@cross", "mean@cross"}, "sharpness": {"copy@cross", "mean@cross"}}
    found = summary(own=2.0, **{"copy@own": 0.9})
    assert best_rows(found) == {"psnr": {"own"}, "sharpness": {"copy@own"}}
    assert best_rows({row: {"beauty": Interval(1, 1, 1, 1)} for row in ("own", "copy@own")}) == {"beauty": set()}


def test_the_best_the_median_and_the_worst_clip_are_found():
    clips = {
        name: {"lse_d_0": value, "psnr": 1.0} for name, value in zip("abcde", (5.0, 1.0, 3.0, 2.0, 4.0), strict=True)
    }
    assert extremes(clips) == ("lse_d_0", {"b": "best", "c": "median", "a": "worst"})
    assert extremes({name: {"opening_r": -scores["lse_d_0"]} | scores for name, scores in clips.items()})[1] == {
        "b": "best",
        "c": "median",
        "a": "worst",
    }
    assert extremes({"a": {"psnr": 1.0}, "b": {"psnr": 2.0}}) == ("psnr", {"b": "best", "a": "worst"})
    assert extremes({"a": {"psnr": 1.0}}) == ("psnr", {"a": "best"})
    with pytest.raises(LipsyncError, match="clips a have no metric"):
        extremes({"a": {"beauty": 1.0}})


def test_numbers_have_three_digits():
    assert [decimals([value]) for value in (0.0, 123.4, 31.2, 7.12, 0.942, 0.0421)] == [2, 0, 1, 2, 3, 4]
    assert decimals([]) == 2
    assert decimals([0.0, 28.9, 1.97, 0.05]) == 2


def test_every_measure_has_a_direction_and_tables_keep_their_order():
    assert {each.direction for each in MEASURES.values()} == {"↑", "↓", "→1"}
    assert set(TELLING) <= set(MEASURES)
    assert in_order(["zeal", "psnr", "lse_d", "beauty", "psnr"]) == ["lse_d", "psnr", "beauty", "zeal"]
