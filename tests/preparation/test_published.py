"""Published corpora, in miniature: taken in where they lie, or encoded anew, and served by their data modules."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import trees
import wandb

from lipsync import cli
from lipsync.corpora.folder import Folder
from lipsync.corpora.lrs2 import LRS2
from lipsync.corpora.lrw import LRW
from lipsync.corpora.records import MANIFEST, inside, load_manifest
from lipsync.corpora.voxceleb2 import VoxCeleb2
from lipsync.errors import LipsyncError
from lipsync.preparation.prepare import parse_shard, prepare
from lipsync.sound import map_wav

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
UNSTEADY = ("late", "varying")


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_conforming_clips_stay_where_they_are(taken, all_takes):
    layout, raw, out, report = taken
    fates = {row.source: row.note for row in report.rows if not any(name in row.source for name in UNSTEADY)}
    assert list(fates.values()) == ["in place"] * 4
    manifest = [record for record in load_manifest(out) if record.source in fates]
    assert sorted(record.split for record in manifest) == ["test", "train", "train", "val"]
    assert len({record.speaker for record in manifest}) == 4
    frames = 29 if layout == "lrw" else 35
    for record in manifest:
        assert (record.frames, record.crop_rule) == (frames, "voxceleb2" if layout == "voxceleb2" else "square")
        assert inside(out, record.video).resolve().is_relative_to(raw.resolve())
        assert not list((out / record.id).parent.glob("*.mp4"))
        assert len(record.opening) == (0 if record.split == "train" else frames)
        # AAC changes samples a little, and must not move them.
        own = next(take for path, take in _owners(raw, all_takes) if path == record.source)
        sound, true = (x[: frames * 640].astype(float) for x in (map_wav(out / record.sound), own[1]))
        lags = {lag: np.corrcoef(sound[400:-400], np.roll(true, lag)[400:-400])[0, 1] for lag in range(-320, 321, 8)}
        assert max(lags, key=lags.get) == 0
        assert lags[0] > 0.95


def test_the_papers_recipe_takes_a_step_on_it(taken, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(cli.RUN, "")
    monkeypatch.delenv(cli.RUN)
    names = ("base", "official", taken.layout)
    command = ["lightning", "fit", *(f"--config={EXPERIMENTS / name}.yaml" for name in names)]
    command += ["--model.unet.channels=32", "--model.unet.channel_mult=[1,1,1,1,1]", "--model.unet.num_res_blocks=1"]
    command += ["--model.unet.groups=4"]
    command += [
        "--model.unet.audio_channels=[8,8]",
        "--model.unet.head_channels=16",
        "--model.discriminator.channels=4",
    ]
    # No download; whatever else the paper has, from the first step on.
    command += ["--model.loss_weights.lpips=0", "--model.loss_weights.mesh=0.25"]
    command += ["--model.schedule={mesh: [0, 0], gan: [0, 0]}", "--test_after_fit=false"]
    command += [f"--data.root={taken.out}", "--data.batch_size=1", "--data.workers=0", "--data.val_windows=1"]
    command += ["--data.pair_frames=9", "--trainer.accelerator=cpu", "--trainer.devices=1"]
    command += ["--trainer.max_steps=1", "--trainer.val_check_interval=1"]
    monkeypatch.setattr(sys, "argv", command)
    try:
        cli.fit_main()
    finally:
        wandb.finish()
    metrics = json.loads((tmp_path / "runs" / taken.layout / "metrics.json").read_text())
    assert metrics["step"] == 1
    assert all(math.isfinite(metrics[f"train/{name}"]) for name in ("simple", "l2", "vb", "mesh", "gan"))


def _owners(raw: Path, all_takes: trees.Takes) -> list[tuple[str, trees.Take]]:
    """Relative path of each clip's file and what it was made of; trees number their takes in order."""
    root = next((raw / name for name in ("mvlrs_v1", "lipread_mp4") if (raw / name).is_dir()), raw)
    paths = [path for path in root.rglob("*.mp4") if not any(name in path.as_posix() for name in UNSTEADY)]
    key = {"mvlrs_v1": lambda p: int(p.parent.name[-1]), "lipread_mp4": lambda p: int(p.stem[-1])}
    number = key.get(root.name, lambda p: int(p.parents[1].name[-1]))
    return [(path.relative_to(root).as_posix(), all_takes[number(path)]) for path in paths]


