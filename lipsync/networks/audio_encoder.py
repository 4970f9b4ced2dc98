"""Diff2Lip's audio encoder: one frame's mel spectrogram as a small picture, convolved down to a feature map."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lipsync.networks.residual_block import ResidualBlock

MELS = 80
BANDS = 64
COLUMNS = 16


class AudioEncoder(nn.Module):
    """Convolutional encoder of (N, 80, 16) mels; the keys are those of the original checkpoint.

    Args:
        channels: Channels of each level; a down block stands between two levels.
        num_blocks: Residual blocks a level.
        groups: Groups of every GroupNorm.
        dropout: Probability inside the residual blocks.
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (32, 64, 96, 128),
        num_blocks: int = 2,
        groups: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        embedding = channels[0]
        self.time_embed = nn.Sequential(nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.input_block = nn.Sequential(nn.Conv1d(MELS, BANDS, 3, padding=1), nn.GroupNorm(groups, BANDS), nn.SiLU())

        block = partial(ResidualBlock, embedding=embedding, groups=groups, dropout=dropout)
        blocks: list[nn.Module] = [nn.Conv2d(1, channels[0], 3, padding=1)]
        width, bands = channels[0], BANDS
        for level, out in enumerate(channels):
            for _ in range(num_blocks):
                blocks.append(block(width, out))
                width = out
            if level < len(channels) - 1:
                # Bands alone are halved until the map is square: 64x16, 32x16, 16x16, 8x8.
                pool = (2, 1) if bands > COLUMNS else (2, 2)
                blocks.append(block(width, width, resize=partial(F.avg_pool2d, kernel_size=pool)))
                bands //= 2
        self.encoder_blocks = nn.ModuleList(nn.ModuleList([layer]) for layer in blocks)
        self.middle_block = nn.ModuleList([block(width, width)])

    def forward(self, frame_mels: Tensor) -> Tensor:
        """Returns the feature map: frame_mels (N, 80, 16), log mels in [-4, 4] -> (N, channels[-1], 8, 8)."""
        # The original feeds its time embedding t = 0 for ever (cos 0 = 1, sin 0 = 0): one row serves the whole batch.
        width = self.time_embed[0].in_features
        zero_time = (torch.arange(width, device=frame_mels.device) < width // 2).to(frame_mels.dtype)
        embedding = self.time_embed(zero_time[None])

        (stem,), *blocks = self.encoder_blocks
        h = stem(self.input_block(frame_mels).unsqueeze(1))
        for (block,) in (*blocks, self.middle_block):
            h = block(h, embedding)
        return h
