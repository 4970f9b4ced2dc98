"""A SyncNet of today: GroupNorm, residual blocks, attention where maps are small, any number of frames, any size."""

import torch.nn.functional as F
from torch import Tensor, nn

from lipsync.errors import LipsyncError, check_choice
from lipsync.networks.syncnet import mouths, unit
from lipsync.networks.unet import Attention

BINS = 80
COLUMNS_A_FRAME = 16 / 5
GROUP = 8  # channels normalised together
MULTIPLES = (1, 2, 4, 8)
ATTENDED = 2  # levels, from the last, with attention
NORMS = {"group": lambda channels: nn.GroupNorm(channels // GROUP, channels), "batch": nn.BatchNorm2d}


class Block(nn.Module):
    """Two convolutions before which the map is normalised, added to the input; the second starts at zero."""

    def __init__(self, channels: int, out_channels: int, stride: int, norm: str) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            NORMS[norm](channels),
            nn.SiLU(),
            nn.Conv2d(channels, out_channels, 3, stride, 1),
            NORMS[norm](out_channels),
            nn.SiLU(),
            nn.Conv2d(out_channels, out_channels, 3, 1, 1),
        )
        nn.init.zeros_(self.convolutions[-1].weight)
        self.skip = nn.Conv2d(channels, out_channels, 1)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        # Averaged, not decimated: what a 1x1 convolution with a stride skips is lost.
        short = F.avg_pool2d(x, self.stride, ceil_mode=True) if self.stride > 1 else x
        return self.skip(short) + self.convolutions(x)


def encoder(channels: int, size: tuple[int, int], width: int, embedding: int, norm: str) -> nn.Sequential:
    """Returns the layers from a map (N, channels, *size) to an embedding (N, embedding), no component negative."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 2, 1)]
    height, breadth = ((side + 1) // 2 for side in size)
    before = width
    for level, multiple in enumerate(MULTIPLES):
        out = multiple * width
        layers.append(Block(before, out, 1 if level == 0 else 2, norm))
        if level > 0:
            height, breadth = (height + 1) // 2, (breadth + 1) // 2
        if level >= len(MULTIPLES) - ATTENDED:
            layers.append(Attention(out, head_channels=2 * width, groups=out // GROUP))
        before = out
    layers += [NORMS[norm](before), nn.SiLU(), nn.Flatten()]
    # The last ReLU stands before the L2 norm, so that a cosine is in [0, 1].
    return nn.Sequential(*layers, nn.Linear(before * height * breadth, embedding), nn.ReLU())


class AttentiveSyncNet(nn.Module):
    """Embeds a window of mouths and its sound, as `SyncNet` does, in a network that learns faster.

    Args:
        width: Channels of the first level; a multiple of 8.
        frames: T, frames in a window.
        face_size: Height and width of the lower half face it looks at.
        embedding: Length of the embeddings.
        norm: "group", or "batch", which learns faster where a batch is large, and whose chunks are no whole batch.

    Raises:
        LipsyncError: A width that cannot be grouped, or no such norm.
    """

    def __init__(
        self,
        width: int = 24,
        frames: int = 5,
        face_size: tuple[int, int] = (32, 64),
        embedding: int = 256,
        norm: str = "group",
    ) -> None:
        super().__init__()
        check_choice("syncnet.norm", norm, NORMS)
        if width % GROUP:
            raise LipsyncError(f"syncnet.width: {width} is no multiple of {GROUP}")
        self.frames, self.face_size = frames, tuple(face_size)
        columns = int(COLUMNS_A_FRAME * frames)
        self.face_encoder = encoder(3 * frames, self.face_size, width, embedding, norm)
        self.audio_encoder = encoder(1, (BINS, columns), width, embedding, norm)

    def faces(self, frames: Tensor) -> Tensor:
        """Returns what `forward` takes as face, as `SyncNet.faces`: (B, T, 3, S, S) -> (B, 3 T, h, w)."""
        return mouths(frames, self.face_size)

    def embed_audio(self, mel: Tensor) -> Tensor:
        """Returns embeddings of unit length, no component negative: mel (B, 1, 80, M) -> (B, E) float32."""
        return unit(self.audio_encoder(mel))

    def embed_face(self, face: Tensor) -> Tensor:
        """Returns embeddings of unit length, no component negative: face (B, 3 T, h, w) -> (B, E) float32."""
        return unit(self.face_encoder(face * 2 - 1))

    def forward(self, mel: Tensor, face: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the embeddings of windows: mel (B, 1, 80, M), face (B, 3 T, h, w) -> audio, face, each (B, E)."""
        return self.embed_audio(mel), self.embed_face(face)