def test_what_does_not_conform_is_encoded_anew_or_named(all_takes, tmp_path):
    raw, out = trees.lrs2(tmp_path / "raw", all_takes), tmp_path / "corpus"
    root = raw / "mvlrs_v1"
    names = [f"9/0000{k}" for k in range(7)]
    (root / "train.txt").write_text("\n".join(names) + "\n")
    frames, samples = all_takes[0]
    folder = root / "main" / "9"
    trees.film(folder / "00000.mp4", (frames, samples), 160, fps=30000 / 1001)
    trees.film(folder / "00001.mp4", (frames, samples), 192)
    trees.film(folder / "00002.mp4", (frames, samples), 160, sound=False)
    whole = (root / "main" / "5535415699068792" / "00001.mp4").read_bytes()
    (folder / "00003.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "00004.mp4").write_bytes(b"")
    trees.film(folder / "00005.mp4", (frames, samples[: len(samples) // 2]), 160)
    report = prepare(str(raw), str(out), layout="lrs2", min_seconds=0.5, look_every=3, processes=1)
    fates = {Path(row.source).stem: (row.kept, row.note) for row in report.rows if "main/9/" in row.source}
    assert fates["00000"] == (1, "encoded anew: 29.97 frames a second")
    assert fates["00001"] == (1, "encoded anew: 192x192 pixels")
    assert fates["00002"] == (0, "no sound")
    assert fates["00003"][0] == fates["00004"][0] == 0
    assert "not a media file" in fates["00004"][1]
    assert fates["00005"] == (1, "encoded anew: sound ends early")
    assert fates["00006"] == (0, "no such file")
    manifest = {record.id: record for record in load_manifest(out)}
    for name in ("main/9/00000/0", "main/9/00001/0", "main/9/00005/0"):
        record = manifest[name]
        assert (record.video, record.size, record.split) == (f"{name}.mp4", 160, "train")
        assert len(decoded(out / record.video)) == record.frames == len(record.opening)
    assert manifest["main/9/00000/0"].frames == 30  # 35 frames at 29.97 last 1.17 s, in which 30 of the grid begin
    assert 17 <= manifest["main/9/00005/0"].frames <= 19
    assert [row.note for row in report.rows if "main/9/" not in row.source] == ["in place"] * 3


def test_sound_that_is_missing_broken_or_short(all_takes, tmp_path):
    raw, out = trees.voxceleb2(tmp_path / "raw", all_takes), tmp_path / "corpus"
    sounds = raw / "dev" / "aac"
    (sounds / "id00" / "vid_0-x" / "00001.m4a").unlink()
    (sounds / "id00" / "vid_0-x" / "00002.m4a").write_bytes(b"")
    frames, samples = all_takes[1]
    trees.sound_file(sounds / "id01" / "vid_1-x" / "00017.m4a", (frames, samples[: len(samples) * 3 // 4]))
    report = prepare(str(raw), str(out), layout="voxceleb2_all", look_every=5, processes=1)
    fates = {Path(row.source).parts[2] + row.source[-5]: (row.kept, row.note) for row in report.rows}
    assert fates["id001"] == (0, "no sound")
    assert fates["id002"][0] == 0
    assert "00002.m4a: not a media file" in fates["id002"][1]
    assert fates["id017"] == (1, "encoded anew: sound ends early")
    assert fates["id027"] == fates["id037"] == (1, "in place")
    # The archive of sounds arrives later.
    trees.sound_file(sounds / "id00" / "vid_0-x" / "00001.m4a", all_takes[0])
    again = prepare(str(raw), str(out), layout="voxceleb2_all", look_every=5, processes=1)
    assert [row.note for row in again.rows if row.source.endswith("vid_0-x/00001.mp4")] == ["in place"]


def test_all_ways_of_running_give_the_same_corpus(all_takes, tmp_path):
    """One process, two, shards, and a run that is killed: the manifest is the same to the byte."""
    raw = trees.voxceleb2(tmp_path / "raw", all_takes)
    prepare(str(raw), str(tmp_path / "one"), layout="voxceleb2_all", processes=1)
    wanted = (tmp_path / "one" / MANIFEST).read_bytes()
    assert len(load_manifest(tmp_path / "one")) == 5

    prepare(str(raw), str(tmp_path / "two"), layout="voxceleb2_all", processes=2)
    assert (tmp_path / "two" / MANIFEST).read_bytes() == wanted
    for shard in ("3/3", "1/3", "2/3"):
        prepare(str(raw), str(tmp_path / "shards"), layout="voxceleb2_all", processes=1, shard=shard)
    assert (tmp_path / "shards" / MANIFEST).read_bytes() == wanted
    with pytest.raises(LipsyncError, match="another folder"):
        prepare(str(raw), str(tmp_path / "two"), layout="voxceleb2", processes=2)


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_preparation_killed_goes_on(kills, all_takes, tmp_path):
    raw = trees.voxceleb2(tmp_path / "raw", all_takes)
    prepare(str(raw), str(tmp_path / "whole"), layout="voxceleb2_all", processes=1)
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "lipsync", "prepare", str(raw), "--out", str(out), "--layout=voxceleb2_all"]
    for number in range(kills):
        run = subprocess.Popen([*command, "--processes=2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not list(out.rglob("sound.wav*")) and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1 * number)
        os.kill(run.pid, signal.SIGKILL)  # its workers notice
        run.wait()
    finished = subprocess.run([*command, "--processes=2"], capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert (out / MANIFEST).read_bytes() == (tmp_path / "whole" / MANIFEST).read_bytes()
    assert not list(out.rglob("*.part")) + list(out.rglob("sound.wav"))


def test_data_modules_know_their_corpora(all_takes, tmp_path):
    raw, out = trees.lrw(tmp_path / "raw", all_takes), tmp_path / "corpus"
    prepare(str(raw), str(out), layout="lrw", processes=1)
    LRW(root=str(out)).prepare_data()
    for module, told in ((Folder, "lipsync prepare VIDEOS --out"), (LRS2, "lipsync prepare mvlrs_v1 --layout lrs2")):
        with pytest.raises(LipsyncError, match=f"was prepared from lrw.*{told}"):
            module(root=str(out)).prepare_data()
    with pytest.raises(LipsyncError, match="is no finished corpus: run `lipsync prepare VOX2 --layout voxceleb2 --out"):
        VoxCeleb2(root=str(tmp_path / "none")).prepare_data()
    with pytest.raises(LipsyncError, match="leads to"):
        prepare(str(trees.lrw(tmp_path / "other", all_takes)), str(out), layout="lrw", processes=1)


@pytest.mark.parametrize("wrong", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2"])
def test_shards_are_named_in_order(wrong):
    assert [list(range(7))[parse_shard(f"{k}/3")] for k in (1, 2, 3)] == [[0, 3, 6], [1, 4], [2, 5]]
    with pytest.raises(LipsyncError, match="it looks like 2/8"):
        parse_shard(wrong)
