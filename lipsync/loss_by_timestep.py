"""A loss by the time step it was met at: where on the way from noise to picture is the network weak?"""

import torch
from torch import Tensor

BINS = 10


class LossByTimestep:
    """Gathers the mean of a loss in ten equal parts of the diffusion, on the device.

    Args:
        timesteps: Length of the diffusion.
    """

    def __init__(self, timesteps: int) -> None:
        self.timesteps = timesteps
        self.gathered = torch.zeros(2, BINS)  # sums and counts

    @torch.no_grad()
    def add(self, losses: Tensor, t: Tensor) -> None:
        """Adds losses (K,) met at time steps t (K,)."""
        self.gathered = self.gathered.to(losses.device)
        told = torch.stack((losses.float(), torch.ones_like(losses, dtype=torch.float32)))
        self.gathered.index_add_(1, t * BINS // self.timesteps, told)

    def take(self) -> Tensor:
        """Hands out sums and counts (2, BINS), and begins anew."""
        gathered, self.gathered = self.gathered, torch.zeros_like(self.gathered)
        return gathered

    def means(self, gathered: Tensor) -> dict[str, float]:
        """Names the means of sums and counts by their first time step (`t000`, `t100`, ...); waits for the device."""
        pairs = enumerate(zip(*gathered.tolist(), strict=True))
        return {f"t{k * self.timesteps // BINS:03d}": total / count for k, (total, count) in pairs if count}
