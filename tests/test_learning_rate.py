"""The learning rate at the points where its course bends."""

import pytest
import torch

from lipsync.learning_rate import obey, warm_up_then_decay


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


def test_a_later_group_rests_and_then_warms_up() -> None:
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in (2.0, 6.0)]
    optimizer = torch.optim.SGD(groups)
    scheduler = warm_up_then_decay(optimizer, 2, 0.0, -1, starts=(0, 3))["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(7):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert [rate for rate, _ in rates] == pytest.approx([2 / 3, 4 / 3, 2, 2, 2, 2, 2])
    assert [rate for _, rate in rates] == pytest.approx([0, 0, 0, 2, 4, 6, 6])


def test_the_config_wins_over_the_checkpoint() -> None:
    def build(lr: float) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=lr, weight_decay=0.1)
        return optimizer, warm_up_then_decay(optimizer, 4, 0.0, -1)["lr_scheduler"]["scheduler"]

    old, old_course = build(1.0)
    for _ in range(2):
        old.step()
        old_course.step()
    new, course = build(0.5)
    new.load_state_dict(old.state_dict())
    course.load_state_dict(old_course.state_dict())
    assert new.param_groups[0]["lr"] == pytest.approx(3 / 5)  # the trap: the checkpoint's rate
    obey(new, course, [0.5], 0.0)
    assert new.param_groups[0]["lr"] == pytest.approx(0.5 * 3 / 5)
    assert new.param_groups[0]["weight_decay"] == 0
    new.step()
    course.step()
    assert new.param_groups[0]["lr"] == pytest.approx(0.5 * 4 / 5)
