"""The learning rate at the points where its course bends."""

import pytest
import torch

from lipsync.learning_rate import warm_up_then_decay


def course(warmup: int, decay: float, steps: int, length: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    scheduler = warm_up_then_decay(optimizer, warmup, decay, steps)["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(length):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_it_rises_stays_and_falls_to_zero() -> None:
    rates = course(warmup=4, decay=0.5, steps=20, length=20)
    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert rates[5:11] == pytest.approx([2.0] * 6)
    assert rates[15] == pytest.approx(1.0)
    assert rates[19] == pytest.approx(0.2)


@pytest.mark.parametrize(("decay", "steps"), [(0.0, 20), (0.5, -1)])
def test_without_an_end_it_stays(decay: float, steps: int) -> None:
    assert course(warmup=0, decay=decay, steps=steps, length=30) == [2.0] * 30
