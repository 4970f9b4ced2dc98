"""Other people's videos, scored by the rules of every evaluation."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from lipsync import cli
from lipsync.errors import LipsyncError
from lipsync.evaluation.table import Summary, read_tables
from lipsync.evaluation.videos import evaluate
from lipsync.metrics.quality import PSNR_CAP

LATE = 3  # frames
SYNC = ("lse_d", "lse_c", "offset", "lse_d_0", "lse_c_0")


@pytest.fixture(scope="module")
def folders(talk, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Generated and real videos: one the same, some worse, some that cannot be compared."""
    root = tmp_path_factory.mktemp("videos")
    real = talk.write(root / "real/same.mp4")
    for name in ("frozen", "late", "mute", "small", "sub/broken", "lonely_real"):
        (root / f"real/{name}.mp4").parent.mkdir(exist_ok=True)
        shutil.copy(real, root / f"real/{name}.mp4")
    generated = root / "generated"
    (generated / "sub").mkdir(parents=True)
    for name in ("same", "lonely_generated"):
        shutil.copy(real, generated / f"{name}.mp4")
    frozen = talk.images.copy()
    frozen[:, 64:] = frozen[:1, 64:]
    talk.write(generated / "frozen.mp4", images=frozen)
    talk.write(generated / "late.mp4", samples=np.pad(talk.samples, (LATE * 640, 0)))
    talk.write(generated / "mute.mp4", mute=True)
    talk.write(generated / "small.mp4", images=np.ascontiguousarray(talk.images[:, :, 16:]))
    (generated / "sub/broken.avi").write_bytes(b"RIFF and nothing else")
    return str(generated), str(root / "real")


