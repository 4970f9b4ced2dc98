"""`lipsync plot` of runs laid out by hand: every kind of chart, each with its PNG, and a strip whose order is known."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from lipsync.errors import LipsyncError
from lipsync.pictures.plot import plot
from lipsync.pictures.strip import CAPTION, write_strip

HISTORY = """step,train/simple,val/simple,val/sync,gradient/simple,lr-AdamW/unet,train/simple_t000,train/simple_t500
9,0.5,,,0.1,0.001,0.9,0.3
19,0.4,0.45,0.2,0.2,0.002,0.7,0.2
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "one"
    (folder / "samples").mkdir(parents=True)
    (folder / "config.yaml").write_text("model: {init_args: {size: 8}}\ntrainer: {max_steps: 20}\n")
    (folder / "metrics.csv").write_text(HISTORY)
    told = {"step": 20, "8_steps/psnr_painted": 27.0, "1_steps/psnr_painted": 29.0, "psnr_painted": 27.0}
    (folder / "metrics.json").write_text(json.dumps(told))
    (folder / "offset_curve.csv").write_text("offset,score\n-1,0.1\n0,0.8\n1,0.2\n")
    for step in range(0, 200, 10):
        # Two clips of four rows and three columns; what was generated is as bright as the step, the truth white.
        sheet = Image.new("RGB", (24, 64))
        for clip in (0, 1):
            sheet.paste((step,) * 3, (0, 32 * clip + 16, 24, 32 * clip + 24))
            sheet.paste((255,) * 3, (0, 32 * clip + 24, 24, 32 * clip + 32))
        sheet.save(folder / "samples" / f"step_{step:07d}.png")
    return folder


def test_a_run_is_drawn(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    page = plot([str(run)], str(tmp_path / "out"))
    assert capsys.readouterr().out == f"Plots: {page}\n"
    text = page.read_text()
    titles = re.findall(r'font-size="13">([^<]+)<', text)
    assert titles == [
        "simple",
        "val/sync",
        "gradient norms at the UNet&#x27;s last layer",
        "learning rates",
        "simple by time step",
        "score against offset",
        "psnr_painted",
    ]
    assert {path.name for path in page.parent.glob("*.png")} == {
        "simple.png",
        "val_sync.png",
        "gradient_norms_at_the_UNet_s_last_layer.png",
        "learning_rates.png",
        "simple_by_time_step.png",
        "score_against_offset.png",
        "psnr_painted.png",
        "samples_one.png",
    }
    assert not re.search(r'(src|href)="(?!data:)', text)  # it needs nothing else
    assert ">one, after 10 steps<" in text
    assert ">one, after 20 steps<" in text
    for label in ("train", "val"):
        assert f">{label}<" in text


def test_runs_share_charts(run: Path, tmp_path: Path) -> None:
    other = run.with_name("two")
    other.mkdir()
    for name in ("config.yaml", "metrics.csv"):
        (other / name).write_bytes((run / name).read_bytes())
    text = plot([str(run), str(other)], str(tmp_path / "out")).read_text()
    for label in ("one train", "one val", "two train", "two val"):
        assert f">{label}<" in text
    assert "learning rates of two" in text


def test_a_strip_runs_from_the_first_validation_to_the_truth(run: Path, tmp_path: Path) -> None:
    write_strip(run, 8, tmp_path / "strip.png")
    with Image.open(tmp_path / "strip.png") as strip:
        side = 96
        assert strip.size == (10 * side, CAPTION + 2 * side)
        for clip in (0, 1):
            row = [strip.getpixel((side * k + side // 2, CAPTION + side * clip + side // 2))[0] for k in range(10)]
            assert row == [0, 20, 40, 70, 90, 110, 140, 160, 190, 255]


def test_mistakes_are_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(LipsyncError, match="nowhere: no such run"):
        plot([str(tmp_path / "nowhere")], str(tmp_path / "out"))
    with pytest.raises(LipsyncError, match="not of pictures of 16 pixels"):
        write_strip(run, 16, tmp_path / "strip.png")
    (run / "samples" / "step_0000000.png").write_text("x")
    with pytest.raises(LipsyncError, match=r"step_0000000\.png: not a picture"):
        write_strip(run, 8, tmp_path / "strip.png")
    empty = run.with_name("empty")
    empty.mkdir()
    (empty / "config.yaml").write_text("trainer: {max_steps: 20}\n")
    with pytest.raises(LipsyncError, match="nothing was logged"):
        plot([str(empty)], str(tmp_path / "out"))
