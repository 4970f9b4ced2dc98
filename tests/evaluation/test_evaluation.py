"""A whole evaluation on Synthetic: the judges rank what they should, and nothing depends on how it was run."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import Tensor, nn
from torch.utils.data import default_collate

from lipsync.corpora.puppet.write import write_corpus
from lipsync.corpora.synthetic import Synthetic
from lipsync.errors import LipsyncError
from lipsync.evaluation.evaluation import SHIFTS, Evaluation
from lipsync.evaluation.table import Summary

SYNC = {"lse_d": min, "lse_c": max, "offset": min, "lse_d_0": min, "lse_c_0": max}


class Copier(nn.Module):
    """A model of no talent: it paints the reference's mouth, whatever it hears."""

    size, crop_rule, device = 64, "square", "cpu"
    hparams = SimpleNamespace(sampling_steps=(4,), seed=0, expert="synthetic")

    def __init__(self) -> None:
        super().__init__()
        self.unet = nn.LayerNorm(1)  # every copier's weights are the same

    def generate(self, frames: Tensor, reference: Tensor, frame_mels: Tensor, **how: object) -> Tensor:
        assert how == {"steps": 4, "sampler": "ddim", "guidance": 1.0}
        return reference.expand_as(frames)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    root = tmp_path_factory.mktemp("corpus") / "synthetic"
    write_corpus(root, speakers=12, clips=1, seconds=2.4, size=112, seed=5)
    data = Synthetic(str(root), workers=0, pair_frames=34, pair_clips=2, judged=128)
    data.setup("test")
    return data


def run(data: Synthetic, folder: Path, numbers: list[int], **options: object) -> Evaluation:
    evaluation = Evaluation(Copier(), data.test, folder, 128, expert="synthetic_eval", **options)
    for number in numbers:
        evaluation.judge(data.on_after_batch_transfer(default_collate([data.test[number]]), 0))
    return evaluation


