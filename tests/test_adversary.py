"""Both sides' losses in closed form, what is shown to the discriminator, and R1."""

import math

import pytest
import torch
from torch import Tensor, nn

from lipsync.adversary import Adversary
from lipsync.errors import LipsyncError


class Mean(nn.Module):
    """A discriminator whose only logit is the window's mean, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def forward(self, windows: Tensor) -> Tensor:
        return self.factor * windows.mean(dim=(1, 2, 3, 4))[:, None, None, None]


def constant(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None, None, None, None].expand(-1, 5, 3, 4, 8).clone()


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    ("loss", "passing", "judging"),
    [
        # Logits 0.6 for the real window, -0.4 for the generated one.
        ("bce", softplus(0.4), 0.5 * (softplus(-0.6) + softplus(-0.4))),
        ("hinge", 0.4, 0.5 * (0.4 + 0.6)),
        ("least_squares", 1.4**2, 0.5 * (0.4**2 + 0.6**2)),
    ],
)
def test_losses_in_closed_form(loss: str, passing: float, judging: float) -> None:
    adversary = Adversary(loss, channels=2, layers=1)
    adversary.network = Mean()
    fake = constant(-0.2).requires_grad_()
    own = adversary.passing(fake)
    assert own.item() == pytest.approx(passing)
    own.sum().backward()
    assert adversary.network.factor.grad is None  # a generator that moved the discriminator would cheat
    assert fake.grad.abs().min() > 0

    fake.grad = None
    theirs, right = adversary.judging(constant(0.3), fake)
    assert theirs.item() == pytest.approx(judging)
    assert right.item() == 1
    theirs.sum().backward()
    assert fake.grad is None
    assert adversary.network.factor.grad.abs() > 0


def test_r1_is_half_the_squared_slope_at_real_windows() -> None:
    plain, penalised = (Adversary(r1=r1, channels=2, layers=1) for r1 in (0.0, 3.0))
    plain.network = penalised.network = Mean()
    pair = constant(0.3), constant(-0.2)
    extra = penalised.judging(*pair)[0] - plain.judging(*pair)[0]
    pixels = 5 * 3 * 4 * 8
    assert extra.item() == pytest.approx(0.5 * 3.0 * pixels * (2.0 / pixels) ** 2)


def test_the_lower_half_or_the_whole_is_shown_and_both_sides_are_augmented_alike() -> None:
    windows, index = torch.rand(3, 5, 3, 16, 16) * 2 - 1, torch.tensor([4, 9, 2])
    assert torch.equal(Adversary(channels=2).view(windows, 0, index), windows[..., 8:, :])
    assert torch.equal(Adversary(region="whole", channels=2).view(windows, 0, index), windows)

    adversary = Adversary(augment=0.2, channels=2)
    seen = adversary.view(windows, 0, index)
    assert seen.shape == (3, 5, 3, 8, 16)
    assert (seen - windows[..., 8:, :]).abs().max() > 0.1
    assert torch.equal(seen, adversary.view(windows, 0, index))
    torch.testing.assert_close(adversary.view(windows[[2, 0]], 0, index[[2, 0]]), seen[[2, 0]])
    # Frames and channels of a window move together, and brightness is added.
    flat = torch.full((1, 5, 3, 16, 16), 0.25)
    shown = adversary.view(flat, 0, index[:1])
    assert shown.std() < 1e-6
    assert 0 < abs(shown.mean().item() - 0.25) <= 0.2


@pytest.mark.parametrize("arguments", [{"loss": "wgan"}, {"region": "upper"}])
def test_unknown_choices_are_named(arguments: dict) -> None:
    with pytest.raises(LipsyncError, match=r"wgan|upper"):
        Adversary(**arguments)
