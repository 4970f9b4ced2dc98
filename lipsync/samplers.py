"""Samplers: plain functions with one signature from noise to images, given one denoiser.

A denoiser takes x_t (N, 3, S, S) and original time steps (N,) int64, and returns its estimate of x_0 and the variance's
interpolation, both (N, 3, S, S); one that has learned no variance returns None for the latter.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lipsync.diffusion import Diffusion, at_least_float32
from lipsync.errors import check_choice

Denoiser = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]
# x_{t-1} from x_t, the estimate of x_0, the variance's interpolation, own time steps t (N,), and the place from 0.
Step = Callable[[Tensor, Tensor, Tensor | None, Tensor, int], Tensor]
Draw = Callable[[int], Tensor]
Watch = Callable[[int, Tensor, Tensor], None]
LONGEST_EXTRAPOLATION = 2.0  # in lengths of the step before
# A sampler, its steps and their spacing; `fast` is nearer to 250 DDIM steps than 25 are (`tests/benchmarks/steps.py`).
PRESETS = {"fast": ("dpmpp_2m", 8, "quadratic")}


def ddim(
    denoise: Denoiser,
    x_T: Tensor,
    diffusion: Diffusion,
    steps: int = 25,
    clip: bool = True,
    spacing: str = "leading",
    draw: Draw | None = None,
    watch: Watch | None = None,
    eta: float = 0.0,
) -> Tensor:
    """Samples by DDIM (arXiv 2010.02502, eq. 12).

    Args:
        denoise: The denoiser.
        x_T: Noise to start from (N, 3, S, S).
        diffusion: The diffusion that was trained; it is respaced to `steps`.
        steps: Number of steps; 25 of 1000 visit t = 960, 920, ..., 0.
        clip: Clamp every estimate of x_0 to [-1, 1].
        spacing: One of `diffusion.SPACINGS`; "leading" is the original's.
        draw: Gives the noise of a step, from its place; broadcast to x_T. None draws from torch's global generator.
        watch: Called after each step with its place from 0, the estimate of x_0 and the new state.
        eta: 0 is deterministic, 1 as noisy as ancestral sampling.

    Returns:
        The sample (N, 3, S, S) float32.

    Raises:
        LipsyncError: The diffusion has no whole stride of that many steps.
    """
    visited = diffusion.respaced(steps, spacing)

    def step(x_t: Tensor, x_0: Tensor, interpolation: Tensor | None, t: Tensor, place: int) -> Tensor:
        noise = _noise(draw, place, x_t) if eta > 0 else None
        return ddim_step(x_0, x_t, t, visited, eta, noise)

    return _descend(step, denoise, x_T, visited, clip, watch)


def ddpm(
    denoise: Denoiser,
    x_T: Tensor,
    diffusion: Diffusion,
    steps: int = 250,
    clip: bool = True,
    spacing: str = "leading",
    draw: Draw | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """Samples by the ancestral process (arXiv 2006.11239, Algorithm 2), with the learned variance; else as `ddim`."""
    visited = diffusion.respaced(steps, spacing)

    def step(x_t: Tensor, x_0: Tensor, interpolation: Tensor | None, t: Tensor, place: int) -> Tensor:
        return ddpm_step(x_0, interpolation, x_t, t, visited, _noise(draw, place, x_t))

    return _descend(step, denoise, x_T, visited, clip, watch)


def dpmpp_2m(
    denoise: Denoiser,
    x_T: Tensor,
    diffusion: Diffusion,
    steps: int = 10,
    clip: bool = True,
    spacing: str = "leading",
    draw: Draw | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """Samples by DPM-Solver++(2M) (arXiv 2211.01095, Algorithm 2): second order, no noise drawn; else as `ddim`."""
    visited = diffusion.respaced(steps, spacing)
    alpha, sigma = (visited.tables[name].tolist() for name in ("sqrt_alpha_bar", "sqrt_one_minus_alpha_bar"))
    before: list[tuple[Tensor, float]] = []  # the last step's estimate of x_0, and its length in lambda

    def step(x_t: Tensor, x_0: Tensor, interpolation: Tensor | None, t: Tensor, place: int) -> Tensor:
        own = visited.timesteps - 1 - place
        if own == 0:  # lambda is infinite at the image: what is left is the estimate
            return x_0
        h = math.log(alpha[own - 1] / sigma[own - 1]) - math.log(alpha[own] / sigma[own])
        forward = x_0
        if before:
            earlier, length = before.pop()
            # Evenly spaced in t, the last steps are long in lambda; drawing a line that far does more harm than good.
            if h <= LONGEST_EXTRAPOLATION * length:
                forward = x_0 + h / (2 * length) * (x_0 - earlier)
        before.append((x_0, h))
        return sigma[own - 1] / sigma[own] * x_t - alpha[own - 1] * math.expm1(-h) * forward

    return _descend(step, denoise, x_T, visited, clip, watch)


def named(name: str) -> Callable[..., Tensor]:
    """Returns the sampler of that name, or of that preset.

    Raises:
        LipsyncError: There is none.
    """
    samplers = {sampler.__name__: sampler for sampler in (ddim, ddpm, dpmpp_2m)}
    samplers |= {preset: samplers[sampler] for preset, (sampler, _, _) in PRESETS.items()}
    check_choice("sampler", name, samplers)
    return samplers[name]


def course(name: str, steps: int | None, usual: int, spacing: str) -> tuple[int, str]:
    """Returns the number of steps and their spacing: a preset's own, else the `usual` ones; `steps` given overrule."""
    _, own, own_spacing = PRESETS.get(name, ("", usual, spacing))
    return own if steps is None else steps, own_spacing


