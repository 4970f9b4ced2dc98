"""Charts: values stand where the axes say, in SVG and in PNG alike."""

import re
from pathlib import Path

import pytest
from PIL import Image, ImageColor

from lipsync.pictures.chart import COLOURS, DENSITY, SMOOTH, Chart, Line, axis, marks, svg, thinned, write_png


def test_an_axis_covers_the_values_with_round_ticks() -> None:
    place, ticks = axis([1.0, 9.0], False, 0.0, 100.0)
    assert ticks == {2: "2", 4: "4", 6: "6", 8: "8"}
    assert place(5.0) == pytest.approx(50)
    assert 0 < place(1.0) < 10
    assert 90 < place(9.0) < 100
    place, ticks = axis([1e-3, 1.0], True, 100.0, 0.0)
    assert list(ticks) == pytest.approx([1e-3, 1e-2, 1e-1, 1])
    assert list(ticks.values()) == ["0.001", "0.01", "0.1", "1"]
    assert [place(tick) for tick in ticks] == pytest.approx([100, 200 / 3, 100 / 3, 0])
    _, ticks = axis([-0.1370, -0.1385], False, 0.0, 100.0)
    assert list(ticks.values()) == ["-0.1385", "-0.1380", "-0.1375", "-0.1370"]  # no two alike
    place, ticks = axis([2.0, 2.0], False, 0.0, 10.0)  # a constant has an axis, too
    assert place(2.0) == pytest.approx(5)
    assert len(ticks) > 1


def test_svg_and_png_draw_the_same_line(tmp_path: Path) -> None:
    chart = Chart("a <b>", "step", [Line("", [(0.0, 0.0), (10.0, 1.0)])], dotted=True)
    drawn = svg(chart)
    assert "a &lt;b&gt;" in drawn
    assert "<title>10: 1</title>" in drawn
    points = re.search(r'<polyline points="([^"]+)"', drawn)[1]
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in points.split())
    assert x0 < x1
    assert y0 > y1  # upwards
    write_png(chart, tmp_path / "chart.png")
    with Image.open(tmp_path / "chart.png") as picture:
        height, _ = marks(chart)
        assert picture.size == (520 * DENSITY, height * DENSITY)
        middle = (round((x0 + x1) / 2 * DENSITY), round((y0 + y1) / 2 * DENSITY))
        assert picture.getpixel(middle) == ImageColor.getrgb(COLOURS[0])
    assert SMOOTH > 1


def test_a_legend_makes_room_and_a_wide_range_is_logarithmic() -> None:
    one = Chart("t", "x", [Line("", [(1.0, 1.0), (2.0, 100.0)])])
    two = Chart("t", "x", [Line("first", [(1.0, 1.0), (2.0, 100.0)]), Line("second", [(1.0, 2.0)])])
    assert marks(two)[0] > marks(one)[0]
    assert ">first<" in svg(two)
    assert ">second<" in svg(two)
    assert ">10<" in svg(one)  # half way up
    chart = Chart("t", "x", [Line("", [(8.0, 1.0), (1.0, 2.0), (25.0, 3.0)])], logarithmic=True)
    assert [mark.text for mark in marks(chart)[1][1:7] if hasattr(mark, "text")] == ["1", "8", "25"]
    assert ">60<" in svg(Chart("t", "x", [Line("", [(1.0, 0.0), (2.0, 100.0)])]))


def test_long_courses_are_averaged() -> None:
    course = {step: float(step % 2) for step in range(1000)}
    points = thinned(course, 100)
    assert len(points) == 100
    assert points[0] == (4.5, 0.5)
    assert thinned({3: 7.0}) == [(3.0, 7.0)]
