"""Samplers against the original's trajectories and against the exact answers for Gaussian data."""

import math
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from lipsync.corpora.crop import mask
from lipsync.diffusion import Diffusion
from lipsync.samplers import Denoiser, course, ddim, ddim_step, ddpm, ddpm_step, dpmpp_2m, guided, named


def test_single_steps(reference):
    numbers, diffusion = reference("diffusion"), Diffusion()
    t, x_t = numbers["t"], numbers["x_t"]
    estimate = diffusion.x_0(numbers["model_output"][:, :3], x_t, t).clamp(-1, 1)
    for eta, noise in ((0.0, None), (1.0, numbers["step_noise"])):
        step = ddim_step(estimate, x_t, t, diffusion, eta, noise)
        torch.testing.assert_close(step, numbers[f"ddim_eta{eta:.0f}"], atol=1e-4, rtol=0)
    step = ddpm_step(estimate, numbers["model_output"][:, 3:], x_t, t, diffusion, numbers["step_noise"])
    torch.testing.assert_close(step, numbers["p_sample"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("clip", [True, False])
def test_toy_trajectory(reference, clip):
    numbers, diffusion = reference("diffusion"), Diffusion()
    states = []

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        eps = torch.tanh(0.7 * x_t) + 0.1 * torch.sin(0.01 * t.view(-1, 1, 1, 1))
        return diffusion.x_0(eps, x_t, t), None

    final = ddim(denoise, numbers["toy_x_T"], diffusion, clip=clip, watch=lambda *state: states.append(state))
    assert [place for place, _, _ in states] == list(range(25))
    if clip:
        trajectory = torch.stack([x_t for _, _, x_t in states])
        torch.testing.assert_close(trajectory, numbers["toy_trajectory"], atol=1e-4, rtol=0)
    else:
        torch.testing.assert_close(final, numbers["toy_noclip_final"], atol=1e-4, rtol=1e-5)
    assert torch.equal(final, states[-1][2])


@pytest.mark.parametrize("clip", [True, False])
def test_network_trajectory(unet_64, reference, clip):
    numbers, diffusion = reference("ddim25_64"), Diffusion()
    images, references = numbers["image_u8"] / 255 * 2 - 1, numbers["ref_u8"] / 255 * 2 - 1
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(noise, numbers["init_noise"], atol=0, rtol=0)
    x_T = noise.expand_as(images)
    torch.testing.assert_close(mask(64), numbers["mask"])
    masked = torch.where(mask(64) > 0, x_T, images)
    torch.testing.assert_close(masked, numbers["cond_img"], atol=1e-6, rtol=0)
    audio = unet_64.embed_audio(numbers["indiv_mels"])
    told, states, outputs = [], [], []

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        output = unet_64.denoise(x_t, t, masked, references, audio)
        told.append(t[0].item())
        outputs.append(output)
        return diffusion.x_0(output[:, :3], x_t, t), output[:, 3:]

    final = ddim(denoise, x_T, diffusion, clip=clip, watch=lambda *state: states.append(state))
    assert told == numbers["timestep_map"].flip(0).tolist()
    if not clip:
        torch.testing.assert_close(final, numbers["final_noclip"], atol=5e-3, rtol=0)
        return
    torch.testing.assert_close(outputs[0][:1], numbers["model_out_first"], atol=1e-4, rtol=0)
    kept = torch.stack([states[step][2] for step in numbers["steps_kept"].tolist()])
    torch.testing.assert_close(kept, numbers["x_after_step"], atol=5e-4, rtol=0)
    estimates = torch.stack([x_0 for _, x_0, _ in states[:3]])
    # Near t = 999 the estimate is the network's output magnified a hundred times.
    torch.testing.assert_close(estimates, numbers["pred_xstart_step"], atol=1e-3, rtol=0)
    torch.testing.assert_close(final, numbers["final"], atol=5e-4, rtol=0)
    composite = torch.where(mask(64) > 0, final, images)
    difference = ((composite + 1) / 2).clamp(0, 1).mul(255).byte().int() - numbers["recon_u8"].int()
    assert difference.abs().max() <= 1
    assert (difference != 0).float().mean() < 0.02


MEAN, STD = 0.3, 0.5


def gaussian(diffusion: Diffusion) -> Denoiser:
    """The exact denoiser E[x_0 | x_t] for pixels drawn from N(MEAN, STD^2)."""

    def denoise(x_t: Tensor, t: Tensor) -> tuple[Tensor, None]:
        alpha_bar = diffusion.gather("alpha_bar", t, x_t.dtype).view(-1, 1, 1, 1)
        gain = alpha_bar.sqrt() * STD**2 / (alpha_bar * STD**2 + 1 - alpha_bar)
        return MEAN + gain * (x_t - alpha_bar.sqrt() * MEAN), None

    return denoise


def quantile(z: Tensor, alpha_bar: float) -> Tensor:
    """Where the probability flow carries the z-th quantile: x = a m + sqrt(a^2 s^2 + 1 - a^2) z."""
    return math.sqrt(alpha_bar) * MEAN + math.sqrt(alpha_bar * STD**2 + 1 - alpha_bar) * z


def error(sampler: Callable[..., Tensor], steps: int, spacing: str = "leading") -> float:
    """Largest error of a deterministic sampler that starts on the exact flow, in float64."""
    diffusion = Diffusion()
    z = torch.linspace(-2, 2, 12, dtype=torch.float64).view(1, 3, 2, 2)
    last = diffusion.respaced(steps, spacing).original[-1]
    x_T = quantile(z, diffusion.tables["alpha_bar"][last].item())
    found = sampler(gaussian(diffusion), x_T, diffusion, steps, clip=False, spacing=spacing)
    return (found - quantile(z, 1.0)).abs().max().item()


@pytest.mark.parametrize(("sampler", "order"), [(ddim, 1), (dpmpp_2m, 2)])
def test_order_of_convergence(sampler: Callable[..., Tensor], order: int) -> None:
    coarse, fine = error(sampler, 125), error(sampler, 250)
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


def test_second_order_needs_fewer_steps() -> None:
    assert error(dpmpp_2m, 25) < error(ddim, 100)


@pytest.mark.parametrize("std", [0.03, 0.1, 0.2, 0.3])
def test_fast_is_nearer_to_the_flow_than_25_steps_of_ddim(std: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """As wide as pictures are whose sound, pose and speaker are known; of wider ones it is the other way round."""
    monkeypatch.setattr(sys.modules[__name__], "STD", std)
    steps, spacing = course("fast", None, 25, "leading")
    assert (steps, spacing) == (8, "quadratic")
    assert error(named("fast"), steps, spacing) < error(ddim, 25)


def test_a_preset_has_its_own_course_and_others_the_usual_one() -> None:
    assert named("fast") is dpmpp_2m
    assert course("fast", 12, 25, "leading") == (12, "quadratic")
    assert course("ddim", None, 25, "leading") == (25, "leading")
    assert course("dpmpp_2m", 8, 25, "trailing") == (8, "trailing")


@pytest.mark.parametrize("sampler", [partial(ddim, eta=1.0), ddpm])
def test_stochastic_samplers_draw_from_the_data(sampler: Callable[..., Tensor]) -> None:
    diffusion = Diffusion()
    x_T = torch.randn(32, 3, 16, 16)

    def sample() -> Tensor:
        generator = torch.Generator().manual_seed(1)

        def draw(place: int) -> Tensor:
            return torch.empty_like(x_T).normal_(generator=generator)

        return sampler(gaussian(diffusion), x_T, diffusion, steps=1000, clip=False, draw=draw)

    drawn = sample()
    assert drawn.mean() == pytest.approx(MEAN, abs=0.01)
    assert drawn.std() == pytest.approx(STD, abs=0.01)
    # They forget the noise they came from; a deterministic sampler does not.
    assert torch.corrcoef(torch.stack([drawn.flatten(), x_T.flatten()]))[0, 1].abs() < 0.03
    assert torch.equal(drawn, sample())


@pytest.mark.parametrize("sampler", [partial(ddim, eta=1.0), ddpm])
def test_noise_of_a_step_is_asked_for_by_its_place(sampler: Callable[..., Tensor]) -> None:
    diffusion, x_T, asked = Diffusion(), torch.randn(2, 3, 4, 4), []

    def draw(place: int) -> Tensor:
        asked.append(place)
        return torch.zeros(1, 3, 4, 4)  # one map serves all frames

    assert sampler(gaussian(diffusion), x_T, diffusion, steps=10, draw=draw).shape == x_T.shape
    assert asked == list(range(10))


@pytest.mark.parametrize("sampler", [ddim, ddpm, dpmpp_2m])
def test_one_step_is_the_estimate(sampler: Callable[..., Tensor]) -> None:
    diffusion, x_T = Diffusion(), torch.randn(2, 3, 4, 4)
    sample = sampler(lambda x_t, t: (2 * torch.tanh(x_t), None), x_T, diffusion, steps=1)
    torch.testing.assert_close(sample, (2 * torch.tanh(x_T)).clamp(-1, 1))


def test_guidance_overstates_the_sound() -> None:
    variance = torch.ones(1)
    heard, silent = (lambda x_t, t: (x_t + 1, variance)), (lambda x_t, t: (x_t, None))
    x_t, t = torch.zeros(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64)
    for guidance in (0.0, 1.0, 3.0):
        estimate, kept = guided(heard, silent, guidance)(x_t, t)
        torch.testing.assert_close(estimate, torch.full_like(x_t, guidance))
        assert kept is variance