@pytest.fixture(scope="module")
def finished(data: Synthetic, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    folder = tmp_path_factory.mktemp("evaluation") / "test"
    numbers = list(range(len(data.test)))
    return folder, run(data, folder, numbers, protocols=("reconstruction", "cross/still", "own", "silence")).finish()


def test_the_truth_is_best_in_every_sync_metric(finished: tuple) -> None:
    _, summary = finished
    rows = {row: cells for row, cells in summary.items() if not row.startswith("shifted") and "lse_d" in cells}
    assert {"truth", "resized", "reconstruction", "cross/still", "copy_input@cross/still"} < rows.keys()
    for metric, best in SYNC.items():
        # Shrunk and enlarged, the real frames are the real frames but for a hair.
        others = [cells[metric].mean for row, cells in rows.items() if row != "resized"]
        assert best(others) == summary["truth"][metric].mean, metric
    assert summary["truth"]["offset"].mean == 0
    assert summary["truth"]["lse_d_0"].high < summary["copy_input@cross/still"]["lse_d_0"].low


def test_a_later_sound_agrees_less_and_less(finished: tuple) -> None:
    _, summary = finished
    rows = ["truth", *(f"shifted_{late}" for late in SHIFTS)]
    distances = [summary[row]["lse_d_0"].mean for row in rows]
    confidences = [summary[row]["lse_c_0"].mean for row in rows]
    assert distances == sorted(distances)
    assert confidences == sorted(confidences, reverse=True)
    assert [summary[row]["offset"].mean for row in rows[:4]] == [0, 1, 2, 5]


def test_copying_the_reference_fails(finished: tuple) -> None:
    _, summary = finished
    # LMD: the mouth of another moment is nowhere near; the same frames at the model's size are.
    assert summary["copy_reference@own"]["lmd"].low > 3 * summary["resized"]["lmd"].high
    assert summary["own"]["lmd"].low > 3 * summary["resized"]["lmd"].high
    assert summary["own"]["opening_r"].mean < 0.3 < 0.9 < summary["truth"]["opening_r"].mean
    # Leakage: in silence it goes on to talk, as the clip does.
    assert summary["silence"]["leak"].mean > 0.02
    assert abs(summary["silence"]["leak"].mean - summary["copy_input@silence"]["leak"].mean) < 0.1


def test_a_row_has_no_metric_that_makes_no_sense(finished: tuple) -> None:
    _, summary = finished
    assert not summary["cross/still"].keys() & {"psnr", "ssim", "mesh_distance", "leak"}
    assert not summary["silence"].keys() & {"lse_d", "psnr", "opening_r", "lmd"}
    assert {"psnr", "ssim_mouth", "lmd", "lse_d", "opening_r", "flicker", "fd_mesh"} <= summary["reconstruction"].keys()
    assert summary["copy_input@cross/still"]["fd_mesh"].mean == pytest.approx(0, abs=1e-6)


def test_everything_that_was_promised_is_written(finished: tuple, data: Synthetic) -> None:
    folder, _ = finished
    names = {path.name for path in folder.iterdir()}
    assert {"results.json", "clips.csv", "table.csv", "table.md", "report.html", "pairs.txt", "films"} <= names
    assert len(list((folder / "films" / "cross_still").glob("*.mp4"))) == len(data.test)
    about = json.loads((folder / "results.json").read_text())["about"]
    assert about["sync judge"] == "synthetic_eval"
    assert about["frechet"] == "fd_mesh"
    assert about["perceptual"] == "mesh_distance"
    assert (about["steps"], about["frames"], about["pairs"]) == (4, 34, len(data.test))


def test_a_killed_evaluation_goes_on_to_the_same_results(finished: tuple, data: Synthetic, tmp_path: Path) -> None:
    folder, _ = finished
    begun = shutil.copytree(folder, tmp_path / "test")
    (begun / "results.json").unlink()
    (begun / "clips" / "000001.json").unlink()
    protocols = ("reconstruction", "cross/still", "own", "silence")
    run(data, begun, [1, 0], protocols=protocols).finish()
    for name in ("results.json", "clips.csv", "table.md"):
        assert (begun / name).read_bytes() == (folder / name).read_bytes()


def test_a_clip_that_cannot_be_read_is_a_result(data: Synthetic, tmp_path: Path, capsys) -> None:
    root = shutil.copytree(data.root, tmp_path / "synthetic")
    sick = Synthetic(str(root), workers=0, pair_frames=34, pair_clips=2, judged=128)
    sick.setup("test")
    video = root / sick.manifest[sick.test.rows[0, 0]].video
    video.unlink()
    evaluation = run(sick, tmp_path / "test", [0, 1], protocols=("cross",))
    evaluation.finish()
    told = json.loads((tmp_path / "test" / "results.json").read_text())
    assert list(told["failed"]) == [sick.test.name(0)]
    assert "no such file" in told["failed"][sick.test.name(0)]
    assert "1 clips scored, 1 failed" in capsys.readouterr().out

    alone = run(sick, tmp_path / "alone", [0], protocols=("cross",))
    alone.store.write(1, alone.store.read([0])[0])
    with pytest.raises(LipsyncError, match="none of 2 clips could be scored"):
        alone.finish()


def test_mistakes_are_named(data: Synthetic, tmp_path: Path) -> None:
    with pytest.raises(LipsyncError, match="is the expert of the model's own loss"):
        Evaluation(Copier(), data.test, tmp_path / "a", 128, expert="synthetic")
    with pytest.raises(LipsyncError, match="no such checkpoint"):
        Evaluation(Copier(), data.test, tmp_path / "b", 128, expert="nobody.ckpt")
    with pytest.raises(LipsyncError, match="sampler"):
        Evaluation(Copier(), data.test, tmp_path / "c", 128, sampler="magic")
    with pytest.raises(LipsyncError, match="no weights for LPIPS"):
        Evaluation(Copier(), data.test, tmp_path / "d", 128, lpips_weights="none.pth")
    with pytest.raises(LipsyncError, match="no weights for the FID"):
        Evaluation(Copier(), data.test, tmp_path / "e", 128, fid_weights="none.pth")


def test_without_a_judge_there_are_no_sync_columns(data: Synthetic, tmp_path: Path) -> None:
    evaluation = Evaluation(Copier(), data.test, tmp_path / "test", 128, protocols=("cross",))
    for number in range(len(data.test)):
        evaluation.judge(data.on_after_batch_transfer(default_collate([data.test[number]]), 0))
    summary = evaluation.finish()
    assert not any(cells.keys() & SYNC.keys() for cells in summary.values())
    assert not any(row.startswith("shifted") for row in summary)
    assert evaluation.about["sync judge"] == "none"
