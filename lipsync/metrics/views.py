"""What the judges see of a clip, computed once: pictures, landmarks and features of the frozen face mesh."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lipsync.errors import LipsyncError
from lipsync.metrics.inception import Inception
from lipsync.networks.face_mesh import INPUT_SIZE, FaceMesh, pad_same

BATCH = 8  # frames looked at at once: what a core's cache holds, half the time of all at once


class View(NamedTuple):
    """A clip as it is judged.

    Attributes:
        pictures: (N, 3, E, E) in [-1, 1].
        landmarks: (N, 468, 2), x and y in shares of the crop's side, 0 to 1.
        features: (N, F) float32, for the Frechet distance.
    """

    pictures: Tensor
    landmarks: Tensor
    features: Tensor


class Viewer(nn.Module):
    """Looks at face crops with FaceMesh, run on the crops themselves, for landmarks and, without Inception, features.

    FaceMesh's features are mean and spread of the 32 channels of its second level, over the whole crop and over the
    painted half: coarser levels know where a face is, not how it looks.

    Args:
        fid_weights: As `inception.Inception`, whose features are taken then; None: FaceMesh's.

    Attributes:
        frechet: What a Frechet distance of its features is called.
        dimensions: F.

    Raises:
        LipsyncError: As `Inception`.
    """

    def __init__(self, fid_weights: str | None = None) -> None:
        super().__init__()
        self.inception = None if fid_weights is None else Inception(fid_weights)
        self.frechet, self.dimensions = ("fid", Inception.dimensions) if self.inception else ("fd_mesh", 128)
        # With channels last a CPU needs half the time.
        self.mesh = FaceMesh.pretrained().requires_grad_(False).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> View:
        """Looks at a clip (N, 3, E, E) in [-1, 1], in float32.

        Raises:
            LipsyncError: No frames, frames that are not square colour pictures, or values that are not finite.
        """
        if pictures.ndim != 4 or pictures.shape[1] != 3 or pictures.shape[2] != pictures.shape[3] or not len(pictures):
            raise LipsyncError(f"a clip of shape {tuple(pictures.shape)} cannot be judged: it has to be (N, 3, E, E)")
        if not pictures.isfinite().all():
            raise LipsyncError("a clip with values that are not finite cannot be judged: whatever made it has diverged")
        with torch.autocast(pictures.device.type, enabled=False):
            seen = [self._look(part) for part in pictures.float().split(BATCH)]
        landmarks, features = (torch.cat(parts) for parts in zip(*seen, strict=True))
        return View(pictures, landmarks, features)

    def _look(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        faces = F.interpolate(pictures, (INPUT_SIZE, INPUT_SIZE), mode="bilinear", align_corners=False)
        fine = self.mesh.trunk[:3](self.mesh.stem(pad_same(faces * 0.5 + 0.5)))
        landmarks = self.mesh.landmarks(self.mesh.trunk[3:](fine)).unflatten(1, (-1, 3))
        if self.inception is None:
            features = torch.cat([*spread(fine), *spread(painted(fine))], dim=1)
        else:
            features = self.inception(pictures)
        return landmarks[..., :2] / INPUT_SIZE, features


def spread(level: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (N, C) of every channel over the picture, (N, C, H, W)."""
    mean = level.mean(dim=(2, 3))
    return mean, (level - mean[..., None, None]).square().mean(dim=(2, 3)).sqrt()


def painted(pictures: Tensor) -> Tensor:
    """Returns the rows that the network paints, (..., S/2, S) of (..., S, S)."""
    return pictures[..., pictures.shape[-2] // 2 :, :]


def match(view: View, truth: View) -> None:
    """Makes sure that two clips can be compared frame by frame.

    Raises:
        LipsyncError: They differ in length or size.
    """
    if view.pictures.shape != truth.pictures.shape:
        (frames, _, side, _), (true_frames, _, true_side, _) = view.pictures.shape, truth.pictures.shape
        raise LipsyncError(
            f"a clip of {frames} frames at {side} px cannot be compared with {true_frames} frames at {true_side} px: "
            "cut both to the same frames and size"
        )
