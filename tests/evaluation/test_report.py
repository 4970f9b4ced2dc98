import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from lipsync.errors import LipsyncError
from lipsync.evaluation.plots import DOTS, axis, clips_svg, dots_svg
from lipsync.evaluation.report import write_report
from lipsync.evaluation.table import Interval, Results, summarise
from lipsync.video import write_clip

VOID = {"meta", "br"}
FOREIGN = "<script>alert('x')</script> & \"co\""


class Page(HTMLParser):
    """Reads a page whose every element is closed; keeps its text and what its elements refer to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.seen, self.text, self.sources = [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "data", "srcset", "poster")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def results() -> Results:
    draw = np.random.default_rng(0)
    clips = [FOREIGN, *(f"clip {k}" for k in range(1, 8))]
    scores = {
        row: {clip: {"opening_r": r + draw.normal(0, 0.01), "psnr": 30.0 + k} for k, clip in enumerate(clips)}
        for row, r in (("truth", 0.95), ("cross", 0.8), ("copy_input@cross", 0.1))
    }
    scores["silence"] = {clip: {"leak": k / 10} for k, clip in enumerate(clips)}
    features = {row: {clip: torch.eye(4) + k for clip in clips} for k, row in enumerate(("truth", "cross"))}
    about = {"checkpoint": f"runs/{FOREIGN}", "notes": ["a < b", "b & c"], "steps": 8, "frechet": "fd_mesh"}
    return Results(about, scores, features, {"lost <b>": "no face & no hope", "clip 99": "too short"})


@pytest.fixture
def films(tmp_path):
    """Three films of the cross row."""
    paths = {}
    for k, clip in enumerate((FOREIGN, "clip 1", "clip 2", "clip 3")):
        paths[clip] = tmp_path / f"{k}.mp4"
        write_clip(paths[clip], np.full((5, 16, 16, 3), 40 * k, np.uint8), 25, np.zeros(3200, np.int16))
    return {"cross": paths}


def test_the_page_names_every_row_clip_that_failed_and_entry_of_the_protocol(tmp_path, films):
    path = write_report(tmp_path / "new", results(), summarise(results()), films)
    assert path == tmp_path / "new" / "report.html"
    assert list(path.parent.iterdir()) == [path]
    page = Page(path.read_text(encoding="utf-8"))
    text = page.text
    for row in results().scores:
        assert text.count(row) >= 2  # in a table and beside a plot
    for told in ("a < b", "b & c", "lost <b>", "no face & no hope", "clip 99", "too short", f"runs/{FOREIGN}"):
        assert told in text
    assert "8 clips scored, 2 failed, 4 rows" in text
    summary = summarise(results())
    mean, low, high, _ = summary["cross"]["opening_r"]
    assert f"{mean:.3f}" in text
    assert f"[{low:.3f}, {high:.3f}]" in text
    assert {"opening r ↑", "leak ↓", "PSNR ↑", "FD mesh ↓"} <= set(text)
    assert page.seen.count("svg") == 4 + 2  # a plot a metric, and two distributions
    assert "nan" not in " ".join(text).lower().split()


def test_the_page_needs_nothing_else_and_runs_nothing(tmp_path, films):
    content = write_report(tmp_path, results(), summarise(results()), films).read_text(encoding="utf-8")
    page = Page(content)
    assert not re.search(r"https?:|url\(|@import|<script|<link|<b>old", content)
    assert "script" not in page.seen
    assert page.sources
    assert all(source.startswith("data:video/mp4;base64,") for source in page.sources)
    assert "default-src 'none'" in content


def test_the_best_the_median_and_the_worst_film_are_embedded_whole(tmp_path, films):
    given = results()
    for clip, r in ((FOREIGN, 0.5), ("clip 1", 0.7), ("clip 2", 0.9), ("clip 3", 0.6), ("clip 4", 0.99)):
        given.scores["cross"][clip]["opening_r"] = r
    page = Page(write_report(tmp_path, given, summarise(given), films).read_text(encoding="utf-8"))
    embedded = [base64.b64decode(source.partition(",")[2]) for source in page.sources]
    assert embedded == [films["cross"][clip].read_bytes() for clip in ("clip 2", "clip 1", FOREIGN)]
    assert [text for text in page.text if text.startswith(("best:", "median:", "worst:"))] == [
        "best: clip 2",
        "median: clip 1",
        f"worst: {FOREIGN}",
    ]
    assert "Best, median and worst of 4 films by opening r ↑; the truth is on the left." in page.text
    assert "opening r 0.900" in page.text


def test_the_best_row_of_a_protocol_is_bold(tmp_path):
    content = write_report(tmp_path, results(), summarise(results())).read_text(encoding="utf-8")
    bold = re.findall(r"<td><b>([^<]*)</b>", content)
    summary = summarise(results())
    # PSNR ties within the protocol, so both are best; the truth has no rival and is not.
    assert bold == [f"{summary['cross']['opening_r'].mean:.3f}", "33.5", "33.5"]
    assert "<video" not in content


def test_nothing_failed_and_no_films(tmp_path):
    given = results()._replace(failed={})
    page = Page(write_report(tmp_path, given, summarise(given), {"cross": {}}).read_text(encoding="utf-8"))
    assert "None." in page.text
    assert "8 clips scored, 0 failed, 4 rows" in page.text
    assert "video" not in page.seen


def test_a_film_that_is_not_there_is_named_and_no_report_is_left(tmp_path):
    missing = {"cross": {"clip 1": tmp_path / "gone.mp4"}}
    with pytest.raises(LipsyncError, match=r"row cross, clip clip 1: the film .*gone\.mp4 cannot be read"):
        write_report(tmp_path, results(), summarise(results()), missing)
    assert list(tmp_path.iterdir()) == []


def numbers(pattern, svg):
    return [float(found) for found in re.findall(pattern, svg)]


def test_dots_stand_where_their_values_are():
    column = {"truth": Interval(4.0, 3.0, 5.0, 9), "a": Interval(2.0, 1.0, 3.0, 9), "b": Interval(6.0, 5.0, 7.0, 9)}
    svg = dots_svg(column, "lse_d")
    at = numbers(r'<circle class="dot" cx="([\d.]+)"', svg)
    starts, ends = numbers(r'class="mark" x1="([\d.]+)"', svg), numbers(r'class="mark" x1="[\d.]+" x2="([\d.]+)"', svg)
    assert at[2] - at[0] == pytest.approx(at[0] - at[1], abs=0.2)
    assert [end - start for start, end in zip(starts, ends, strict=True)] == pytest.approx([at[0] - at[1]] * 3, abs=0.2)
    assert numbers(r'class="ideal" x1="([\d.]+)"', svg) == [at[0]]
    assert svg.count('class="real"') == 1
    ideal = numbers(r'class="ideal" x1="([\d.]+)"', dots_svg({"a": Interval(0.5, 0.4, 0.6, 9)}, "sharpness"))
    assert ideal[0] > numbers(r'cx="([\d.]+)"', dots_svg({"a": Interval(0.5, 0.4, 0.6, 9)}, "sharpness"))[0]


@pytest.mark.parametrize("values", [(0.0, 0.0), (5.0, 5.0), (-3e-5, 2e-5), (1e4, 3e4), (0.1, 0.9), (-20.0, 1.0)])
def test_axes_have_two_to_six_ticks_at_round_values(values):
    x, drawn = axis(values, 3)
    ticks = numbers(r'class="tick"[^>]*>([^<]+)<', drawn)
    assert 2 <= len(ticks) <= 6
    assert len(set(ticks)) == len(ticks)
    places = numbers(r'<line x1="([\d.]+)"', drawn)
    assert places == pytest.approx([x(tick) for tick in ticks], abs=0.06)
    assert x(values[0]) <= x(values[1])


def test_very_many_clips_are_thinned_evenly_from_the_lowest_to_the_highest():
    values = {f"clip {k}": float(k % 1000) for k in range(5000)}
    svg = clips_svg({"cross": values})
    shown = numbers(r"<title>clip \d+: (\d+)</title>", svg)
    assert len(shown) == DOTS
    assert (shown[0], shown[-1]) == (0.0, 999.0)
    assert np.median(shown) == pytest.approx(499.5, abs=10)
    assert clips_svg({"cross": {"a": 1.0, "b": 2.0}}).count('class="clip"') == 2
