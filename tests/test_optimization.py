"""A few steps of Diff2Lip under a real Trainer: what moves and what rests, how far, and what is logged of it."""

import csv
from pathlib import Path

import pytest
import torch
from lightning import LightningDataModule, Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy
from oracle import ALONE, tiny, windows
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lipsync import Diff2Lip, LipsyncError
from lipsync.history import History
from lipsync.safekeeping import NonFinite

CRITIC = {"channels": 4, "layers": 2}


class Batches(LightningDataModule):
    """The same windows again and again; of the steps named, with pixels that are no number."""

    def __init__(self, broken: tuple[int, ...] = ()) -> None:
        super().__init__()
        torch.manual_seed(0)
        good = windows() | {"clip": torch.arange(2)}
        bad = good | {"frames": good["frames"] * torch.nan}
        self.batches = [bad if step in broken else good for step in range(10)]

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None)

    val_dataloader = train_dataloader  # or Lightning warns

    def clip_names(self, clips: Tensor) -> list[str]:
        return [f"clip{n}" for n in clips.tolist()]


def train(folder: Path, model: Diff2Lip, steps: int, *broken: int, every: int = 1) -> Trainer:
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_steps=steps,
        callbacks=[NonFinite()],
        logger=History(str(folder)),
        log_every_n_steps=every,
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=Batches(broken))
    return trainer


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def moved(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


def test_a_discriminator_that_starts_late_rests_until_then(tmp_path: Path) -> None:
    how = {"loss_weights": ALONE | {"simple": 1.0, "gan": 1.0}, "schedule": {"gan": [2, 0]}, "discriminator": CRITIC}
    model = tiny(**how, prediction="x_0", warmup=0, weight_decay=0.1)
    before = state(model.discriminator)
    trainer = train(tmp_path, model, 2)
    known = trainer.optimizers[0].state
    assert moved(before, model.discriminator) == set()
    assert not [weight for weight in model.discriminator.parameters() if weight in known]
    assert known[model.unet.out[-1].weight]["step"] == 2

    model = tiny(**how, prediction="x_0", warmup=0)
    before = state(model.discriminator)
    known = train(tmp_path, model, 3).optimizers[0].state
    assert {known[weight]["step"].item() for weight in model.discriminator.parameters()} == {1}
    assert len(moved(before, model.discriminator)) >= len(list(model.discriminator.parameters()))


def test_each_network_is_clipped_by_its_own_norm() -> None:
    model, weights = tiny(), [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [weight]} for weight in weights], lr=1.0)

    def clipped(*how: object) -> list[list[float]]:
        for weight, slope in zip(weights, ([30.0, 40.0], [0.3, 0.4]), strict=True):
            weight.grad = torch.tensor(slope)
        model.configure_gradient_clipping(optimizer, *how)
        return [weight.grad.tolist() for weight in weights]

    assert clipped(1.0) == [pytest.approx([0.6, 0.8]), pytest.approx([0.3, 0.4])]
    assert clipped(0.35, "value") == [pytest.approx([0.35, 0.35]), pytest.approx([0.3, 0.35])]
    assert clipped(None) == [pytest.approx([30, 40]), pytest.approx([0.3, 0.4])]


def test_every_terms_gradient_at_the_last_layer_is_logged_now_and_then(tmp_path: Path) -> None:
    weights = ALONE | {"simple": 2.0, "l2": 0.5, "gan": 0.1}
    model = tiny(loss_weights=weights, schedule={"gan": [0, 0]}, discriminator=CRITIC, gradients_every=2)
    nn.init.normal_(model.unet.out[-1].weight, std=0.02)
    batch, last = windows(), model.unet.out[-1].weight
    terms = model.objective(batch, weights)
    found = model.gradients({name: weights[name] * terms[name] for name in ("simple", "l2", "gan")})
    for name in ("simple", "l2", "gan"):
        (slope,) = torch.autograd.grad(weights[name] * terms[name], last, retain_graph=True)
        assert found[f"gradient/{name}"].item() == pytest.approx(slope.norm().item())
    (together,) = torch.autograd.grad(terms["loss"], last)
    assert together.norm() <= sum(found.values())

    train(tmp_path, model, 4)
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("simple", "l2", "gan"):
        first, then, *later = (float(row[f"gradient/{name}"]) for row in rows)
        assert first == then != later[0] == later[1]  # in between the last one stands
    accuracies = [float(row["train/discriminator_accuracy"]) for row in rows]
    assert len(accuracies) == 4
    assert all(0 <= accuracy <= 1 for accuracy in accuracies)


