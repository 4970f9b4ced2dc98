"""The diffusion's arithmetic against the original's numbers and against closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from lipsync.corpora.crop import mask
from lipsync.diffusion import (
    Diffusion,
    cosine_betas,
    discretised_nll,
    normal_kl,
    quadratic,
    sectioned,
    strided,
    trailing,
)
from lipsync.errors import LipsyncError


@pytest.fixture(scope="module")
def numbers(reference):
    return reference("diffusion")


def close(actual: Tensor, expected: Tensor, atol: float = 1e-4, rtol: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=rtol)


def bits(nats: Tensor) -> Tensor:
    return nats.mean(dim=(1, 2, 3)) / math.log(2)


def test_tables(numbers):
    for prefix, diffusion in (("full", Diffusion()), ("resp", Diffusion().respaced(25))):
        for name, table in {
            "betas": "beta",
            "alphas_cumprod": "alpha_bar",
            "posterior_variance": "posterior_variance",
            "posterior_log_variance_clipped": "posterior_log_variance",
            "posterior_mean_coef1": "posterior_x_0",
            "posterior_mean_coef2": "posterior_x_t",
        }.items():
            close(diffusion.tables[table], numbers[f"{prefix}_{name}"], 1e-12, 0)
    assert Diffusion().respaced(25).original == numbers["resp_timestep_map"].tolist()
    close(cosine_betas(1000), numbers["cosine_betas"], 1e-12, 0)
    close(Diffusion(schedule="cosine").tables["beta"], numbers["cosine_betas"], 1e-12, 0)


def test_spacings(numbers):
    for count in (10, 25, 50):
        assert strided(1000, count) == numbers[f"space_ddim{count}"].tolist()
    for counts in ((25,), (100,), (10, 15, 20), (1000,)):
        assert sectioned(1000, counts) == numbers["space_" + "_".join(map(str, counts))].tolist()


def test_q(numbers):
    diffusion, t = Diffusion(), numbers["t"]
    x_0, eps, x_t = numbers["x0"], numbers["noise"], numbers["x_t"]
    close(numbers["x0_u8"] / 255 * 2 - 1, x_0, 1e-6)
    close(diffusion.q_sample(x_0, t, eps), x_t)
    close(diffusion.q_sample(x_0, t, torch.zeros_like(eps)), numbers["q_mean"])
    variance = diffusion.gather("sqrt_one_minus_alpha_bar", t) ** 2
    close(variance, numbers["q_variance"])
    close(variance.log(), numbers["q_log_variance"])

    close(diffusion.posterior_mean(x_0, x_t, t), numbers["q_posterior_mean"])
    close(diffusion.gather("posterior_variance", t), numbers["q_posterior_variance"])
    close(diffusion.gather("posterior_log_variance", t), numbers["q_posterior_log_variance"])

    # Eq. 5's first term, which no parameter reaches.
    last = torch.full_like(t, 999)
    mean = diffusion.q_sample(x_0, last, torch.zeros_like(x_0))
    log_variance = (diffusion.gather("sqrt_one_minus_alpha_bar", last) ** 2).log().view(-1, 1, 1, 1)
    close(bits(normal_kl(mean, log_variance, torch.zeros(()), torch.zeros(()))), numbers["prior_bpd"], 1e-6)


def test_p(numbers):
    diffusion, t, x_t = Diffusion(), numbers["t"], numbers["x_t"]
    output, interpolation = numbers["model_output"].chunk(2, dim=1)
    estimate = diffusion.x_0(output, x_t, t)
    close(estimate, numbers["p_xstart_noclip"], 1e-3)
    close(estimate.clamp(-1, 1), numbers["p_xstart_clip"])
    close(diffusion.posterior_mean(estimate, x_t, t), numbers["p_mean_noclip"])
    mean = diffusion.posterior_mean(estimate.clamp(-1, 1), x_t, t)
    close(mean, numbers["p_mean_clip"])
    log_variance = diffusion.log_variance(interpolation, t)
    close(log_variance, numbers["p_log_variance"])
    close(log_variance.exp(), numbers["p_variance"])
    # Algorithm 2: no noise on the last step.
    noise = numbers["step_noise"] * (t > 0).view(-1, 1, 1, 1)
    close(mean + (0.5 * log_variance).exp() * noise, numbers["p_sample"])

    close(diffusion.x_0(numbers["noise"], x_t, t), numbers["pred_xstart_from_eps"], 1e-3)
    close(diffusion.eps(numbers["x0"], x_t, t), numbers["eps_from_xstart"])


@pytest.mark.parametrize("clip", [True, False])
def test_variational_term(numbers, clip):
    t, x_0, x_t = numbers["t"], numbers["x0"], numbers["x_t"]
    close(numbers["mask"], mask(16).expand(6, 1, 16, 16), 0, 0)
    output, interpolation = numbers["model_output"].chunk(2, dim=1)
    name = "clip" if clip else "noclip"
    for kind, where in (("masked", mask(16)), ("unmasked", torch.ones(1, 1, 16, 16))):
        term = Diffusion().variational_term(output, interpolation, x_0, x_t, t, "eps", where, clip)
        expected = numbers[f"vb_{kind}_{name}"]
        close(term, expected, 1e-6 if clip else 1e-4, 1e-3)


def test_variational_term_respaced(numbers):
    diffusion = Diffusion().respaced(25)
    t, x_t = numbers["resp_t"], numbers["resp_x"]
    original = torch.tensor(diffusion.original)[t].view(-1, 1, 1, 1)
    eps, v = torch.tanh(0.7 * x_t) + 0.1 * torch.sin(0.01 * original), 0.5 * torch.cos(3 * x_t)
    term = diffusion.variational_term(eps, v, numbers["resp_x0"], x_t, t, "eps", mask(8), clip=True)
    close(term, numbers["resp_vb_masked"], 1e-4, 1e-3)


def test_variational_term_through_the_network(unet_64, reference):
    numbers, diffusion = reference("vb_64"), Diffusion()
    count = len(numbers["t"])

    def each(x: Tensor) -> Tensor:
        return x.repeat(count, *[1] * (x.dim() - 1))

    t = numbers["t"].repeat_interleave(2)
    x_0, eps = each(numbers["image_u8"] / 255 * 2 - 1), each(numbers["noise"])
    x_t = diffusion.q_sample(x_0, t, eps)
    masked = torch.where(mask(64) > 0, each(numbers["cond_noise"]), x_0)
    reference_image = each(numbers["ref_u8"] / 255 * 2 - 1)
    output, interpolation = unet_64(x_t, t, masked, reference_image, each(numbers["indiv_mels"])).chunk(2, dim=1)
    term = diffusion.variational_term(output, interpolation, x_0, x_t, t, "eps", mask(64))
    close(term.view(count, 2), numbers["vb_masked"], 1e-4, 1e-3)
    error = (mask(64) * (eps - output) ** 2).mean(dim=(1, 2, 3))
    close(error.view(count, 2), numbers["masked_eps_mse"])


def test_parametrisations_agree():
    diffusion = Diffusion()
    t = torch.tensor([0, 1, 250, 998, 999])
    x_0, eps = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)
    x_t, v = diffusion.q_sample(x_0, t, eps), diffusion.v(x_0, t, eps)
    assert x_t.dtype == torch.float64
    for prediction, output in {"eps": eps, "v": v, "x_0": x_0}.items():
        close(diffusion.x_0(output, x_t, t, prediction), x_0, 1e-11, 0)
    close(diffusion.eps(x_0, x_t, t), eps, 1e-11, 0)
    # v turns (x_0, eps) by 90 degrees.
    a, b = (diffusion.tables[name][t].view(-1, 1, 1, 1) for name in ("sqrt_alpha_bar", "sqrt_one_minus_alpha_bar"))
    close(a * v + b * x_t, eps, 1e-11, 0)


def test_q_sample_moments():
    diffusion, t = Diffusion(), torch.tensor([10, 300, 900])
    x_0 = torch.full((3, 1, 300, 300), 0.7)
    x_t = diffusion.q_sample(x_0, t, torch.randn(x_0.shape))
    alpha_bar = diffusion.tables["alpha_bar"][t].float()
    close(x_t.mean(dim=(1, 2, 3)), 0.7 * alpha_bar.sqrt(), 0.02)
    close(x_t.var(dim=(1, 2, 3)), 1 - alpha_bar, 0.02)


def test_posterior_is_bayes():
    diffusion, t = Diffusion(), torch.tensor([1, 40, 999])
    x_0, x_t = torch.randn(2, 3, 1, 2, 2, dtype=torch.float64)
    beta, previous = (diffusion.tables[name][t].view(-1, 1, 1, 1) for name in ("beta", "previous_alpha_bar"))
    # q(x_{t-1} | x_0) q(x_t | x_{t-1}): precisions add.
    precision = 1 / (1 - previous) + (1 - beta) / beta
    mean = (previous.sqrt() * x_0 / (1 - previous) + (1 - beta).sqrt() * x_t / beta) / precision
    close(diffusion.posterior_mean(x_0, x_t, t), mean, 1e-10, 0)
    close(diffusion.tables["posterior_variance"][t].view(-1, 1, 1, 1), 1 / precision, 1e-10, 0)


def test_kl_against_torch():
    mean_1, mean_2, log_1, log_2 = torch.randn(4, 100)
    p, q = Normal(mean_1, (log_1 / 2).exp()), Normal(mean_2, (log_2 / 2).exp())
    close(normal_kl(mean_1, log_1, mean_2, log_2), kl_divergence(p, q), 1e-5)


def test_bins_share_out_the_whole_mass():
    levels = torch.arange(256) / 255 * 2 - 1
    for mean, std in ((0.1, 0.2), (-1.2, 0.05), (0.0, 3.0)):
        nll = discretised_nll(levels, torch.tensor(mean), torch.tensor(2 * math.log(std)))
        close((-nll).exp().sum(), torch.ones(()), 1e-4)
    exact = Normal(0.1, 0.2).cdf(levels[100] + 1 / 255) - Normal(0.1, 0.2).cdf(levels[100] - 1 / 255)
    nll = discretised_nll(levels[100], torch.tensor(0.1), torch.tensor(2 * math.log(0.2)))
    close((-nll).exp(), exact, 0, 1e-2)


def test_variational_term_vanishes_for_the_true_posterior():
    diffusion, t = Diffusion(), torch.tensor([3, 500, 999])
    x_0, eps = torch.rand(3, 3, 8, 8) * 2 - 1, torch.randn(3, 3, 8, 8)
    x_t = diffusion.q_sample(x_0, t, eps)
    lower = -torch.ones_like(x_0)
    for prediction, output in {"eps": eps, "v": diffusion.v(x_0, t, eps), "x_0": x_0}.items():
        term = diffusion.variational_term(output, lower, x_0, x_t, t, prediction, mask(8))
        close(term, torch.zeros(3), 1e-5)
    wrong = diffusion.variational_term(x_0 + 0.5, lower, x_0, x_t, t, "x_0", mask(8))
    halved = diffusion.variational_term(x_0 + 0.5, lower, x_0, x_t, t, "x_0", torch.ones(1, 1, 8, 8))
    close(2 * wrong, halved, 0, 1e-3)
    expected = (0.5 * diffusion.tables["posterior_x_0"][t]) ** 2 / diffusion.tables["posterior_variance"][t]
    close(halved, (expected / 2 / math.log(2)).float(), 0, 1e-3)


def test_half_precision_is_lifted_under_autocast():
    diffusion, t = Diffusion(), torch.tensor([0, 999])
    x_0, eps = torch.randn(2, 2, 3, 4, 4)
    expected = diffusion.x_0(eps.bfloat16().float(), x_0.bfloat16().float(), t)
    with torch.autocast("cpu", torch.bfloat16):
        actual = diffusion.x_0(eps.bfloat16(), x_0.bfloat16(), t)
        assert diffusion.x_0(eps.bfloat16(), x_0, t, "x_0").dtype == torch.float32
        assert diffusion.log_variance(eps.bfloat16(), t).dtype == torch.float32
    close(actual, expected, 0, 0)


def test_tables_met_in_inference_serve_training():
    diffusion, t = Diffusion(), torch.tensor([5])
    x_0 = torch.randn(1, 3, 2, 2)
    with torch.inference_mode():
        diffusion.q_sample(x_0, t, x_0)
    leaf = x_0.clone().requires_grad_()
    diffusion.q_sample(leaf, t, x_0).sum().backward()
    close(leaf.grad, diffusion.tables["sqrt_alpha_bar"][5].float().expand(1, 3, 2, 2), 1e-6)


def test_mistakes_are_named():
    with pytest.raises(LipsyncError, match="600 steps of 1000"):
        strided(1000, 600)
    with pytest.raises(LipsyncError, match="section 0"):
        sectioned(10, (6, 1))
    with pytest.raises(LipsyncError, match="quadratic"):
        Diffusion(schedule="quadratic")
    with pytest.raises(LipsyncError, match="score"):
        Diffusion().x_0(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), torch.zeros(1, dtype=torch.int64), "score")


@pytest.mark.parametrize(("count", "first"), [(1, 999), (8, 124), (25, 39), (600, 1)])
def test_trailing_steps_are_even_and_end_on_the_last(count: int, first: int) -> None:
    kept = trailing(1000, count)
    assert (kept[0], kept[-1], len(kept)) == (first, 999, count)
    assert set(np.diff(kept)) <= {1000 // count, 1000 // count + 1}


@pytest.mark.parametrize("count", [0, -1, 1001])
def test_a_number_of_steps_that_cannot_be_is_refused(count: int) -> None:
    with pytest.raises(LipsyncError, match=f"steps: {count} "):
        Diffusion().respaced(count, "trailing")


def test_quadratic_steps_begin_with_the_picture_and_end_on_the_last() -> None:
    assert quadratic(1000, 8) == [0, 20, 82, 183, 326, 510, 734, 999]
    assert quadratic(1000, 1) == [999]
    assert quadratic(1000, 2) == [0, 999]
    many = quadratic(1000, 250)
    assert len(many) < 250  # the lowest would be visited twice
    assert many == sorted(set(many))
    assert Diffusion().respaced(250, "quadratic").timesteps == len(many)
