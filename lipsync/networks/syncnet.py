"""SyncNet in Wav2Lip's layout: embeds a window of mouths and its sound so that matching pairs point the same way."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lipsync.errors import LipsyncError

FRAMES = 5

# Output channels in units of the width, kernel, stride, padding.
FACE_LAYERS = (
    (1, 7, 1, 3),
    (2, 5, (1, 2), 1), (2, 3, 1, 1), (2, 3, 1, 1),
    (4, 3, 2, 1), (4, 3, 1, 1), (4, 3, 1, 1), (4, 3, 1, 1),
    (8, 3, 2, 1), (8, 3, 1, 1), (8, 3, 1, 1),
    (16, 3, 2, 1), (16, 3, 1, 1), (16, 3, 1, 1),
    (16, 3, 2, 1),
)  # fmt: skip
MEL_LAYERS = (
    (1, 3, 1, 1), (1, 3, 1, 1), (1, 3, 1, 1),
    (2, 3, (3, 1), 1), (2, 3, 1, 1), (2, 3, 1, 1),
    (4, 3, 3, 1), (4, 3, 1, 1), (4, 3, 1, 1),
    (8, 3, (3, 2), 1), (8, 3, 1, 1), (8, 3, 1, 1),
)  # fmt: skip


class ConvBlock(nn.Module):
    """Convolution, normalisation, the input added by a 3x3 convolution that keeps shape and width, ReLU."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int],
        padding: int,
        norm: str,
    ) -> None:
        super().__init__()
        self.residual = channels == out_channels and (kernel, stride, padding) == (3, 1, 1)
        # Eight channels a group, so that a narrow network's first layers do not normalise every channel by itself.
        groups = math.gcd(out_channels, max(out_channels // 8, 1))
        self.conv_block = nn.Sequential(
            nn.Conv2d(channels, out_channels, kernel, stride, padding),
            nn.BatchNorm2d(out_channels) if norm == "batch" else nn.GroupNorm(groups, out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_block(x)
        return F.relu(h + x if self.residual else h)


def encoder(channels: int, size: tuple[int, int], layers: tuple, width: int, norm: str) -> nn.Sequential:
    """Returns the layers, then a convolution over all that is left of the map and a 1x1 convolution."""
    blocks = []
    for multiple, kernel, stride, padding in layers:
        blocks.append(ConvBlock(channels, multiple * width, kernel, stride, padding, norm))
        channels = multiple * width
        strides = (stride, stride) if isinstance(stride, int) else stride
        size = tuple((side + 2 * padding - kernel) // step + 1 for side, step in zip(size, strides, strict=True))
    blocks.append(ConvBlock(channels, 16 * width, size, 1, 0, norm))
    blocks.append(ConvBlock(16 * width, 16 * width, 1, 1, 0, norm))
    return nn.Sequential(*blocks)


def mouths(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns the lower halves of frames (B, T, 3, S, S), joined along channels: (B, 3 T, *size) BGR in [0, 1]."""
    lower = frames[..., frames.shape[-2] // 2 :, :].flip(2)
    face = ((lower + 1) / 2).flatten(1, 2)
    if face.shape[2:] == size:
        return face
    return F.interpolate(face, size, mode="bilinear", align_corners=False, antialias=True)


def unit(embedding: Tensor) -> Tensor:
    """Scales embeddings (B, E) to unit length, in float32 at least."""
    return F.normalize(embedding.to(torch.promote_types(embedding.dtype, torch.float32)), dim=1)


class SyncNet(nn.Module):
    """Wav2Lip's SyncNet, with the original's keys at every width; 32 and "batch" are the original.

    Args:
        width: Channels of the first layers; embeddings are 16 times as wide.
        norm: "batch", or "group" so that accumulated gradients are those of one large batch.
        face_size: Height and width of the lower half face it looks at; at least 17 x 17.

    Raises:
        LipsyncError: No such norm.
    """

    def __init__(self, width: int = 32, norm: str = "batch", face_size: tuple[int, int] = (48, 96)) -> None:
        super().__init__()
        if norm not in ("batch", "group"):
            raise LipsyncError(f"syncnet.norm: {norm!r} is neither batch nor group")
        self.frames, self.face_size = FRAMES, tuple(face_size)
        self.face_encoder = encoder(3 * FRAMES, self.face_size, FACE_LAYERS, width, norm)
        self.audio_encoder = encoder(1, (80, 16), MEL_LAYERS, width, norm)

    def faces(self, frames: Tensor) -> Tensor:
        """Returns what `forward` takes as face, differentiably: frames (B, 5, 3, S, S) RGB in [-1, 1] -> (B, 15, h, w).

        The lower half (rows >= S / 2) in BGR and [0, 1], channels in the order of the frames, resized if need be.
        """
        return mouths(frames, self.face_size)

    def embed_audio(self, mel: Tensor) -> Tensor:
        """Returns embeddings of unit length, no component negative: mel (B, 1, 80, 16) -> (B, 16 * width) float32."""
        # The last ReLU stands before the L2 norm, so that a cosine is in [0, 1].
        return unit(self.audio_encoder(mel).flatten(1))

    def embed_face(self, face: Tensor) -> Tensor:
        """Returns embeddings of unit length, no component negative: face (B, 15, h, w) -> (B, 16 * width) float32."""
        return unit(self.face_encoder(face).flatten(1))

    def forward(self, mel: Tensor, face: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the embeddings of windows: mel (B, 1, 80, 16), face (B, 15, h, w) -> audio, face (B, 16 * width)."""
        return self.embed_audio(mel), self.embed_face(face)
