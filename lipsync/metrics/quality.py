"""Is the painted half clean: PSNR against the truth and against merely copying the reference, and grain."""

import torch
from torch import Tensor
from torchmetrics import Metric


def painted(clips: Tensor) -> Tensor:
    """Returns the rows that the network paints, (..., S/2, S) of (..., S, S)."""
    return clips[..., clips.shape[-2] // 2 :, :]


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Computes the PSNR in dB of every clip: (B, N, 3, H, W) in [-1, 1] -> (B,)."""
    return 10 * torch.log10(4 / ((a - b) ** 2).mean(dim=(1, 2, 3, 4)).clamp_min(1e-10))


def grain(clips: Tensor) -> Tensor:
    """Computes the std of 2x2 differences, a - b - c + d, of every clip: (B, N, 3, H, W) -> (B,)."""
    rows = clips[..., 1:, :] - clips[..., :-1, :]
    return (rows[..., 1:] - rows[..., :-1]).flatten(1).std(dim=1)


class PaintedQuality(Metric):
    """Compares reconstructed clips with the truth over the painted half.

    `psnr_painted`, `psnr_copy_reference` (the reference's lower half copied over) and `psnr_gain`, their difference,
    are means over clips in dB; `psnr_gain_worst` is the lowest clip's; `grain_ratio` is generated over true.
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in ("generated", "copied", "grain_generated", "grain_true"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, generated: Tensor, frames: Tensor, reference: Tensor) -> None:
        """Takes clips (B, N, 3, S, S) in [-1, 1] and their references (B, 1, 3, S, S)."""
        generated, frames, reference = painted(generated.float()), painted(frames), painted(reference)
        self.generated.append(psnr(generated, frames))
        self.copied.append(psnr(reference, frames))
        self.grain_generated.append(grain(generated))
        self.grain_true.append(grain(frames))

    def compute(self) -> dict[str, Tensor]:
        generated, copied = torch.cat(self.generated), torch.cat(self.copied)
        return {
            "psnr_painted": generated.mean(),
            "psnr_copy_reference": copied.mean(),
            "psnr_gain": (generated - copied).mean(),
            "psnr_gain_worst": (generated - copied).min(),
            "grain_ratio": torch.cat(self.grain_generated).mean() / torch.cat(self.grain_true).mean(),
        }
