"""BlazeFace "full range, sparse" (Bazarevsky et al., arXiv:1907.05047; Google MediaPipe): finds faces in a square."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lipsync.weights import read_weights

INPUT_SIZE = 192
MAP_SIZE = 48
# (channels, bottleneck channels, residual blocks) of the stages at 1/4, 1/8, 1/16 and 1/32 of the input.
STAGES = ((64, 16, 2), (128, 32, 2), (192, 48, 2), (384, 96, 3))
# (channels, residual blocks) on the way back up, from 1/4 to 1/16.
PYRAMID = ((48, 1), (64, 2), (96, 2))


class Candidates(NamedTuple):
    """Faces as fractions of the square: boxes (..., 4) x0, y0, x1, y1; keypoints (..., 6, 2) x, y; scores (...).

    Keypoints: eye image left, eye image right, nose tip, mouth centre, ear image left, ear image right.
    """

    boxes: Tensor
    keypoints: Tensor
    scores: Tensor


def separable(channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """A depthwise 3x3 convolution, then a pointwise one."""
    depthwise = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels)
    return nn.Sequential(depthwise, nn.Conv2d(channels, out_channels, 1))


class Residual(nn.Module):
    """Two separable convolutions through a bottleneck, added to their input."""

    def __init__(self, channels: int, bottleneck: int) -> None:
        super().__init__()
        self.reduce = separable(channels, bottleneck)
        self.expand = separable(bottleneck, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.expand(self.reduce(x).relu_()).add_(x).relu_()


class Stage(nn.Sequential):
    """Halves the map, widens it, then refines it by residual blocks."""

    def __init__(self, in_channels: int, channels: int, bottleneck: int, blocks: int) -> None:
        super().__init__(
            separable(in_channels, bottleneck, stride=2),
            nn.ReLU(inplace=True),
            separable(bottleneck, channels),
            nn.ReLU(inplace=True),
            *(Residual(channels, bottleneck) for _ in range(blocks)),
        )


class Merge(nn.Module):
    """Brings a coarse map up to the next finer one, adds that, then refines the sum."""

    def __init__(self, coarse_channels: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(coarse_channels, channels, 1)
        self.refine = nn.Sequential(*(Residual(channels, channels // 2) for _ in range(blocks)))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        up = F.interpolate(self.project(coarse).relu_(), scale_factor=2, mode="bilinear", align_corners=False)
        return self.refine(up.add_(fine))


class Head(nn.Module):
    """Values of every anchor, (N, 2304, values): four cells share a place on a half-size map."""

    def __init__(self, channels: int, values: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, 4 * values, 1)
        self.shrink = nn.Conv2d(4 * values, 4 * values, 3, stride=2, padding=1, groups=4 * values)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shrink(self.mix(x))
        # Channel (2 dy + dx) * values + c is cell (2 y + dy, 2 x + dx): TensorFlow's order, not pixel_shuffle's.
        x = x.unflatten(1, (2, 2, -1))  # N, dy, dx, c, y, x
        return x.permute(0, 4, 1, 5, 2, 3).flatten(1, 4)


class FaceDetector(nn.Module):
    """The network: pictures (N, 3, 192, 192) RGB in -1..1 -> raw boxes (N, 2304, 16) and raw scores (N, 2304)."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Conv2d(3, 32, 3, stride=2, padding=1)
        self.stem = nn.Sequential(stem, nn.ReLU(inplace=True), Residual(32, 8), Residual(32, 8))
        widths = [channels for channels, _, _ in STAGES]
        self.stages = nn.ModuleList(
            Stage(before, *stage) for before, stage in zip([32, *widths[:-1]], STAGES, strict=True)
        )
        self.laterals = nn.ModuleList(
            nn.Conv2d(width, channels, 1) for width, (channels, _) in zip(widths[:-1], PYRAMID, strict=True)
        )
        coarser = [*(channels for channels, _ in PYRAMID[1:]), widths[-1]]
        self.merges = nn.ModuleList(Merge(before, *level) for before, level in zip(coarser, PYRAMID, strict=True))
        self.boxes = Head(PYRAMID[0][0], 16)
        self.scores = Head(PYRAMID[0][0], 1)

    @classmethod
    def pretrained(cls) -> "FaceDetector":
        """The network with MediaPipe's weights (float32, on the CPU), in evaluation mode."""
        detector = cls()
        detector.load_state_dict(read_weights("face_detector"))
        return detector.eval()

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        *fine_stages, last_stage = self.stages
        x = self.stem(pictures)
        fine = []
        for stage, lateral in zip(fine_stages, self.laterals, strict=True):
            x = stage(x)
            fine.append(lateral(x).relu_())
        x = last_stage(x)
        for merge in reversed(self.merges):
            x = merge(x, fine.pop())
        return self.boxes(x), self.scores(x).squeeze(-1)


def anchors(device: torch.device | str = "cpu") -> Tensor:
    """Centres of the 48 x 48 cells, (2304, 2) x, y as fractions of the square, rows first."""
    centres = (torch.arange(MAP_SIZE, device=device) + 0.5) / MAP_SIZE
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x, y], -1).flatten(0, 1)


def decode(raw_boxes: Tensor, raw_scores: Tensor) -> Candidates:
    """The network's raw outputs as one candidate an anchor, batch dimensions kept."""
    points = raw_boxes.unflatten(-1, (8, 2)) / INPUT_SIZE  # centre, size, six keypoints
    size = points[..., 1, :]
    points = points + anchors(raw_boxes.device)[:, None]
    centre = points[..., 0, :]
    boxes = torch.cat([centre - size / 2, centre + size / 2], -1)
    # Far from faces raw scores reach -437; MediaPipe clips them.
    return Candidates(boxes, points[..., 2:, :], raw_scores.clamp(-100, 100).sigmoid())


def overlaps(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every two boxes, (A, 4), (B, 4) -> (A, B)."""
    low = torch.maximum(a[:, None, :2], b[:, :2])
    high = torch.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b))
    return shared / (area_a[:, None] + area_b - shared)


def suppress(candidates: Candidates, threshold: float = 0.3) -> Candidates:
    """Weighted suppression within one picture, best first: a face is the score-weighted mean of the candidates over it.

    The best candidate left takes all that overlap it by more than `threshold` (IoU), and keeps its own score.
    """
    order = candidates.scores.argsort(descending=True, stable=True)
    boxes, keypoints, scores = (values[order] for values in candidates)
    points = torch.cat([boxes, keypoints.flatten(1)], 1)
    joined = overlaps(boxes, boxes) > threshold
    left = torch.ones_like(scores, dtype=torch.bool)
    best, merged = [], []
    for index in range(len(scores)):
        if left[index]:
            group = joined[index] & left
            weights = scores * group
            best.append(index)
            merged.append(weights @ points / weights.sum())
            left &= ~group
    faces = torch.stack(merged) if merged else points
    return Candidates(faces[:, :4], faces[:, 4:].unflatten(1, (6, 2)), scores[best])
