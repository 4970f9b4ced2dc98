"""The diffusion's arithmetic: schedule, q_sample, estimates of x_0 and the variational term.

Equation numbers without a name are those of DDPM (arXiv 2006.11239); "Improved" is arXiv 2102.09672.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lipsync.errors import LipsyncError, check_choice

PREDICTIONS = ("eps", "v", "x_0")


def linear_betas(timesteps: int) -> Tensor:
    """Returns the linear schedule (timesteps,) float64, 1e-4 to 0.02 at 1000 steps (Sec. 4)."""
    scale = 1000 / timesteps
    return torch.linspace(1e-4 * scale, 0.02 * scale, timesteps, dtype=torch.float64)


def cosine_betas(timesteps: int) -> Tensor:
    """Returns the cosine schedule (timesteps,) float64 (Improved, eq. 17)."""
    u = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    alpha_bar = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)


SCHEDULES: dict[str, Callable[[int], Tensor]] = {"linear": linear_betas, "cosine": cosine_betas}


def strided(timesteps: int, count: int) -> list[int]:
    """Returns `count` time steps one whole stride apart, from 0: 25 of 1000 are 0, 40, ..., 960 (DDIM's spacing).

    Raises:
        LipsyncError: No whole stride gives that count.
    """
    stride = next((s for s in range(1, timesteps + 1) if len(range(0, timesteps, s)) == count), None)
    if stride is None:
        raise LipsyncError(f"no whole stride takes {count} steps of {timesteps}: try a divisor of {timesteps}")
    return list(range(0, timesteps, stride))


def trailing(timesteps: int, count: int) -> list[int]:
    """Returns `count` evenly spread time steps that end on the last: where steps are few, pure noise is met as such.

    (arXiv 2305.08891, Sec. 3.3: 8 of 1000 are 124, 249, ..., 999.)
    """
    return [round((i + 1) * timesteps / count) - 1 for i in range(count)]


def quadratic(timesteps: int, count: int) -> list[int]:
    """Returns at most `count` time steps from 0 to the last, the closer the lower, where pictures get their detail.

    (arXiv 2010.02502, App. D.2: 8 of 1000 are 0, 20, 82, 183, 326, 510, 734, 999.)
    """
    shares = (1 - i / max(count - 1, 1) for i in range(count))
    return sorted({round((timesteps - 1) * share**2) for share in shares})


SPACINGS: dict[str, Callable[[int, int], list[int]]] = {
    "leading": strided,
    "trailing": trailing,
    "quadratic": quadratic,
}


def sectioned(timesteps: int, counts: Sequence[int]) -> list[int]:
    """Returns time steps spread over equal sections of the whole, counts[i] in the i-th, both ends of each included.

    Raises:
        LipsyncError: A section is shorter than its count.
    """
    kept, start = [], 0
    for section, count in enumerate(counts):
        size = timesteps // len(counts) + (section < timesteps % len(counts))
        if count > size:
            raise LipsyncError(f"cannot keep {count} of the {size} time steps of section {section}: ask for fewer")
        stride = (size - 1) / (count - 1) if count > 1 else 1.0
        kept += [start + round(stride * i) for i in range(count)]
        start += size
    return kept


def normal_kl(mean_1: Tensor, log_variance_1: Tensor, mean_2: Tensor, log_variance_2: Tensor) -> Tensor:
    """Returns KL(N_1 || N_2) of diagonal Gaussians, element by element, in nats."""
    return 0.5 * (
        log_variance_2 - log_variance_1 - 1
        + torch.exp(log_variance_1 - log_variance_2)
        + (mean_1 - mean_2) ** 2 * torch.exp(-log_variance_2)
    )  # fmt: skip


def discretised_nll(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Returns -log of the mass that a Gaussian puts on each pixel's 1/255-wide bin, in nats (eq. 13)."""

    def cdf(z: Tensor) -> Tensor:
        return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))

    inverse_std = torch.exp(-0.5 * log_variance)
    above = cdf((x - mean + 1 / 255) * inverse_std)
    below = cdf((x - mean - 1 / 255) * inverse_std)
    # The outermost bins reach to infinity.
    mass = torch.where(x < -0.999, above, torch.where(x > 0.999, 1 - below, above - below))
    return -mass.clamp_min(1e-12).log()


