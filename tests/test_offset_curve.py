"""The picture of scores against shifts: every value is a point, and the middle one stands on the line of no shift."""

import re
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from lipsync.offset_curve import HEIGHT, MARGIN, WIDTH, OffsetCurve, curve_svg


def drawn(svg: str) -> tuple[list[tuple[float, float]], float, list[str]]:
    """The line's points, where the line of no shift stands, and the numbers below."""
    root = ElementTree.fromstring(svg)
    space = {"svg": "http://www.w3.org/2000/svg"}
    pairs = re.findall(r"([\d.]+),([\d.]+)", root.find("svg:polyline", space).get("points"))
    ticks = [text.text for text in root.findall("svg:text", space) if re.fullmatch(r"-?\d+", text.text)]
    return [(float(x), float(y)) for x, y in pairs], float(root.find("svg:line", space).get("x1")), ticks


def test_a_peak_at_no_shift_stands_highest_and_in_the_middle() -> None:
    values = [0.4] * 31
    values[15], values[20] = 0.9, 0.65
    points, zero, ticks = drawn(curve_svg(values, -15, "scores"))
    assert len(points) == 31
    assert [points[0][0], points[-1][0]] == [MARGIN, WIDTH - MARGIN]
    assert points[15] == (zero, MARGIN)
    assert points[0][1] == HEIGHT - MARGIN
    assert points[20][1] == pytest.approx(HEIGHT / 2)
    assert ticks == ["-15", "-10", "-5", "0", "5", "10", "15"]


def test_it_is_written_after_a_test_by_the_first_process_alone(tmp_path: Path) -> None:
    expert = SimpleNamespace(quality=SimpleNamespace(curve=[0.1, 0.5, 0.2]))
    trainer = SimpleNamespace(is_global_zero=False, default_root_dir=str(tmp_path / "run"), loggers=[])
    OffsetCurve().on_test_end(trainer, expert)
    assert not (tmp_path / "run").exists()
    trainer.is_global_zero = True
    OffsetCurve().on_test_end(trainer, expert)
    assert (tmp_path / "run" / "offset_curve.svg").read_text() == curve_svg(
        [0.1, 0.5, 0.2], -1, "mean score of held-out clips"
    )
    assert (tmp_path / "run" / "offset_curve.csv").read_text().splitlines() == [
        "offset,score",
        "-1,0.100000",
        "0,0.500000",
        "1,0.200000",
    ]
