"""Where the painted square replaces the source: inside the jaw, in the lower half of the box, with soft edges."""

import numpy as np
import torch
from torch import Tensor

FEATHER = 0.08  # width of the ramp inside the edges, in sides of the box
GRID = 32  # cells over the side of the box on which distances are measured; between its nodes they are linear


def edge_distances(outlines: Tensor, boxes: Tensor) -> Tensor:
    """Measures how far inside the nearest edge each place is, in sides of the box; negative outside the jaw.

    The edges are the jaw and the border of the box's lower half.

    Args:
        outlines: (M, K, 2) x, y from ear to ear by way of the chin; above the ears everything is inside.
        boxes: (M, 4).

    Returns:
        (M, GRID / 2 + 1, GRID + 1) float32, on the nodes of a grid from the box's middle row to its last.
    """
    low, side = boxes[:, None, [2, 0]].double(), (boxes[:, 1::2] - boxes[:, ::2]).flip(1)[:, None].double()
    corners = (outlines.double() - low) / side
    # Closed far above, straight up from both ears, so that only the jaw's own edge is felt in the lower half.
    above = corners[:, [-1, 0]] * corners.new_tensor([1, 0]) - corners.new_tensor([0, 1])
    corners = torch.cat([corners, above], dim=1).float()
    start, way = corners[:, :, None, None], (corners.roll(-1, 1) - corners)[:, :, None, None]
    (x0, y0), (dx, dy) = start.unbind(-1), way.unbind(-1)
    across = torch.arange(GRID + 1) / GRID
    lower = across[GRID // 2 :, None]
    x, y = across - x0, lower - y0

    along, length = x * dx + y * dy, dx**2 + dy**2
    part = (along / length.clamp(min=1e-12)).clamp(0, 1)
    distance = (x**2 + y**2 - part * (2 * along - part * length)).amin(1).clamp(min=0).sqrt()
    # Winding number, which the crossed outline of a profile does not confuse: edges met to the right, by direction.
    met = ((y >= 0) != (y >= dy)) & (x < y * dx / torch.where(dy == 0, 1, dy))
    inside = (met * dy.sign()).sum(1) != 0
    border = torch.minimum(torch.minimum(across, 1 - across), torch.minimum(lower - 0.5, 1 - lower))
    return torch.minimum(torch.where(inside, distance, -distance), border)


def jaw_spans(outlines: Tensor, boxes: Tensor) -> Tensor:
    """(M, 2): the columns between which the mask is above 0, 0 and 1 being the box's edges."""
    x0, x1 = boxes[:, 2:3], boxes[:, 3:4]
    x = (outlines[..., 0] - x0) / (x1 - x0)
    return torch.stack([x.amin(1), x.amax(1)], dim=1).clamp(0, 1)


def matte(distances: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The mask (L, W) float32 in [0, 1] of one face: 0 at the edges and outside, 1 from FEATHER inside them on.

    Args:
        distances: Of the face, by `edge_distances`.
        y, x: (L,) and (W,) float32 centres of the pixels, 0 and 1 being the box's edges.
    """
    t = product(_linear(GRID * y - GRID // 2, GRID // 2 + 1), distances, _linear(GRID * x, GRID + 1).T)
    t *= 1 / FEATHER
    np.clip(t, 0, 1, out=t)
    return t * t * (3 - 2 * t)


def product(left: np.ndarray, middle: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Multiplies (L, A), (..., A, B) and (B, W) on the cores that torch is given; numpy's BLAS would take them all."""
    left, middle, right = map(torch.from_numpy, (left, middle, right))
    return (left @ middle @ right).numpy()


def _linear(places: np.ndarray, nodes: int) -> np.ndarray:
    """(L, nodes) weights of linear interpolation between nodes at 0, 1, 2, ...; beyond them the last one's."""
    numbers = np.arange(nodes, dtype=np.float32)
    return np.maximum(1 - np.abs(places.clip(0, nodes - 1)[:, None] - numbers), 0)
