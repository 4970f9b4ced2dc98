"""Colour of decoded planes: from YCbCr to the RGB that the network sees and back, by the source's matrix and range."""

from typing import TYPE_CHECKING, NamedTuple

import torch
from av import VideoFrame
from av.video.reformatter import ColorRange
from torch import Tensor

from lipsync.container import LUMA, named_matrix
from lipsync.errors import LipsyncError

if TYPE_CHECKING:
    from lipsync.dubbing.read import Format

TWINS = {6: 5, 10: 9}  # BT.601 with 525 lines; BT.2020 that wants linear light, as nobody codes it


class Colour(NamedTuple):
    """AVColorSpace value of the matrix, whether the range is full rather than limited (16 to 235), bits of a sample."""

    matrix: int
    full: bool
    depth: int = 8

    @classmethod
    def of(cls, frame: VideoFrame) -> "Colour":
        """Reads a frame's tags; untagged video is BT.601 up to 576 lines and BT.709 above, as in `lipsync.video`."""
        matrix = TWINS.get(named_matrix(frame), named_matrix(frame))
        if matrix not in LUMA:
            raise LipsyncError(f"a video of AVColorSpace {matrix} cannot be dubbed: convert it to BT.709 first")
        full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
        # What has more bits is handled in 10.
        depth = 10 if max(component.bits for component in frame.format.components) > 8 else 8
        return cls(matrix, full, depth)

    @property
    def span(self) -> int:
        """Levels of luma from black to white."""
        return 2**self.depth - 1 if self.full else 219 * 2 ** (self.depth - 8)


def to_yuv(rgb: Tensor, colour: Colour) -> Tensor:
    """Converts (N, 3, H, W) RGB in [-1, 1] to YCbCr in the levels of the planes, not rounded."""
    weights, offset = _conversion(colour)
    return _affine(rgb, weights / 2, weights.sum(1) / 2 + offset)


def to_rgb(yuv: Tensor, colour: Colour) -> Tensor:
    """Converts (N, 3, H, W) YCbCr in the levels of the planes to RGB, clamped to [-1, 1]."""
    weights, offset = _conversion(colour)
    inverse = 2 * torch.linalg.inv(weights)
    return _affine(yuv, inverse, -inverse @ offset - 1).clamp(-1, 1)


def plane_boxes(boxes: Tensor, source: "Format") -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (N, 4) of the picture in the pixels of the planes Y, U and V.

    Subsampled chroma is sited left: level with the even luma columns and between two luma rows (H.264's default).
    """
    across, down = source.subsampling
    shift = (1 - 1 / across) / 2
    chroma = boxes / boxes.new_tensor([down, down, across, across]) + boxes.new_tensor([0, 0, shift, shift])
    return boxes, chroma, chroma


def _conversion(colour: Colour) -> tuple[Tensor, Tensor]:
    """(3, 3) and (3,) float64: YCbCr = weights @ RGB in [0, 1] + offset (ITU-T H.273, equations 23 to 31)."""
    luma = torch.tensor(LUMA[colour.matrix], dtype=torch.float64)
    r, _, b = torch.eye(3, dtype=torch.float64)
    weights = torch.stack([luma, (b - luma) / (2 * (1 - luma[2])), (r - luma) / (2 * (1 - luma[0]))])
    unit, half = 2 ** (colour.depth - 8), 2 ** (colour.depth - 1)
    scale = [colour.span] * 3 if colour.full else [colour.span, 224 * unit, 224 * unit]
    offset = [0 if colour.full else 16 * unit, half, half]
    return torch.tensor(scale, dtype=torch.float64)[:, None] * weights, torch.tensor(offset, dtype=torch.float64)


def _affine(pixels: Tensor, weights: Tensor, offset: Tensor) -> Tensor:
    return torch.einsum("ij,njhw->nihw", weights.to(pixels), pixels) + offset.to(pixels)[:, None, None]
