"""Every file of experiments/ takes one step, its networks made small, on one tiny corpus."""

import csv
import json
import math
import sys
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from lipsync import cli
from lipsync.corpora.puppet.write import write_corpus

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
# What a file's first lines say it is given after.
AFTER = {
    "hires": ["official"],
    "lrs2": ["official"],
    "lrw": ["official"],
    "voxceleb2": ["official"],
    "finetune": ["folder"],
}
TRAINED = sorted(
    path.relative_to(EXPERIMENTS).with_suffix("").as_posix()
    for path in EXPERIMENTS.glob("**/*.yaml")
    if path.parent.name != "sweeps" and path.stem not in ("evaluate", "profile")
)
SMALL = """
seed_everything: 0
test_after_fit: false
data:
  init_args: {batch_size: 4, workers: 0, val_windows: 4, pair_frames: 30, pair_clips: 2}
trainer:
  accelerator: cpu
  devices: 1
  max_steps: 1
  val_check_interval: 1000
  log_every_n_steps: 1
  logger: {class_path: lipsync.history.History, init_args: {save_dir: "${trainer.default_root_dir}"}}
"""
DIFF2LIP = [  # all terms count from the first step, and none asks for a download
    "--model.size=32",
    "--model.unet.channels=8",
    "--model.unet.channel_mult=[1,2]",
    "--model.unet.num_res_blocks=1",
    "--model.unet.attention_resolutions=[8]",
    "--model.unet.head_channels=8",
    "--model.unet.groups=4",
    "--model.unet.audio_channels=[8,8]",
    "--model.unet.audio_blocks=1",
    "--model.discriminator.channels=4",
    "--model.discriminator.layers=2",
    "--model.schedule={sync: [0, 0], mesh: [0, 0], gan: [0, 0]}",
    "--model.loss_weights.lpips=0",
    "--model.expert_bar=0",
    "--model.warmup=0",
]
EXPERT = ["--model.syncnet={width: 8, face_size: [16, 32], embedding: 16}", "--data.size=32"]
SYNTHETIC = ["--data.speakers=4", "--data.clips=2", "--data.seconds=1.6", "--data.track_size=64"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus") / "synthetic"
    write_corpus(root, speakers=4, clips=2, seconds=1.6, size=64, seed=0)
    return root


def lightning(subcommand: str, folder: Path, *arguments: str) -> None:
    """Runs `lightning` in this process, in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(cli.RUN, "")
        patch.delenv(cli.RUN)
        patch.setattr(sys, "argv", ["lightning", subcommand, *arguments])
        cli.fit_main()


def composed(name: str) -> list[Path]:
    """The files that an experiment consists of."""
    return [EXPERIMENTS / f"{each}.yaml" for each in dict.fromkeys(["base", *AFTER.get(name, []), name])]


def small(name: str, corpus: Path, folder: Path) -> list[str]:
    """The arguments that make an experiment small."""
    (folder / "small.yaml").write_text(SMALL)
    files = composed(name)
    arguments = [f"--config={path}" for path in [*files, folder / "small.yaml"]]
    own = yaml.safe_load(files[-1].read_text())
    kind = [yaml.safe_load(path.read_text()).get("data", {}).get("class_path") for path in files]
    arguments += SYNTHETIC if [each for each in kind if each] == ["Synthetic"] else []
    arguments += EXPERT if name == "syncnet" else DIFF2LIP
    if "filters" in own.get("data", {}).get("init_args", {}):
        arguments.append("--data.filters=null")  # this corpus was not measured
    return [*arguments, f"--data.root={corpus}"]


@pytest.mark.parametrize("name", TRAINED)
def test_every_experiment_takes_a_step(name: str, corpus: Path, tmp_path: Path) -> None:
    # One corpus for all of them, cut as most are.
    own = ["--model.crop_rule=square"] * (name == "voxceleb2")
    weights = ["--model.init_from=null"] * (name == "finetune")
    lightning("fit", tmp_path, *small(name, corpus, tmp_path), *own, *weights)
    run = tmp_path / "runs" / Path(name).name
    with (run / "metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert len(losses) == 1
    assert math.isfinite(losses[0])
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 1


@pytest.mark.parametrize("name", [name for name in TRAINED if name != "syncnet"])
def test_where_noise_is_predicted_no_few_steps_are_asked_for(name: str) -> None:
    config = OmegaConf.merge(*map(OmegaConf.load, composed(name)))
    model = config.model.init_args
    callbacks = {each.class_path.split(".")[-1]: each.get("init_args", {}) for each in config.trainer.callbacks}
    steps = {name: arguments.get("steps") for name, arguments in callbacks.items()}
    for shown in ("Samples", "SyncValidation"):
        assert model.prediction == "x_0" or (steps[shown] or model.sampling_steps[0]) >= 25


def test_evaluate_judges_and_finetune_starts_from_a_checkpoint(corpus: Path, tmp_path: Path) -> None:
    lightning("fit", tmp_path, *small("base", corpus, tmp_path))
    last = tmp_path / "runs" / "base" / "checkpoints" / "last.ckpt"
    lightning("fit", tmp_path, *small("finetune", corpus, tmp_path), f"--model.init_from={last}")
    assert (tmp_path / "runs" / "finetune" / "checkpoints" / "last.ckpt").is_file()
    quick = ["--model.sampling_steps=[1]", "--data.pair_clips=2", "--data.pair_frames=25"]
    lightning("test", tmp_path, *small("evaluate", corpus, tmp_path), "--ckpt_path=last", *quick)
    results = json.loads((tmp_path / "runs" / "base" / "test" / "results.json").read_text())
    assert {"truth", "reconstruction", "cross", "silence"} <= results["summary"].keys()


def test_profile_leaves_traces_and_a_table(corpus: Path, tmp_path: Path) -> None:
    # Traces begin with the third step.
    lightning("fit", tmp_path, *small("profile", corpus, tmp_path), "--trainer.max_steps=6")
    run = tmp_path / "runs" / "profile"
    assert "Self CPU" in (run / "fit-profile.txt").read_text()
    (trace, *_) = run.glob("*.pt.trace.json")
    assert "training_step" in trace.read_text()
