"""GroupNorm whose sums, painting on a CPU, are as exact as the layers around it."""

import torch
from torch import Tensor, nn

PIXELS = 1024  # of a map; in a smaller one a plain sum is exact enough
PART = 2**18  # numbers at once, which stay in the cache


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm`, but for large maps in channels_last, in float32, without gradients and on a CPU.

    There torch adds a map's pixels one after the other to one float32 sum: of the whole error of a network at 128 px,
    Winograd's convolutions included, nine tenths came of that.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> (N, C, ...)."""
        return by_parts(x, self) if loses(x) else super().forward(x)


def loses(x: Tensor) -> bool:
    """Whether torch's sums over (N, C, H, W) lose digits, and nobody needs gradients."""
    return (
        x.dim() == 4
        and x.shape[2] * x.shape[3] >= PIXELS
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def by_parts(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Normalises (N, C, H, W), channels_last; each sum is of a part of the map; theirs is in float64."""
    n, channels, height, width = x.shape
    flat = x.permute(0, 2, 3, 1).view(n, height * width, channels)
    pixels = max(1, PART // (n * channels))
    parts = flat.split(pixels, dim=1)

    def mean(sums: list[Tensor]) -> Tensor:
        total = torch.stack(sums).sum(0, dtype=torch.float64).view(n, norm.num_groups, -1).sum(2)
        return total / (flat[0].numel() / norm.num_groups)

    average = mean([part.sum(1) for part in parts])
    variance = (mean([part.square().sum(1) for part in parts]) - average**2).clamp(min=0)
    scale = norm.weight.view(norm.num_groups, -1) * (variance + norm.eps).rsqrt()[:, :, None]
    shift = norm.bias.view(norm.num_groups, -1) - average[:, :, None] * scale
    scale, shift = scale.float().view(n, 1, channels), shift.float().view(n, 1, channels)
    result = torch.empty_like(flat)
    for part, normal in zip(parts, result.split(pixels, dim=1), strict=True):
        torch.addcmul(shift, part, scale, out=normal)
    return result.view(n, height, width, channels).permute(0, 3, 1, 2)
