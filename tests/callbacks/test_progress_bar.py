"""The loss in the bar is read at every tenth step only."""

from types import SimpleNamespace

import pytest
from lightning.pytorch.callbacks import RichProgressBar

from lipsync.callbacks import ProgressBar


def test_the_loss_is_read_at_every_tenth_step(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(
        RichProgressBar, "get_metrics", lambda self, trainer, _: read.append(trainer.global_step) or {"loss": read[-1]}
    )
    bar, shown = ProgressBar(), []
    for step in range(25):
        shown.append(bar.get_metrics(SimpleNamespace(global_step=step, training=True), None)["loss"])
    assert shown == [0] * 10 + [10] * 10 + [20] * 5
    assert read == [0, 10, 20]
    assert bar.get_metrics(SimpleNamespace(global_step=25, training=False), None)["loss"] == 25