@pytest.fixture(scope="module")
def finished(folders: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    out = tmp_path_factory.mktemp("evaluated") / "out"
    return out, evaluate(*folders, str(out), device="cpu")


def scores(finished: tuple[Path, Summary], row: str, clip: str) -> dict[str, float]:
    return read_tables(finished[0])[0].scores[row].get(clip, {})


def test_a_video_is_perfect_against_itself(finished: tuple) -> None:
    found = scores(finished, "generated", "same")
    assert found["psnr"] == found["psnr_mouth"] == PSNR_CAP
    assert (found["ssim"], found["sharpness"]) == pytest.approx((1, 1), abs=1e-5)
    assert found["lmd"] == found["lmd_pixels"] == found["mesh_distance"] == found["flicker"] == found["offset"] == 0
    assert found["opening_r"] > 0.9
    truth = scores(finished, "truth", "same")
    assert {name: found[name] for name in truth} == truth
    assert set(truth) == {"opening_r", *SYNC}
    assert not scores(finished, "copy_input", "same")  # the same sound


def test_a_frozen_mouth_is_worse(finished: tuple) -> None:
    same, frozen = (scores(finished, "generated", name) for name in ("same", "frozen"))
    assert frozen["lmd"] > 1
    assert frozen["opening_r"] < same["opening_r"] - 0.3
    assert frozen["lse_d_0"] > same["lse_d_0"] + 0.05
    assert frozen["lse_c"] < same["lse_c"]
    assert frozen["psnr_mouth"] < 40 < same["psnr_mouth"]


def test_late_sound_is_heard(finished: tuple) -> None:
    late, copied = (scores(finished, row, "late") for row in ("generated", "copy_input"))
    assert late["offset"] == copied["offset"] == LATE
    assert scores(finished, "truth", "late")["offset"] == 0
    assert set(copied) == set(SYNC)
    assert late["lse_d_0"] > scores(finished, "truth", "late")["lse_d_0"] + 0.05
    offsets = [scores(finished, f"shifted_{frames}", "late")["offset"] for frames in (1, 2, 5)]
    assert offsets == [1, 2, 5]


def test_without_sound_there_is_no_sync(finished: tuple, folders: tuple[str, str]) -> None:
    mute = scores(finished, "generated", "mute")
    assert not mute.keys() & set(SYNC)
    assert mute["psnr"] > 35
    assert scores(finished, "truth", "mute")["offset"] == 0
    told = json.loads((finished[0] / "results.json").read_text())
    assert told["about"]["notes"] == [f"mute: {folders[0]}/mute.mp4: no sound: no sync score"]


def test_what_cannot_be_compared_is_listed(finished: tuple) -> None:
    told = json.loads((finished[0] / "results.json").read_text())
    assert list(told["failed"]) == ["lonely_generated", "lonely_real", "small", "sub/broken"]
    assert told["failed"]["lonely_generated"] == "no real video of this name"
    assert told["failed"]["lonely_real"] == "no generated video of this name"
    assert "has 112 x 128 pixels, the real one 128 x 128" in told["failed"]["small"]
    assert "broken.avi: not a media file" in told["failed"]["sub/broken"]
    report = (finished[0] / "report.html").read_text()
    assert all(name in report for name in told["failed"])
    assert told["about"]["sync judge"] == "synthetic_eval"
    assert finished[1]["generated"]["fd_mesh"].clips == finished[1]["truth"]["offset"].clips == 4


def test_a_killed_evaluation_goes_on_to_the_same_results(finished: tuple, folders: tuple, tmp_path: Path) -> None:
    begun = shutil.copytree(finished[0], tmp_path / "out")
    (begun / "results.json").unlink()
    done = begun / "clips/000003.json"
    assert json.loads(done.read_text())["name"] == "lonely_real"
    redone, kept = begun / "clips/000005.json", begun / "clips/000000.json"
    assert json.loads(redone.read_text())["name"] == "same"
    redone.unlink()
    age = kept.stat().st_mtime_ns
    evaluate(*folders, str(begun), device="cpu")
    for name in ("results.json", "clips.csv", "table.md"):
        assert (begun / name).read_bytes() == (finished[0] / name).read_bytes()
    assert kept.stat().st_mtime_ns == age


def test_other_videos_do_not_end_in_the_same_table(folders: tuple[str, str], finished: tuple, tmp_path: Path) -> None:
    generated = shutil.copytree(folders[0], tmp_path / "generated")
    out = shutil.copytree(finished[0], tmp_path / "out")
    with pytest.raises(LipsyncError, match=r"a finished evaluation by other rules .*: repeat it with them or delete"):
        evaluate(str(generated), folders[1], str(out), device="cpu")
    os.remove(out / "results.json")
    with pytest.raises(LipsyncError, match="sync judge synthetic_eval there, none asked"):
        evaluate(*folders, str(out), expert=None, device="cpu")


def test_without_a_judge_there_are_no_sync_columns(talk, tmp_path: Path) -> None:
    video = talk.write(tmp_path / "g/a.mp4", images=talk.images[:30])
    summary = evaluate(str(video), str(video), str(tmp_path / "out"), expert=None, device="cpu")
    assert list(summary) == ["truth", "generated"]
    assert not summary["generated"].keys() & set(SYNC)
    assert (tmp_path / "out/films/generated/000000.mp4").stat().st_size > 1000


def test_a_mistake_is_one_line(folders: tuple[str, str], talk, tmp_path: Path, monkeypatch, capsys) -> None:
    generated, real = folders
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()
    dark = talk.write(tmp_path / "dark/a.mp4", images=np.zeros_like(talk.images[:30]))
    for arguments, told in (
        ((f"{tmp_path}/nowhere", real), "nowhere: no such folder"),
        ((generated, str(empty)), "empty: no videos in this folder"),
        ((str(dark.parent), real), "is called like one of"),
        ((generated, real, "--expert=nobody.ckpt"), "nobody.ckpt: no such checkpoint"),
        ((generated, real, "--lpips_weights=none.pth"), "no weights for LPIPS"),
        ((generated, real, "--fid_weights=none.pth"), "none.pth: no weights for the FID"),
        ((generated, real, "--device=tpu9"), "device tpu9"),
        ((str(dark), str(dark), "--expert=null"), "none of 1 clips could be scored; the first, a: no face in the real"),
    ):
        assert not out.exists(), told
        command = ["lipsync", "evaluate", arguments[0], "--against", arguments[1], "--out", str(out), *arguments[2:]]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("lipsync: ")
        assert "\n" not in error
        assert told in error
