"""The objective with networks whose answer is known, and its randomness."""

import math
from collections.abc import Callable

import pytest
import torch
from oracle import ALONE, Oracle, small_heads, terms_of, tiny, windows
from torch import Tensor, nn

from lipsync.expert import FrozenExpert
from lipsync.networks.syncnet import SyncNet


@pytest.mark.parametrize("prediction", ["eps", "v", "x_0"])
def test_a_perfect_network_has_no_loss(prediction: str) -> None:
    batch, model = windows(), tiny(prediction=prediction)
    x_0 = batch["frames"].flatten(0, 1)

    def answer(x_t: Tensor, t: Tensor) -> Tensor:
        eps = model.diffusion.eps(x_0, x_t, t)
        return {"eps": eps, "v": model.diffusion.v(x_0, t, eps), "x_0": x_0}[prediction]

    model.unet = Oracle(answer)
    terms = terms_of(model, batch)
    assert terms["simple"] < 1e-6
    assert terms["l2"] < 1e-6


def test_a_constant_error_is_counted_on_the_painted_half_only() -> None:
    batch, model = windows(), tiny(prediction="x_0", loss_weights=ALONE | {"simple": 1.0, "l2": 2.0})
    x_0 = batch["frames"].flatten(0, 1) * 0.5
    batch["frames"] = batch["frames"] * 0.5
    error = torch.where(model.mask > 0, 0.3, 7.0)
    model.unet = Oracle(lambda x_t, t: x_0 + error)
    terms = terms_of(model, batch)
    assert terms["simple"].item() == pytest.approx(0.09, rel=1e-4)
    assert terms["l2"].item() == pytest.approx(0.09, rel=1e-4)
    assert terms["loss"].item() == pytest.approx(0.09 + 2 * 0.09, rel=1e-4)


def test_the_noise_in_masked_is_not_eps() -> None:
    """Sharing them would hand the network its target: the loss would fall and nothing be learned."""
    batch, model = windows(count=8), tiny()
    model.unet = Oracle(lambda x_t, t: x_t)
    terms_of(model, batch)
    x_0, lower = batch["frames"].flatten(0, 1), model.mask.expand_as(model.unet.masked) > 0
    eps = model.diffusion.eps(x_0, model.unet.x_t, model.unet.t)[lower]
    hidden = model.unet.masked[lower]
    assert hidden.std().item() == pytest.approx(1, abs=0.02)
    assert abs(torch.corrcoef(torch.stack((eps, hidden)))[0, 1]) < 5 / len(eps) ** 0.5
    assert torch.equal(model.unet.masked[~lower], x_0[~lower])


def test_one_t_a_window_and_the_reference_is_never_the_answer() -> None:
    batch, model = windows(count=4), tiny()
    model.unet = Oracle(lambda x_t, t: x_t)
    terms_of(model, batch)
    t = model.unet.t.view(4, 5)
    assert (t == t[:, :1]).all()
    assert len(t[:, 0].unique()) > 1
    assert torch.equal(model.unet.reference.view(4, 5, 3, 32, 32)[:, 3], batch["reference"][:, 0])


def test_noise_follows_the_index_not_the_place_in_the_batch() -> None:
    batch, model = windows(count=3), tiny()
    swapped = {key: value[[2, 0, 1]] for key, value in batch.items()}
    alone = {key: value[1:2] for key, value in batch.items()}
    model.unet = Oracle(lambda x_t, t: x_t)
    seen = []
    for b in (batch, swapped, alone):
        terms_of(model, b)
        seen.append(model.unet.x_t.view(-1, 5, 3, 32, 32))
    assert torch.equal(seen[1], seen[0][[2, 0, 1]])
    assert torch.equal(seen[2], seen[0][1:2])


def test_dropped_sound_is_zero_for_the_whole_window() -> None:
    batch, model = windows(count=40), tiny(audio_dropout=0.5)
    model.unet = Oracle(lambda x_t, t: x_t)
    terms_of(model, batch)
    silent = (model.unet.mels.view(40, -1) == 0).all(dim=1)
    partly = (model.unet.mels.view(40, 5, -1) == 0).all(dim=2).any(dim=1)
    assert torch.equal(silent, partly)
    assert 10 < silent.sum() < 30


def test_the_expert_teaches_and_does_not_learn() -> None:
    batch, model = windows(), tiny(prediction="x_0", loss_weights=ALONE | {"sync": 1.0})
    model.expert = FrozenExpert(SyncNet(width=8, norm="batch"))
    model.train()
    before = {name: tensor.clone() for name, tensor in model.expert.named_buffers()}
    assert not list(model.expert.parameters())
    assert not [key for key in model.state_dict() if "expert" in key]
    assert not model.expert.syncnet.training

    head = model.unet.out[-1].weight
    nn.init.normal_(head, std=0.1)  # it starts at zero, where the clamped estimate is grey and the expert sees no mouth
    terms_of(model, batch)["loss"].backward()
    assert head.grad[: 3 * 4].abs().max() > 0
    assert head.grad[3 * 4 :].abs().max() == 0  # the variance's channels have no part in it
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.expert.named_buffers())


