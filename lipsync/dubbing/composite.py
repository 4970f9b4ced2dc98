"""The generated squares back into the planes: resampled, feathered, and nothing touched outside the painted half."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from lipsync.dubbing.colour import plane_boxes, to_yuv
from lipsync.dubbing.generate import Chunk
from lipsync.dubbing.read import Format, PlaneFrame

FEATHER = 0.05  # width of the mask's ramps over the box's side


def composite(chunks: Iterable[Chunk], source: Format) -> Iterator[PlaneFrame]:
    """Paints each chunk's squares into its frames' planes, in place, and passes the frames on.

    The mask rises from 0 at the border of the box's lower half to 1 inside it, so there is a seam neither at the middle
    row nor at the box's edge; samples where it is 0 keep their bytes.
    """
    for frames, boxes, squares in chunks:
        if squares is not None:
            yuv = to_yuv(squares, source.colour)
            for plane, plane_box in enumerate(plane_boxes(boxes, source.halved)):
                _paint([frame.planes[plane] for frame in frames], plane_box, yuv[:, plane])
        yield from frames


def _paint(planes: list[np.ndarray], boxes: Tensor, squares: Tensor) -> None:
    """Blends squares (N, S, S) in 8-bit units into the lower halves of boxes (N, 4) of one plane."""
    size = squares.shape[-1]
    y0, y1, x0, x1 = boxes.double().unbind(1)
    top, left = ((y0 + y1) / 2).floor().long(), x0.floor().long()
    y = _unit(top, math.ceil(float((y1 - y0).max()) / 2) + 1, y0, y1)
    x = _unit(left, math.ceil(float((x1 - x0).max())) + 1, x0, x1)
    down, across = resampling(y, size).to(squares), resampling(x, size).to(squares)
    painted = (down @ squares @ across.mT).clamp(0, 255).cpu().numpy()
    mask = (_ramp(y - 0.5) * _ramp(1 - y))[:, :, None] * (_ramp(x) * _ramp(1 - x))[:, None, :]
    for plane, new, weight, row, column in zip(
        planes, painted, mask.float().numpy(), top.tolist(), left.tolist(), strict=True
    ):
        # The part of the region that lies inside the picture.
        rows = slice(max(-row, 0), max(plane.shape[0] - row, 0))
        columns = slice(max(-column, 0), max(plane.shape[1] - column, 0))
        new, weight = new[rows, columns], weight[rows, columns]
        old = plane[max(row, 0) :, max(column, 0) :][: new.shape[0], : new.shape[1]]
        old[:] = np.where(weight > 0, np.rint(old + weight * (new - old)), old)


def resampling(unit: Tensor, size: int) -> Tensor:
    """Weights (N, L, S) of a square's rows at pixels spread evenly over its side.

    Keys' cubic (a = -1/2), widened where pixels are larger than the square's own: antialiased.

    Args:
        unit: (N, L) centres of the pixels, 0 and 1 being the square's edges; those outside repeat the edge.
        size: S.
    """
    step = size * (unit[:, 1] - unit[:, 0])
    centres = torch.arange(size, device=unit.device, dtype=unit.dtype) + 0.5
    distance = (size * unit.clamp(0, 1)[:, :, None] - centres).abs() / step.clamp(min=1)[:, None, None]
    near = 1 + distance**2 * (1.5 * distance - 2.5)
    far = 2 + distance * (distance * (2.5 - 0.5 * distance) - 4)
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0))
    return weights / weights.sum(2, keepdim=True)


def _unit(first: Tensor, length: int, low: Tensor, high: Tensor) -> Tensor:
    """(N, L) centres of `length` pixels from the `first` (N,) on, in units of the sides from `low` to `high` (N,)."""
    centres = first[:, None] + torch.arange(length) + 0.5
    return (centres - low[:, None]) / (high - low)[:, None]


def _ramp(inside: Tensor) -> Tensor:
    """Smooth step of the distance inside an edge: 0 at the edge and beyond, 1 from FEATHER on."""
    t = (inside / FEATHER).clamp(0, 1)
    return t * t * (3 - 2 * t)
