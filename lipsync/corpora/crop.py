"""The one crop of training and dubbing: boxes by rule, and the stretched, antialiased square inside a box.

A box is (y0, y1, x0, x1) in continuous pixels, (0, 0) being the top-left corner of the top-left pixel; x0 > x1 mirrors.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lipsync.errors import LipsyncError

MARGIN = 1.4  # side of a stored track over the side of its crop box
RULES = ("square", "tight", "voxceleb2")
# Edges y0, y1, x0, x1 of `tight` from the square box's centre, the nose base, in halves of its side: hairline to chin.
TIGHT = (-1.05, 0.78, -0.8, 0.8)
# Of the picture, what the original cuts off VoxCeleb2's pictures: bottom, and left and right each.
VOXCELEB2_BOTTOM, VOXCELEB2_SIDE = 2.36 / 8, 1.8 / 8


def crop(images: Tensor, boxes: Tensor, size: int, oversample: int = 1) -> Tensor:
    """Stretch the inside of each box to a square; differentiable, on the images' device.

    Args:
        images: (N, C, H, W), uint8 or float; pixels outside repeat the edge.
        boxes: (N, 4), or (4,) for one box everywhere.
        size: side of the squares.
        oversample: bilinear samples a pixel and axis, averaged: antialiasing for boxes larger than `size`.

    Returns:
        (N, C, size, size) float, in the range of `images`.
    """
    if not images.is_floating_point():
        images = images.float()
    height, width = images.shape[-2:]
    boxes = boxes.to(images).expand(len(images), 4)
    steps = (torch.arange(size * oversample, device=images.device, dtype=images.dtype) + 0.5) / (size * oversample)
    y0, y1, x0, x1 = boxes[:, :, None].unbind(1)
    y = 2 * (y0 + (y1 - y0) * steps) / height - 1  # grid_sample's [-1, 1] spans the outer edges
    x = 2 * (x0 + (x1 - x0) * steps) / width - 1
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)
    squares = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    # The bits of avg_pool2d, which takes six times as long on a CPU.
    parts = (squares[..., y::oversample, x::oversample] for y in range(oversample) for x in range(oversample))
    return sum(parts) / oversample**2 if oversample > 1 else squares


def mask(size: int, device: torch.device | str | None = None) -> Tensor:
    """Return (1, 1, size, size) float: 1 where the network paints, the rows >= size / 2."""
    rows = torch.arange(size, device=device) >= size / 2
    return rows.float()[None, None, :, None].expand(1, 1, size, size).contiguous()


def square_boxes(
    nose_base: Tensor | np.ndarray, chin: Tensor | np.ndarray, bridge: Tensor | np.ndarray, fps: float = 25.0
) -> Tensor:
    """Boxes of the rule `square`: centred on the smoothed nose base, one size a track.

    A size measured afresh on every frame would grow as the jaw drops and so tell the network the answer.

    Args:
        nose_base, chin, bridge: (T, 2) x, y of FaceMesh's points 2, 152 and 168.
        fps: frames a second, which gives the smoothing its length.

    Returns:
        (T, 4) float32.
    """
    nose_base, chin, bridge = (torch.as_tensor(points).double() for points in (nose_base, chin, bridge))
    down = (chin[:, 1] - nose_base[:, 1]).quantile(0.995)
    up = torch.linalg.vector_norm(bridge - nose_base, dim=1).quantile(0.5)
    half = torch.maximum(1.1 * down, 1.85 * up)
    x, y = smooth(nose_base, sigma=0.12 * fps).unbind(1)
    return torch.stack([y - half, y + half, x - half, x + half], dim=1).float()


def rule_boxes(rule: str, square: Tensor, height: int, width: int) -> Tensor:
    """Turns boxes of the rule `square` into another rule's.

    Args:
        rule: `square`; `tight`, from hairline to chin, like the detector's boxes that the official weights saw; or
            `voxceleb2`, always the same part of the picture.
        square: (T, 4).
        height, width: Of the picture, which `voxceleb2` alone looks at.

    Returns:
        (T, 4), not square in general.

    Raises:
        LipsyncError: No such rule.
    """
    if rule == "square":
        return square
    if rule == "tight":
        centres, halves = (square[:, ::2] + square[:, 1::2]) / 2, (square[:, 1::2] - square[:, ::2]) / 2
        edges = square.new_tensor(TIGHT).view(2, 2)
        return (centres[:, :, None] + halves[:, :, None] * edges).flatten(1)
    if rule == "voxceleb2":
        side, bottom = int(VOXCELEB2_SIDE * width), int(VOXCELEB2_BOTTOM * height)
        return square.new_tensor([0, height - bottom, side, width - side]).expand(len(square), 4)
    raise LipsyncError(f"crop_rule: {rule!r} is none of {', '.join(RULES)}")


def smooth(points: Tensor, sigma: float) -> Tensor:
    """Gaussian smoothing of (T, D) along time, the ends repeated; `sigma` in frames."""
    radius = math.ceil(4 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=points.dtype, device=points.device)
    kernel = torch.softmax(-0.5 * (offsets / sigma) ** 2, dim=0)
    padded = F.pad(points.T[:, None], (radius, radius), mode="replicate")
    return F.conv1d(padded, kernel[None, None])[:, 0].T


def track_boxes(boxes: Tensor, margin: float = MARGIN) -> Tensor:
    """Enlarge (T, 4) boxes about their centres: what preparation stores of each frame."""
    y0, y1, x0, x1 = boxes.unbind(-1)
    dy, dx = (y1 - y0) * (margin - 1) / 2, (x1 - x0) * (margin - 1) / 2
    return torch.stack([y0 - dy, y1 + dy, x0 - dx, x1 + dx], dim=-1)


def box_in_track(size: int, margin: float = MARGIN) -> tuple[float, float, float, float]:
    """Return the crop box inside a stored track of side `size`: centred, the same in all its frames."""
    border = (size - size / margin) / 2
    return border, size - border, border, size - border