class Diffusion:
    """A Gaussian diffusion: float64 tables, copied to a device on first use there, and float32 arithmetic on images.

    A time step `t` (N,) int64 counts this diffusion's own steps; `original` holds what the network is told instead.
    Half precision is lifted to float32, whatever autocast says; float64 stays float64.

    Args:
        timesteps: Length of the full diffusion.
        schedule: "linear" (the paper) or "cosine".
        kept: Ascending original time steps of a respaced diffusion; None keeps all.

    Raises:
        LipsyncError: No such schedule.
    """

    def __init__(self, timesteps: int = 1000, schedule: str = "linear", kept: Sequence[int] | None = None) -> None:
        check_choice("schedule", schedule, SCHEDULES)
        self.full, self.schedule = timesteps, schedule
        self.original = list(range(timesteps) if kept is None else kept)
        self.timesteps = len(self.original)

        alpha_bar = torch.cumprod(1 - SCHEDULES[schedule](timesteps), dim=0)[self.original]
        previous = torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
        beta = 1 - alpha_bar / previous
        variance = beta * (1 - previous) / (1 - alpha_bar)  # eq. 7
        # The posterior's variance is 0 at t = 0, where only its logarithm's neighbour is of use.
        clipped = torch.cat([variance[1:2], variance[1:]]) if self.timesteps > 1 else beta
        self.tables = {
            "beta": beta,
            "alpha_bar": alpha_bar,
            "previous_alpha_bar": previous,
            "sqrt_alpha_bar": alpha_bar.sqrt(),
            "sqrt_one_minus_alpha_bar": (1 - alpha_bar).sqrt(),
            "sqrt_recip_alpha_bar": (1 / alpha_bar).sqrt(),
            "sqrt_recip_alpha_bar_minus_one": (1 / alpha_bar - 1).sqrt(),
            "log_beta": beta.log(),
            "posterior_variance": variance,
            "posterior_log_variance": clipped.log(),
            "posterior_x_0": beta * previous.sqrt() / (1 - alpha_bar),  # eq. 7, coefficient of x_0
            "posterior_x_t": (1 - previous) * (1 - beta).sqrt() / (1 - alpha_bar),  # eq. 7, coefficient of x_t
        }
        # Made once: on its way to a device, a table would have the host wait.
        self._copies: dict[tuple[str, torch.device, torch.dtype], Tensor] = {}
        self._respaced: dict[tuple[int, str], Diffusion] = {}

    def respaced(self, count: int, spacing: str = "leading") -> "Diffusion":
        """Returns the diffusion that visits only `count` time steps of the full one: from 0 on, or up to the last.

        Raises:
            LipsyncError: More steps than there are, or none.
        """
        if not 1 <= count <= self.full:
            raise LipsyncError(f"steps: {count} is not between 1 and {self.full}")
        if (count, spacing) not in self._respaced:
            self._respaced[count, spacing] = Diffusion(self.full, self.schedule, SPACINGS[spacing](self.full, count))
        return self._respaced[count, spacing]

    def gather(self, name: str, t: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Returns a table's entries at t (N,) as (N,), on the device of t."""
        key = (name, t.device, dtype)
        if key not in self._copies:
            self._copies[key] = self.tables[name].to(t.device, dtype)
        return self._copies[key][t]

    def q_sample(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Returns x_t ~ q(x_t | x_0) for standard normal eps: all (N, C, H, W) (eq. 4)."""
        return self._at("sqrt_alpha_bar", t, x_0) * x_0 + self._at("sqrt_one_minus_alpha_bar", t, x_0) * eps

    def v(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Returns v = sqrt(abar) eps - sqrt(1 - abar) x_0 (arXiv 2202.00512, Sec. 4)."""
        return self._at("sqrt_alpha_bar", t, x_0) * eps - self._at("sqrt_one_minus_alpha_bar", t, x_0) * x_0

    def x_0(self, output: Tensor, x_t: Tensor, t: Tensor, prediction: str = "eps") -> Tensor:
        """Returns the one-step estimate of x_0 from what the network predicts: all (N, 3, S, S).

        Args:
            output: eps, v or x_0, as `prediction` says.
            x_t: Diffusion state.
            t: Time steps (N,).
            prediction: One of `PREDICTIONS`.
        """
        if prediction == "x_0":
            return output.to(at_least_float32(output))
        if prediction == "v":
            return self._at("sqrt_alpha_bar", t, x_t) * x_t - self._at("sqrt_one_minus_alpha_bar", t, x_t) * output
        if prediction == "eps":  # eq. 15 and Diff2Lip's Sec. 3.2
            recip = self._at("sqrt_recip_alpha_bar", t, x_t)
            return recip * x_t - self._at("sqrt_recip_alpha_bar_minus_one", t, x_t) * output
        raise LipsyncError(f"prediction: {prediction!r} is none of {', '.join(PREDICTIONS)}")

    def eps(self, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Returns the noise that leads from x_0 to x_t: all (N, 3, S, S) (eq. 4, solved for eps)."""
        difference = self._at("sqrt_recip_alpha_bar", t, x_t) * x_t - x_0
        return difference / self._at("sqrt_recip_alpha_bar_minus_one", t, x_t)

    def posterior_mean(self, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Returns the mean of q(x_{t-1} | x_t, x_0): all (N, 3, S, S) (eq. 7)."""
        return self._at("posterior_x_0", t, x_0) * x_0 + self._at("posterior_x_t", t, x_t) * x_t

    def log_variance(self, interpolation: Tensor, t: Tensor) -> Tensor:
        """Returns the model's log variance for an interpolation in [-1, 1], not clamped (Improved, eq. 15)."""
        share = (interpolation.to(at_least_float32(interpolation)) + 1) / 2
        upper = self._at("log_beta", t, share)
        return share * upper + (1 - share) * self._at("posterior_log_variance", t, share)

    def variational_term(
        self,
        output: Tensor,
        interpolation: Tensor,
        x_0: Tensor,
        x_t: Tensor,
        t: Tensor,
        prediction: str,
        mask: Tensor,
        clip: bool = False,
    ) -> Tensor:
        """Returns the masked variational term at t: KL for t > 0, discretised negative log-likelihood at t = 0 (eq. 5).

        Args:
            output: The network's first three channels (N, 3, S, S); detach them and it trains the variance only.
            interpolation: Its last three channels (N, 3, S, S).
            x_0: Clean images (N, 3, S, S).
            x_t: Diffusion state (N, 3, S, S).
            t: Time steps (N,).
            prediction: One of `PREDICTIONS`.
            mask: (1 or N, 1, S, S); the term is multiplied by it, then averaged over ALL pixels.
            clip: Clamp the estimate of x_0 to [-1, 1].

        Returns:
            (N,), in bits per dimension.
        """
        x_0 = x_0.to(at_least_float32(x_0))
        estimate = self.x_0(output, x_t, t, prediction)
        mean = self.posterior_mean(estimate.clamp(-1, 1) if clip else estimate, x_t, t)
        log_variance = self.log_variance(interpolation, t)
        truth = self.posterior_mean(x_0, x_t, t)
        kl = normal_kl(truth, self._at("posterior_log_variance", t, x_0), mean, log_variance)
        nll = discretised_nll(x_0, mean, log_variance)
        nats = torch.where(t.view(-1, 1, 1, 1) == 0, nll, kl)
        return (nats * mask).mean(dim=(1, 2, 3)) / math.log(2)

    def _at(self, name: str, t: Tensor, like: Tensor) -> Tensor:
        return self.gather(name, t, at_least_float32(like)).view(-1, 1, 1, 1)


def at_least_float32(x: Tensor) -> torch.dtype:
    """Returns the precision that arithmetic on x takes: float32, or float64 where x has it."""
    return torch.promote_types(x.dtype, torch.float32)
