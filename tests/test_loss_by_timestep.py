"""Means in tenths of the diffusion, against means written out."""

import csv
from pathlib import Path

import pytest
import torch
from oracle import ALONE, tiny, windows
from test_optimization import train

from lipsync.loss_by_timestep import LossByTimestep


def test_means_are_of_each_tenth_and_empty_ones_are_left_out() -> None:
    by_timestep = LossByTimestep(1000)
    by_timestep.add(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([0, 99, 950]))
    by_timestep.add(torch.tensor([6.0, 4.0], dtype=torch.float64), torch.tensor([50, 999]))
    found = by_timestep.means(by_timestep.take())
    assert found == {"t000": pytest.approx(3), "t900": pytest.approx(5)}
    by_timestep.add(torch.tensor([7.0]), torch.tensor([500]))
    assert by_timestep.means(by_timestep.take()) == {"t500": 7}  # begun anew


def test_a_run_logs_it_and_its_mean_is_the_loss(tmp_path: Path) -> None:
    model = tiny(loss_weights=ALONE | {"simple": 1.0}, gradients_every=2)
    train(tmp_path, model, 2)
    with (tmp_path / "metrics.csv").open() as file:
        first, second = csv.DictReader(file)
    seen = [name for name in second if name.startswith("train/simple_t")]
    assert seen
    assert not any(first[name] for name in seen)
    values = [float(second[name]) for name in seen]
    assert min(values) <= (float(first["train/simple"]) + float(second["train/simple"])) / 2 <= max(values)
    # Validation leaves it alone.
    model.eval().objective(windows(), {"simple": 1.0})
    assert not model.by_timestep.gathered.any()
