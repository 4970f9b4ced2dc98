"""Diff2Lip's UNet: noise prediction from the noisy frame, the masked frame, a reference and one mel a frame."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lipsync.errors import LipsyncError
from lipsync.networks.audio_encoder import AudioEncoder
from lipsync.networks.convolution import saves
from lipsync.networks.group_norm import GroupNorm
from lipsync.networks.residual_block import Activation, ResidualBlock, zero

IMAGES = 3
PREDICTIONS = 2


def timestep_embedding(t: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Returns the sinusoidal embedding [cos, sin] of time steps t (N,) as (N, width) float32."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(max_period) / half))
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class Attention(nn.Module):
    """Self-attention over the pixels of a feature map; the output projection starts at zero."""

    def __init__(self, channels: int, head_channels: int, groups: int) -> None:
        super().__init__()
        self.head_channels = head_channels
        self.norm = GroupNorm(groups, channels)
        # 1x1 convolutions by their keys' shapes, linear layers by use: no transposition where x is channels_last.
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zero(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Returns x plus what its pixels read from each other: (N, C, H, W) -> (N, C, H, W)."""
        n, channels, height, width = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        qkv = F.linear(tokens, self.qkv.weight[..., 0], self.qkv.bias)
        # Heads are split before q, k, v.
        q, k, v = qkv.view(n, height * width, -1, 3, self.head_channels).transpose(1, 2).unbind(3)
        read = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        h = F.linear(read, self.proj_out.weight[..., 0], self.proj_out.bias)
        return x + h.transpose(1, 2).reshape(n, channels, height, width)


