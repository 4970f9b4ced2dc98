"""A 3x3 convolution that, painting on a CPU, needs a fourth of the multiplications (Winograd, arXiv 1509.09308)."""

import torch
from torch import Tensor, nn

# F(4x4, 3x3) over the points 0, P, -P, Q, -Q and infinity. With P Q = 1 (others: arXiv 1803.10986) a third less is
# lost to rounding than over 0, 1, -1, 1/2, -2.
P, Q = 2 / 3, 3 / 2
OF_P, OF_Q = 2 * P**2 * (P**2 - Q**2), 2 * Q**2 * (Q**2 - P**2)
INPUT = [
    [1, 0, -(P**2) - Q**2, 0, 1, 0],
    [0, -Q, -(Q**2), P, 1, 0],
    [0, Q, -(Q**2), -P, 1, 0],
    [0, -P, -(P**2), Q, 1, 0],
    [0, P, -(P**2), -Q, 1, 0],
    [0, 1, 0, -(P**2) - Q**2, 0, 1],
]
KERNEL = [
    [1, 0, 0],
    [1 / OF_P, P / OF_P, P**2 / OF_P],
    [1 / OF_P, -P / OF_P, P**2 / OF_P],
    [1 / OF_Q, Q / OF_Q, Q**2 / OF_Q],
    [1 / OF_Q, -Q / OF_Q, Q**2 / OF_Q],
    [0, 0, 1],
]
OUTPUT = [
    [1, 1, 1, 1, 1, 0],
    [0, P, -P, Q, -Q, 0],
    [0, P**2, P**2, Q**2, Q**2, 0],
    [0, P**3, -(P**3), Q**3, -(Q**3), 1],
]
TILE, PATCH = 4, 6  # pixels a side that a tile gives, and that it looks at
TILES = 128  # at once: what lies between the transforms then stays in the cache
SMALLEST, NARROWEST = 16, 128  # pixels a side and channels below which it does not pay


class Conv3x3(nn.Conv2d):
    """`nn.Conv2d` with 3x3 kernels and a pixel of padding; without gradients, in float32 and on a CPU, by Winograd.

    What it then returns is channels_last, and within rounding of what `nn.Conv2d` does. The transformed kernels take
    four times the memory of the weights; they are kept until those change.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, 3, padding=1)
        self._known: tuple[tuple[int, int], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H, W)."""
        if saves(x) and min(self.in_channels, self.out_channels) >= NARROWEST:
            return winograd(x, self._kernels(), self.bias)
        return super().forward(x)

    def _kernels(self) -> Tensor:
        weight = self.weight.detach()
        # An average may be swapped in (another place), an optimizer or a checkpoint write in place (another version).
        state = weight.data_ptr(), self.weight._version
        if self._known is None or self._known[0] != state:
            self._known = state, transform(weight)
        return self._known[1]

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_known": None}  # copies make their own


def saves(x: Tensor) -> bool:
    """Whether Winograd's way can be taken for (N, C, H, W), and is the faster one."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and x.shape[2] % TILE == x.shape[3] % TILE == 0
        and min(x.shape[2:]) >= SMALLEST
    )


def transform(weight: Tensor) -> Tensor:
    """Transforms kernels (C', C, 3, 3) for `winograd`: (36, C, C')."""
    kernel = torch.tensor(KERNEL, dtype=torch.float64)  # done once, so it may be exact
    flat = torch.kron(kernel, kernel) @ weight.double().permute(2, 3, 1, 0).flatten(end_dim=1).flatten(1)
    return flat.float().view(PATCH**2, weight.shape[1], weight.shape[0])


def winograd(x: Tensor, kernels: Tensor, bias: Tensor) -> Tensor:
    """Convolves (N, C, H, W), sides multiples of four, with transformed kernels (36, C, C'): eq. 8, many tiles at once.

    Returns:
        (N, C', H, W), channels_last.
    """
    n, channels, height, width = x.shape
    down, across, out_channels = height // TILE, width // TILE, kernels.shape[2]
    into, back = (torch.kron(matrix, matrix) for matrix in (torch.tensor(INPUT), torch.tensor(OUTPUT)))

    padded = x.new_empty(n, height + 2, width + 2, channels)
    padded[:, [0, -1]] = padded[:, :, [0, -1]] = 0
    padded[:, 1:-1, 1:-1] = x.permute(0, 2, 3, 1)
    of_n, of_y, of_x, of_c = padded.stride()
    strides = of_y, of_x, of_n, TILE * of_y, TILE * of_x, of_c
    patches = padded.as_strided((PATCH, PATCH, n, down, across, channels), strides)
    result = x.new_empty(n, height, width, out_channels)
    tiles = result.view(n, down, TILE, across, TILE, out_channels).permute(2, 4, 0, 1, 3, 5)

    rows = max(1, min(down, TILES // across))
    pictures = max(1, TILES // (rows * across))
    for picture in range(0, n, pictures):
        for row in range(0, down, rows):
            part = (slice(None), slice(None), slice(picture, picture + pictures), slice(row, row + rows))
            inputs = (into @ patches[part].reshape(PATCH**2, -1)).view(PATCH**2, -1, channels)
            outputs = back @ torch.bmm(inputs, kernels).view(PATCH**2, -1)
            torch.add(outputs.view(tiles[part].shape), bias, out=tiles[part])
    return result.permute(0, 3, 1, 2)
