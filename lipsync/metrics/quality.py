"""Is the picture clean: PSNR, SSIM, sharpness and flicker against the truth, and what copying the reference gives."""

import torch
from kornia.metrics import ssim
from torch import Tensor
from torchmetrics import Metric

from lipsync.metrics.clip_metric import ClipMetric
from lipsync.metrics.views import BATCH, View, match, painted

# In dB, of a frame: rounding to 8 bits alone leaves 58.9 dB, so that what lies above is no difference to be seen.
PSNR_CAP = 60.0


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


class PictureQuality(ClipMetric):
    """Compares a clip's pictures with the true ones, frame by frame.

    `psnr` in dB, capped at 60 a frame, and `ssim`, of the whole crop; `psnr_mouth`, `ssim_mouth` of the painted half.
    `sharpness` is the edges' strength in the painted half, generated over true: below 1 blurred, above 1 grainy; left
    out where the truth has none. `flicker` is how far changes from frame to frame in the painted half are from the true
    changes, in grey levels of 255; 0 is best, left out of a single frame.
    """

    names = ("psnr", "ssim", "psnr_mouth", "ssim_mouth", "sharpness", "flicker")

    def score(self, view: View, truth: View) -> dict[str, Tensor]:
        """Compares two clips of the same frames."""
        match(view, truth)
        whole = view.pictures.float().clamp(-1, 1), truth.pictures.float().clamp(-1, 1)
        mouth = painted(whole[0]), painted(whole[1])
        whole_similarity, mouth_similarity = similarity(*whole)
        return {
            "psnr": frame_psnr(*whole),
            "ssim": whole_similarity,
            "psnr_mouth": frame_psnr(*mouth),
            "ssim_mouth": mouth_similarity,
        } | texture(view, truth)


def texture(view: View, truth: View) -> dict[str, Tensor]:
    """Computes `sharpness` and `flicker`, which can also be asked of a clip that says something else than the truth."""
    mouth, true = (painted(each.pictures.float().clamp(-1, 1)) for each in (view, truth))
    return {
        "sharpness": (edges(mouth) / edges(true)).nan_to_num(torch.nan, torch.nan),
        "flicker": 127.5 * (mouth.diff(dim=0) - true.diff(dim=0)).abs().mean(),
    }


def frame_psnr(a: Tensor, b: Tensor) -> Tensor:
    """Mean over frames of their PSNR: (N, 3, H, W) in [-1, 1] -> ()."""
    return psnr(a[:, None], b[:, None]).clamp(max=PSNR_CAP).mean()


def similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Mean SSIM over frames and channels, window Gaussian of 1.5 px: (N, 3, H, W) in [-1, 1] -> whole, painted half."""
    whole, mouth = [], []
    for x, y in zip(a.split(BATCH), b.split(BATCH), strict=True):
        seen = ssim((x + 1) / 2, (y + 1) / 2, window_size=11)
        whole.append(seen.mean(dim=(1, 2, 3)))
        mouth.append(painted(seen).mean(dim=(1, 2, 3)))
    return torch.cat(whole).mean(), torch.cat(mouth).mean()


def edges(pictures: Tensor) -> Tensor:
    """Root mean square of the Laplacian, inside the picture: (N, 3, H, W) -> ()."""
    inner = pictures[..., 1:-1, 1:-1]
    around = pictures[..., 2:, 1:-1] + pictures[..., :-2, 1:-1] + pictures[..., 1:-1, 2:] + pictures[..., 1:-1, :-2]
    return (around - 4 * inner).square().mean().sqrt()