def guided(denoise: Denoiser, denoise_silently: Denoiser, guidance: float) -> Denoiser:
    """Returns a denoiser that overstates what the sound changes (arXiv 2207.12598, eq. 6).

    Args:
        denoise: Hears the sound; its variance is kept.
        denoise_silently: Does not.
        guidance: 1 is `denoise` alone, 0 the other; estimates of x_0 mix as those of eps do.
    """

    def mixed(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        heard, interpolation = denoise(x_t, t)
        return torch.lerp(denoise_silently(x_t, t)[0], heard, guidance), interpolation

    return mixed


def ddim_step(
    x_0: Tensor, x_t: Tensor, t: Tensor, diffusion: Diffusion, eta: float = 0.0, noise: Tensor | None = None
) -> Tensor:
    """Returns x_{t-1} of one DDIM step (arXiv 2010.02502, eq. 12), noise re-derived from the estimate of x_0.

    Args:
        x_0: Estimate (N, 3, S, S), clipped or not.
        x_t: Diffusion state (N, 3, S, S).
        t: The diffusion's own time steps (N,).
        diffusion: The (respaced) diffusion whose step t - 1 comes next; before step 0 comes the image.
        eta: 0 is deterministic.
        noise: Standard normal, broadcast to x_t; needed when eta > 0.
    """
    dtype, shape = at_least_float32(x_t), (-1, 1, 1, 1)
    alpha_bar = diffusion.gather("alpha_bar", t, dtype).view(shape)
    previous = diffusion.gather("previous_alpha_bar", t, dtype).view(shape)
    eps = diffusion.eps(x_0, x_t, t)
    # eq. 16: 0 at t = 0, where the previous alpha_bar is 1.
    sigma = eta * ((1 - previous) / (1 - alpha_bar) * (1 - alpha_bar / previous)).sqrt()
    mean = previous.sqrt() * x_0 + (1 - previous - sigma**2).sqrt() * eps
    return mean if noise is None else mean + sigma * noise


def ddpm_step(
    x_0: Tensor, interpolation: Tensor | None, x_t: Tensor, t: Tensor, diffusion: Diffusion, noise: Tensor
) -> Tensor:
    """Returns x_{t-1} ~ p(x_{t-1} | x_t) for standard normal noise; no noise is added at t = 0 (arXiv 2006.11239).

    Args:
        x_0: Estimate (N, 3, S, S), clipped or not.
        interpolation: Of the learned variance (N, 3, S, S); None takes the posterior's.
        x_t: Diffusion state (N, 3, S, S).
        t: The diffusion's own time steps (N,).
        diffusion: The (respaced) diffusion.
        noise: Broadcast to x_t.
    """
    if interpolation is None:
        interpolation = torch.full_like(x_t, -1.0)
    std = (0.5 * diffusion.log_variance(interpolation, t)).exp() * (t > 0).view(-1, 1, 1, 1)
    return diffusion.posterior_mean(x_0, x_t, t) + std * noise


def _descend(step: Step, denoise: Denoiser, x_T: Tensor, visited: Diffusion, clip: bool, watch: Watch | None) -> Tensor:
    """Takes a step for every time step of the respaced diffusion, from the last to 0."""
    x_t = x_T
    for place, own in enumerate(reversed(range(visited.timesteps))):
        t = torch.full((len(x_T),), own, device=x_T.device)
        x_0, interpolation = denoise(x_t, torch.full_like(t, visited.original[own]))
        if clip:
            x_0 = x_0.clamp(-1, 1)
        x_t = step(x_t, x_0, interpolation, t, place)
        if watch is not None:
            watch(place, x_0, x_t)
    return x_t


def _noise(draw: Draw | None, place: int, like: Tensor) -> Tensor:
    return torch.randn_like(like) if draw is None else draw(place)