def test_thinned_windows_give_one_frame_and_whole_ones_all() -> None:
    batch, model = windows(count=6), tiny(whole_every=3, prediction="x_0")  # indices 11 to 16: 12 and 15 are whole
    model.train()
    model.unet = Oracle(lambda x_t, t: x_t)
    heard = []
    model.expert = lambda mel, frames: heard.append((mel, frames)) or (torch.ones(len(mel), 1),) * 2
    terms_of(model, batch)
    assert len(model.unet.t) == 2 * 5 + 4
    upper = model.unet.masked[..., :16, :]
    frames = batch["frames"][..., :16, :]
    assert torch.equal(upper[1:6], frames[1])
    assert torch.equal(upper[8:13], frames[4])
    assert any(torch.equal(upper[0], frame) for frame in frames[0])
    mel, seen = heard[0]
    assert torch.equal(mel, batch["mel"][[1, 4]])
    assert torch.equal(seen[..., :16, :], frames[[1, 4]])
    model.eval()
    terms_of(model, batch)
    assert len(model.unet.t) == 30  # validation looks at everything


class Ear(nn.Module):
    """An expert whose cosine is the mean of the lower half, brought to [0, 1]."""

    def forward(self, mel: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        cosine = (frames[..., 16:, :].mean(dim=(1, 2, 3, 4)) + 1) / 2
        return torch.stack((cosine, (1 - cosine**2).sqrt()), 1), torch.tensor([[1.0, 0.0]]).expand(len(mel), 2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [-math.log(0.5), -math.log(0.5)]),
        # Generated 0.5 against real 0.8 and 0.4: only the first falls behind.
        ({"sync_against_real": True}, [math.log(0.8 / 0.5), 0]),
        ({"sync_by_real": True}, [-0.8 * math.log(0.5), -0.4 * math.log(0.5)]),
        ({"sync_against_real": True, "sync_by_real": True}, [0.8 * math.log(0.8 / 0.5), 0]),
    ],
)
def test_the_experts_verdict_is_compared_with_that_on_real_frames(options: dict, expected: list[float]) -> None:
    model, batch = tiny(prediction="x_0", **options).eval(), windows()
    model.expert, model.unet = Ear(), Oracle(lambda x_t, t: torch.zeros_like(x_t))
    batch["frames"] = torch.tensor([0.6, -0.2]).view(2, 1, 1, 1, 1).expand(2, 5, 3, 32, 32)
    assert terms_of(model, batch)["sync"] == pytest.approx(sum(expected) / 2, rel=1e-4)


def test_a_term_that_does_not_count_is_not_computed() -> None:
    model = tiny(loss_weights={"simple": 1.0, "lpips": 0.0, "mesh": 1.0, "gan": 1.0}, discriminator={"channels": 4})
    asked = []

    def ask(name: str) -> Callable[..., Tensor]:
        def answer(fake: Tensor, *_: Tensor) -> Tensor:
            asked.append(name)
            return fake.flatten(1).mean(1, keepdim=name == "gan")

        return answer

    model.expert = lambda mel, frames: (ask("sync")(frames)[:, None],) * 2
    model.perceptual["mesh"] = nn.Module()
    model.perceptual["mesh"].forward = ask("mesh")
    model.discriminator.network.forward = ask("gan")
    early = model.objective(windows(), model.schedule.at(0))
    assert early.keys() == {"simple", "vb", "l2", "loss"}
    assert asked == []
    late = model.objective(windows(), model.schedule.at(None) | {"l2": 0.0})
    assert {"sync", "mesh", "gan", "discriminator"} <= late.keys()
    assert {"sync", "mesh", "gan"} == set(asked)
    assert tiny().discriminator is None


def test_a_window_has_one_say_whatever_it_shares_a_batch_with() -> None:
    """Halves of a batch, thinned as they are, average to the whole: what processes and accumulation rely on."""
    model = tiny(
        whole_every=3, prediction="x_0", loss_weights=ALONE | {"simple": 1.0, "vb": 1.0, "sync": 1.0, "gan": 1.0}
    )
    model = small_heads(model)
    model.expert = FrozenExpert(SyncNet(width=4, norm="group", face_size=(17, 32)).double())
    batch = {name: x.double() if x.is_floating_point() else x for name, x in windows(8).items()}
    together = terms_of(model, batch)
    halves = [terms_of(model, {name: x[part] for name, x in batch.items()}) for part in (slice(4), slice(4, 8))]
    for name, value in together.items():
        assert value.item() == pytest.approx(0.5 * (halves[0][name] + halves[1][name]).item(), rel=1e-12), name


def test_the_papers_literal_form_and_the_shared_noise() -> None:
    batch = windows(count=3)
    far = tiny(literal=True, timesteps=1000)
    far.unet = Oracle(lambda x_t, t: torch.zeros_like(x_t))
    guess = far.guess(batch)
    assert (guess.trust == 1).all()
    assert guess.estimate.abs().max() > 1  # x_t / sqrt(alpha_bar), not clamped
    assert tiny().guess(batch).estimate.abs().max() <= 1

    shared = tiny(share_noise=True)
    shared.unet = Oracle(lambda x_t, t: x_t)
    shared.guess(batch)
    eps = shared.diffusion.eps(batch["frames"].flatten(0, 1), shared.unet.x_t, shared.unet.t).view(3, 5, 3, 32, 32)
    torch.testing.assert_close(eps, eps[:, :1].expand_as(eps), atol=2e-3, rtol=0)
    assert (eps[0] - eps[1]).abs().max() > 1
