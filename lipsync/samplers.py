"""Samplers: plain functions from noise to images, given one denoiser x_0 = denoise(x_t, t)."""

from collections.abc import Callable

import torch
from torch import Tensor

from lipsync.diffusion import Diffusion


def ddim(
    denoise: Callable[[Tensor, Tensor], Tensor],
    x_T: Tensor,
    diffusion: Diffusion,
    steps: int = 25,
    eta: float = 0.0,
    clip: bool = True,
    spacing: str = "leading",
    generator: torch.Generator | None = None,
    callback: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Samples by DDIM (arXiv 2010.02502, eq. 12).

    Args:
        denoise: Estimates x_0 (N, 3, S, S) from x_t and original time steps (N,) int64.
        x_T: Noise to start from (N, 3, S, S).
        diffusion: The diffusion that was trained; it is respaced to `steps`.
        steps: Number of steps; 25 of 1000 visit t = 960, 920, ..., 0.
        eta: 0 is deterministic, 1 as noisy as ancestral sampling.
        clip: Clamp every estimate of x_0 to [-1, 1].
        spacing: "leading" (the original's) or "trailing" (for few steps), as in `diffusion`.
        generator: Source of the noise when eta > 0.
        callback: Called after each step with its place from 0, the estimate of x_0 and the new state.

    Returns:
        The sample (N, 3, S, S) float32.

    Raises:
        LipsyncError: The diffusion has no whole stride of that many steps.
    """
    visited = diffusion.respaced(steps, spacing)
    x_t = x_T
    for place, step in enumerate(reversed(range(steps))):
        t = torch.full((len(x_T),), step, device=x_T.device)
        x_0 = denoise(x_t, torch.full_like(t, visited.original[step]))
        if clip:
            x_0 = x_0.clamp(-1, 1)
        noise = torch.empty_like(x_T).normal_(generator=generator) if eta > 0 else None
        x_t = ddim_step(x_0, x_t, t, visited, eta, noise)
        if callback is not None:
            callback(place, x_0, x_t)
    return x_t


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
        noise: Standard normal (N, 3, S, S), needed when eta > 0.
    """
    shape = (-1, 1, 1, 1)
    alpha_bar = diffusion.gather("alpha_bar", t).view(shape)
    previous = diffusion.gather("previous_alpha_bar", t).view(shape)
    eps = diffusion.eps(x_0, x_t, t)
    # eq. 16: 0 at t = 0, where the previous alpha_bar is 1.
    sigma = eta * ((1 - previous) / (1 - alpha_bar) * (1 - alpha_bar / previous)).sqrt()
    mean = previous.sqrt() * x_0 + (1 - previous - sigma**2).sqrt() * eps
    return mean if noise is None else mean + sigma * noise
