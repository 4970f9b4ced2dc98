"""`lightning fit` from a bare machine to a run folder, and exact resumption, on a corpus of seconds."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import av
import pytest
import torch
import wandb

from lipsync import Diff2Lip, cli, load
from lipsync.checkpoints import load_expert, part
from lipsync.corpora.puppet.write import write_corpus
from lipsync.exports import export

ROOT = Path(__file__).resolve().parents[1]
RECIPE = {"speakers": 4, "clips": 2, "seconds": 1.6, "size": 64}
NETWORK = [
    "--model.size=32",
    "--model.unet.channels=8",
    "--model.unet.groups=4",
    "--model.unet.head_channels=8",
    "--model.unet.audio_channels=[8,8]",
    "--model.schedule={sync: [0, 2], mesh: [1, 1], gan: [2, 1]}",
    "--model.sampling_steps=[2,1]",
]
SMALL = [
    "--data.speakers=4",
    "--data.clips=2",
    "--data.seconds=1.6",
    "--data.track_size=64",
    "--data.batch_size=2",
    "--data.workers=0",
    "--data.val_windows=4",
    "--data.pair_frames=30",
    "--trainer.accelerator=cpu",
    "--trainer.devices=1",
    "--trainer.val_check_interval=2",
    "--trainer.log_every_n_steps=1",
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus") / "synthetic"
    write_corpus(root, **RECIPE, seed=0)
    return root


def lightning(
    subcommand: str, folder: Path, corpus: Path, *arguments: str, network: Sequence[str] = tuple(NETWORK)
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(cli.RUN, "")
        patch.delenv(cli.RUN)
        base = ["--config", str(ROOT / "experiments" / "base.yaml"), f"--data.root={corpus}"]
        patch.setattr(sys, "argv", ["lightning", subcommand, *base, *network, *SMALL, *arguments])
        try:
            cli.fit_main()
        finally:
            wandb.finish()


def test_fit_leaves_a_whole_run_folder(tmp_path: Path, corpus: Path, capsys) -> None:
    lightning("fit", tmp_path, corpus, "--trainer.max_steps=3")
    run = tmp_path / "runs" / "base"
    assert capsys.readouterr().out.splitlines()[-1] == "Run folder: runs/base"

    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["step"] == 3
    for name in ("opening_correlation", "opening_correlation_worst", "opening_correlation_pooled"):
        assert -1 <= metrics[name] <= 1
        assert metrics[f"2_steps/{name}"] == metrics[name]
        assert f"1_steps/{name}" in metrics
    assert metrics["psnr_gain"] == pytest.approx(metrics["psnr_painted"] - metrics["psnr_copy_reference"], abs=1e-4)
    assert {"config.yaml", "metrics.csv", "metrics.json", "wandb", "checkpoints", "samples"} <= {
        path.name for path in run.iterdir()
    }
    assert (run / "samples" / "step_0000002.png").stat().st_size > 1000
    with av.open(str(run / "samples" / "step_0000002.mp4")) as film:
        assert film.streams.video[0].frames % 25 == 0
        assert film.streams.audio[0].sample_rate == 16000
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 3
    assert not [key for key in last["state_dict"] if key.startswith("expert")]
    loaded = Diff2Lip.load_from_checkpoint(run / "checkpoints" / "last.ckpt", weights_only=True)
    for name, tensor in load(run / "checkpoints" / "last.ckpt").state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])
        assert torch.equal(tensor, last["state_dict"][name])

    # Testing needs no discriminator: a config without one will do.
    lightning("test", tmp_path, corpus, "--ckpt_path=last", "--trainer.logger=false", "--model.loss_weights.gan=0")
    again = json.loads((run / "test" / "metrics.json").read_text())
    for name in ("opening_correlation", "psnr_painted", "1_steps/grain_ratio"):
        assert again[name] == pytest.approx(metrics[name], abs=1e-5)
    assert json.loads((run / "metrics.json").read_text()) == metrics


def test_another_network_is_one_line(tmp_path: Path, corpus: Path, capsys) -> None:
    lightning("fit", tmp_path, corpus, "--test_after_fit=false", "--model.expert=null", "--trainer.max_steps=1")
    with pytest.raises(SystemExit) as stopped:
        lightning("test", tmp_path, corpus, "--ckpt_path=last", "--trainer.logger=false", "--model.unet.channels=16")
    assert stopped.value.code == 2
    assert "of another Diff2Lip than the one configured (unet." in capsys.readouterr().err.splitlines()[-1]


def test_a_run_starts_from_weights_that_its_resumption_does_not_need(tmp_path: Path, corpus: Path) -> None:
    quick = ("--test_after_fit=false", "--model.expert=null", "--name=one")
    lightning("fit", tmp_path, corpus, *quick, "--trainer.max_steps=1")
    export(str(tmp_path / "runs" / "one" / "checkpoints" / "last.ckpt"), str(tmp_path / "one.safetensors"))
    start = load(tmp_path / "one.safetensors").state_dict()

    # No step is taken when the learning rate is 0: what is saved, average and all, is what training started from.
    quick = ("--test_after_fit=false", "--model.expert=null", "--name=two", "--model.lr=0")
    lightning("fit", tmp_path, corpus, *quick, f"--model.init_from={tmp_path}/one.safetensors", "--trainer.max_steps=1")
    last = torch.load(tmp_path / "runs" / "two" / "checkpoints" / "last.ckpt", weights_only=True)
    for name, tensor in part(start, "unet.").items():
        torch.testing.assert_close(last["state_dict"][name], tensor, atol=1e-6, rtol=1e-6)

    (tmp_path / "one.safetensors").unlink()
    gone = f"--model.init_from={tmp_path}/one.safetensors"
    lightning("fit", tmp_path, corpus, *quick, gone, "--trainer.max_steps=2", "--ckpt_path=last")
    assert torch.load(tmp_path / "runs" / "two" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2


def test_a_resumed_run_is_bitwise_the_uninterrupted_one(tmp_path: Path, corpus: Path, capsys) -> None:
    # The learning rate's fall depends on max_steps; without it four steps are the first four of six.
    quick = ("--model.decay=0", "--test_after_fit=false", "--model.expert=null")
    lightning("fit", tmp_path, corpus, *quick, "--name=straight", "--trainer.max_steps=6")
    lightning("fit", tmp_path, corpus, *quick, "--name=cut", "--trainer.max_steps=4")
    lightning("fit", tmp_path, corpus, *quick, "--name=cut", "--trainer.max_steps=6", "--ckpt_path=last")
    assert not (tmp_path / "runs" / "cut-2").exists()
    rows = {name: (tmp_path / "runs" / "cut" / f"{name}.csv").read_text() for name in ("metrics-1", "metrics")}
    assert ",3," in rows["metrics-1"]
    assert ",5," in rows["metrics"]

    straight, cut = (
        torch.load(tmp_path / "runs" / name / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("straight", "cut")
    )
    assert straight["global_step"] == cut["global_step"] == 6
    assert "Resumed with another trainer.max_steps: 6, it was 4" in capsys.readouterr().out
    names = {path.name.rsplit("-", 1)[1] for path in (tmp_path / "runs" / "cut" / "wandb").glob("offline-run-*")}
    assert len(names) == 1  # to wandb it is one run
    for kept in ("state_dict", "raw_weights"):
        for name, tensor in straight[kept].items():
            assert torch.equal(tensor, cut[kept][name]), name


def test_a_rate_on_the_command_line_wins_over_the_checkpoint(tmp_path: Path, corpus: Path, capsys) -> None:
    quick = ("--model.decay=0", "--model.warmup=0", "--test_after_fit=false", "--model.expert=null", "--name=rate")
    lightning("fit", tmp_path, corpus, *quick, "--trainer.max_steps=2")
    lightning("fit", tmp_path, corpus, *quick, "--trainer.max_steps=3", "--model.lr=0.25", "--ckpt_path=last")
    told = capsys.readouterr().out
    assert "Resumed with another model.lr: 0.25, it was 0.0015" in told
    assert "another model.size" not in told
    last = torch.load(tmp_path / "runs" / "rate" / "checkpoints" / "last.ckpt", weights_only=True)
    unet, discriminator = last["optimizer_states"][0]["param_groups"]
    assert (unet["lr"], unet["name"]) == (0.25, "unet")
    assert discriminator["lr"] == pytest.approx(1e-3)
    assert last["hyper_parameters"]["lr"] == 0.25


def test_an_expert_is_trained_measured_and_asked_what_it_knows(tmp_path: Path, corpus: Path, capsys) -> None:
    network = ["--config", str(ROOT / "experiments" / "syncnet.yaml")]
    network += ["--model.syncnet={width: 8, face_size: [16, 32], embedding: 16}", "--data.size=32"]
    lightning("fit", tmp_path, corpus, "--trainer.max_steps=2", "--data.run=2", network=network)
    run = tmp_path / "runs" / "syncnet"
    metrics = json.loads((run / "metrics.json").read_text())
    for name in ("accuracy", "accuracy_all", "auc", "offset_recall", "val/accuracy"):
        assert 0 <= metrics[name] <= 1
    assert -15 <= metrics["offset"] <= 15
    assert (run / "offset_curve.svg").read_text().startswith("<svg")
    faults = (run / "diagnosis.txt").read_text()
    assert "too few clips" in faults
    expert = run / "checkpoints" / "last.ckpt"
    assert load_expert(str(expert)).syncnet.face_size == (16, 32)

    # Two steps teach it nothing, and Diff2Lip does not believe it.
    capsys.readouterr()
    with pytest.raises(SystemExit):
        lightning("fit", tmp_path, corpus, "--trainer.max_steps=1", f"--model.expert={expert}")
    assert "of this corpus's windows, fewer than 75%: train one on it" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "base" / "checkpoints").exists()
    quick = ("--test_after_fit=false", "--trainer.max_steps=1", "--name=told")
    lightning("fit", tmp_path, corpus, *quick, f"--model.expert={expert}", "--model.expert_bar=0")
    assert (tmp_path / "runs" / "told" / "checkpoints" / "last.ckpt").exists()