def test_processes_wait_for_each_others_terms_only_where_these_are_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean of all: of another process, a stand-in, whose terms are all larger by 1."""
    asked = []

    def reduce(self: object, means: Tensor, reduce_op: str) -> Tensor:
        if reduce_op != "mean":  # Lightning's own
            return means
        asked.append(len(means))
        return means + 0.5

    alone, both = (tiny(loss_weights=ALONE | {"simple": 1.0}, gradients_every=0, prediction="x_0") for _ in range(2))
    both.load_state_dict(alone.state_dict())
    train(tmp_path / "alone", alone, 6)
    monkeypatch.setattr(SingleDeviceStrategy, "reduce", reduce)
    train(tmp_path / "both", both, 6, every=3)
    assert len(asked) == 2
    found = []
    for name in ("alone", "both"):
        with (tmp_path / name / "metrics.csv").open() as file:
            found.append({int(row["step"]): float(row["train/simple"]) for row in csv.DictReader(file)})
    assert found[1] == {step: pytest.approx(found[0][step] + 0.5) for step in (2, 5)}


def test_frozen_layers_stay_as_they_are(tmp_path: Path) -> None:
    frozen = ("out.", "time_embed", "input_blocks.0")
    model = tiny(frozen=frozen, warmup=0, weight_decay=0.1)
    nn.init.normal_(model.unet.out[-1].weight, std=0.02)
    before = state(model.unet)
    train(tmp_path, model, 2)
    still = {name for name in before if name.startswith(frozen)}
    assert len(still) == 10
    assert moved(before, model.unet).isdisjoint(still)
    assert len(moved(before, model.unet)) > len(before) / 2
    with (tmp_path / "metrics.csv").open() as file:
        measured = [name for name in file.readline().strip().split(",") if name.startswith("gradient/")]
    assert measured == ["gradient/total"]  # a last layer that is frozen has none for each term


def test_a_term_that_is_off_asks_for_no_file(tmp_path: Path) -> None:
    nowhere = {"expert": "nowhere.ckpt", "lpips_weights": "nowhere.pth"}
    trainer = train(tmp_path / "off", tiny(**nowhere, loss_weights=ALONE | {"simple": 1.0}), 1)
    assert trainer.global_step == 1
    for name in ("sync", "lpips"):
        with pytest.raises(LipsyncError, match=r"^nowhere"):
            train(tmp_path / name, tiny(**nowhere, loss_weights=ALONE | {"simple": 1.0, name: 1.0}), 1)


def test_a_step_that_is_not_finite_moves_nothing_at_all(tmp_path: Path) -> None:
    weights = ALONE | {"simple": 1.0, "gan": 1.0}
    how = {"loss_weights": weights, "schedule": {"gan": [0, 0]}, "discriminator": CRITIC, "warmup": 0}
    torch.manual_seed(1)
    model = tiny(**how)
    start = state(model)
    train(tmp_path / "good", model, 1)
    after_one = state(model)
    assert moved(start, model) >= {"discriminator.network.patches.0.parametrizations.weight.0._u", "unet.out.2.weight"}

    torch.manual_seed(1)
    again = tiny(**how)
    trainer = train(tmp_path / "bad", again, 3, 1, 2)
    assert trainer.global_step == 3
    assert moved(after_one, again) == set()
