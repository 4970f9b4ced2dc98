"""Weights laid out as the authors publish them: converted, dubbed with, trained on; the SyncNets in their roles."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import wandb
from torch import Tensor

from lipsync import cli, dub, load
from lipsync.corpora.puppet.write import write_corpus
from lipsync.exports import convert
from lipsync.metrics.sync import evaluate
from lipsync.sound import decode_to_wav, map_wav, write_wav

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"


@pytest.fixture
def second(shared: Path, tmp_path: Path) -> Path:
    """A second of real speech."""
    decode_to_wav(str(shared / "clips" / "audio" / "st_chinese_news.wav"), str(tmp_path / "all.wav"))
    write_wav(tmp_path / "second.wav", np.array(map_wav(str(tmp_path / "all.wav"))[16_000:32_000]))
    return tmp_path / "second.wav"


@pytest.mark.parametrize(
    ("name", "head_channels"), [("tfg_64", 16), pytest.param("tfg_128_official", 64, marks=pytest.mark.slow)]
)
def test_official_weights_dub_a_real_clip_and_train_on(
    name: str,
    head_channels: int,
    shared: Path,
    weights: Callable[[str], dict[str, Tensor]],
    second: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.save(weights(name), tmp_path / "official.pt")
    convert(str(tmp_path / "official.pt"), head_channels=head_channels)
    converted = tmp_path / "official.safetensors"

    clip, out = shared / "clips" / "grid_bbaf2n.mpg", tmp_path / "out.mp4"
    report = dub(str(clip), str(second), str(out), str(converted), length="audio", steps=2, device="cpu")
    assert (report.frames, report.painted) == (25, 25)
    with av.open(str(out)) as film:
        assert film.duration / 1e6 == pytest.approx(1, abs=0.05)

    torch.save({"state_dict": weights("wav2lip_syncnet")}, tmp_path / "lipsync_expert.pth")
    write_corpus(tmp_path / "synthetic", speakers=4, clips=2, seconds=1.6, size=64, seed=0)
    model = load(converted)
    layout = [f"--model.unet.{key}={value}" for key, value in model.hparams.unet.items()]
    monkeypatch.chdir(tmp_path)

    def lightning(subcommand: str, *options: str) -> None:
        monkeypatch.setenv(cli.RUN, "")
        monkeypatch.delenv(cli.RUN)
        command = ["lightning", subcommand, "--config", str(EXPERIMENTS / "base.yaml")]
        command += ["--config", str(EXPERIMENTS / "official.yaml"), f"--model.size={model.size}", *layout]
        command += ["--data.root=synthetic", "--data.speakers=4", "--data.clips=2", "--data.seconds=1.6"]
        command += ["--data.track_size=64", "--data.batch_size=1", "--data.workers=0", "--data.val_windows=2"]
        command += ["--data.pair_frames=5", "--trainer.accelerator=cpu", "--trainer.devices=1", *options]
        monkeypatch.setattr(sys, "argv", command)
        try:
            cli.fit_main()
        finally:
            wandb.finish()

    # The authors' own file, as it is.
    quick = ("--model.sampling_steps=[1]", "--data.pair_clips=2", "--trainer.logger=false")
    lightning("test", f"--ckpt_path={tmp_path}/official.pt", *quick)
    scores = json.loads((tmp_path / "runs" / "official" / "test" / "metrics.json").read_text())
    assert scores["psnr_painted"] < scores["psnr_copy_reference"]  # its weights are drawn at random

    start = (f"--model.init_from={converted}", "--model.warmup=0", "--test_after_fit=false")
    start += ("--model.loss_weights.lpips=0", "--model.loss_weights.mesh=0.25")  # no download
    expert = ("--model.expert=lipsync_expert.pth", "--model.expert_bar=0", "--model.schedule={sync: [0, 0]}")
    steps = ("--trainer.max_steps=2", "--trainer.val_check_interval=2", "--trainer.log_every_n_steps=1")
    lightning("fit", *start, *expert, *steps, "--name=onward")
    trained = torch.load(tmp_path / "runs" / "onward" / "checkpoints" / "last.ckpt", weights_only=True)
    assert trained["global_step"] == 2
    raw = trained["raw_weights"]
    moved = [(raw[f"unet.{key}"] - value).abs().max() for key, value in model.unet.state_dict().items()]
    # AdamW moves every weight by about the learning rate a step: training went on from the official ones.
    assert 1e-5 < max(moved) < 1e-3
    history = (tmp_path / "runs" / "onward" / "metrics.csv").read_text()
    assert "train/sync" in history


def test_syncnet_v2_judges_a_real_clip(
    shared: Path, weights: Callable[[str], dict[str, Tensor]], tmp_path: Path
) -> None:
    torch.save(weights("syncnet_v2"), tmp_path / "syncnet_v2.model", _use_new_zipfile_serialization=False)
    clip = str(shared / "clips" / "grid_bbaf2n.mpg")
    with av.open(clip) as film:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])[:20]
    decode_to_wav(clip, str(tmp_path / "own.wav"))
    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2) / 127.5 - 1
    sound = torch.from_numpy(np.array(map_wav(str(tmp_path / "own.wav"))))
    verdict = evaluate(load(tmp_path / "syncnet_v2.model"), pictures, sound)
    # The weights are drawn at random, so only the shape of the verdict means something.
    assert verdict.confidence.shape == (15,)
    assert verdict.distances.isfinite().all()
    assert verdict.lse_c >= 0
    assert abs(verdict.offset) <= 15