class Stage(nn.Sequential):
    """A run of layers, of which the residual blocks are given the embedding as well."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, embedding) if isinstance(layer, ResidualBlock) else layer(x)
        return x


def at_once(stage: Stage, h: Tensor, embedding: Tensor) -> Tensor:
    """Runs a stage as `checkpoint` does, and keeps its activations."""
    return stage(h, embedding)


class UNet(nn.Module):
    """Diff2Lip's network, by default in the official 128 px configuration with the original's checkpoint keys.

    Args:
        image_size: Side S of the frames, in pixels.
        channels: Base width; the embedding is four times as wide.
        channel_mult: Width of each level in units of `channels`; a level halves the resolution of the one before.
        num_res_blocks: Residual blocks a level on the way down, one more on the way up.
        attention_resolutions: Sides, in pixels of the network's own grid (S / fold), of the levels with attention.
        head_channels: Channels of an attention head.
        fold: Fold this many pixels a side into channels, so that the network runs at S / fold; 1 is the original.
        groups: Groups of every GroupNorm, the audio encoder's too; must divide every width.
        audio_channels: Width of each level of the audio encoder.
        audio_blocks: Residual blocks a level of the audio encoder.
        dropout: Probability inside the residual blocks.
        checkpointing: Compute a stage's activations again on the way back instead of keeping them: less memory, a third
            more time, the same gradient.

    Raises:
        LipsyncError: The widths, groups, heads and sizes do not divide one another.
    """

    def __init__(
        self,
        image_size: int = 128,
        channels: int = 128,
        channel_mult: tuple[int, ...] = (1, 1, 2, 3, 4),
        num_res_blocks: int = 2,
        attention_resolutions: tuple[int, ...] = (32, 16, 8),
        head_channels: int = 64,
        fold: int = 1,
        groups: int = 32,
        audio_channels: tuple[int, ...] = (32, 64, 96, 128),
        audio_blocks: int = 2,
        dropout: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.checkpointing, self.dropout = checkpointing, dropout
        self.fold = fold
        widths = [channels * multiple for multiple in channel_mult]
        sides = [image_size // fold >> level for level in range(len(widths))]
        attended = [width for width, side in zip(widths, sides, strict=True) if side in attention_resolutions]
        attended.append(widths[-1])
        if image_size % (fold << len(widths) - 1):
            raise LipsyncError(
                f"unet.image_size {image_size} cannot be halved {len(widths) - 1} times after a fold of {fold}: "
                "use fewer levels in channel_mult or another size"
            )
        if unfit := [width for width in (*widths, *audio_channels) if width % groups]:
            raise LipsyncError(f"unet.groups {groups} does not divide the widths {unfit}: choose fewer groups")
        if unfit := [width for width in attended if width % head_channels]:
            raise LipsyncError(f"unet.head_channels {head_channels} does not divide the attended widths {unfit}")

        embedding = 4 * channels
        block = partial(ResidualBlock, embedding=embedding, groups=groups, dropout=dropout)
        attention = partial(Attention, head_channels=head_channels, groups=groups)
        down = partial(F.avg_pool2d, kernel_size=2)
        up = partial(F.interpolate, scale_factor=2, mode="nearest")

        self.time_embed = nn.Sequential(nn.Linear(channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        stem = nn.Conv2d(3 * IMAGES * fold**2, channels, 3, padding=1)
        self.input_blocks = nn.ModuleList([Stage(stem)])
        width, skips = channels, [channels]
        for level, (out, side) in enumerate(zip(widths, sides, strict=True)):
            for _ in range(num_res_blocks):
                layers = [block(width, out), *([attention(out)] if side in attention_resolutions else [])]
                self.input_blocks.append(Stage(*layers))
                width = out
                skips.append(width)
            if level < len(widths) - 1:
                self.input_blocks.append(Stage(block(width, width, resize=down)))
                skips.append(width)

        self.middle_block = Stage(block(width, width), attention(width), block(width, width))

        self.output_blocks = nn.ModuleList()
        for level, (out, side) in reversed(list(enumerate(zip(widths, sides, strict=True)))):
            for last in (*[False] * num_res_blocks, True):
                layers = [block(width + skips.pop(), out), *([attention(out)] if side in attention_resolutions else [])]
                if level and last:
                    layers.append(block(out, out, resize=up))
                self.output_blocks.append(Stage(*layers))
                width = out

        head = nn.Conv2d(width, PREDICTIONS * IMAGES * fold**2, 3, padding=1)
        self.out = nn.Sequential(GroupNorm(groups, width), Activation(), zero(head))
        self.audio_encoder = AudioEncoder(audio_channels, audio_blocks, groups, dropout)
        self.audio_encoder_to_style = nn.Sequential(
            GroupNorm(groups, audio_channels[-1]),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            zero(nn.Conv2d(audio_channels[-1], embedding, 1)),
            nn.Flatten(),
        )

    def embed_audio(self, frame_mels: Tensor) -> Tensor:
        """Returns each frame's audio embedding, the same at every time step: (N, 80, 16) -> (N, 4 * channels)."""
        return self.audio_encoder_to_style(self.audio_encoder(frame_mels))

    def embed_time(self, t: Tensor) -> Tensor:
        """Returns the embedding of original time steps: t (N,) -> (N, 4 * channels)."""
        sinusoids = timestep_embedding(t, self.channels)
        return self.time_embed(sinusoids.to(self.time_embed[0].weight.dtype))

    def denoise(self, x_t: Tensor, t: Tensor, masked: Tensor, reference: Tensor, audio: Tensor) -> Tensor:
        """Returns the prediction and the variance's interpolation for an audio embedding computed before.

        Args:
            x_t: Diffusion state (N, 3, S, S); its upper half is replaced by that of `masked`.
            t: Original time steps (N,), int64.
            masked: Frames with noise in the lower half (N, 3, S, S), in [-1, 1].
            reference: Another moment of the same person (N, 3, S, S), in [-1, 1].
            audio: What `embed_audio` returned (N, 4 * channels).

        Returns:
            (N, 6, S, S) float32: three channels of eps, v or x_0, then three of the variance's interpolation.
        """
        half = x_t.shape[2] // 2
        x = torch.cat([masked[:, :, :half], x_t[:, :, half:]], dim=2)
        h = F.pixel_unshuffle(torch.cat([x, masked, reference], dim=1), self.fold)
        if saves(h):
            h = h.contiguous(memory_format=torch.channels_last)  # as those convolutions return it
        embedding = self.embed_time(t) + audio

        run = partial(checkpoint, use_reentrant=False) if self.checkpointing and torch.is_grad_enabled() else at_once
        skips = []
        for stage in self.input_blocks:
            h = run(stage, h, embedding)
            skips.append(h)
        h = run(self.middle_block, h, embedding)
        for stage in self.output_blocks:
            h = run(stage, torch.cat([h, skips.pop()], dim=1), embedding)
        # In bfloat16 the last convolution would round to a 1/256 of the range: pictures deserve float32.
        with torch.autocast(h.device.type, enabled=False):
            return F.pixel_shuffle(self.out(h.to(self.out[-1].weight.dtype)), self.fold)

    def forward(self, x_t: Tensor, t: Tensor, masked: Tensor, reference: Tensor, frame_mels: Tensor) -> Tensor:
        """Returns `denoise` of the same arguments with the audio embedding of frame_mels (N, 80, 16)."""
        return self.denoise(x_t, t, masked, reference, self.embed_audio(frame_mels))
