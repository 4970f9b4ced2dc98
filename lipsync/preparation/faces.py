"""Faces in pictures: MediaPipe's chain of detector, region and mesh, for a batch of frames at a time."""

from itertools import chain
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lipsync.networks import face_detector, face_mesh
from lipsync.networks.face_detector import Candidates, FaceDetector
from lipsync.networks.face_mesh import FaceMesh
from lipsync.side_by_side import on_cores

MIN_SCORE = 0.5
MIN_PRESENCE = 0.5
# Side of the mesh's region over the longer side of the detector's box.
REGION_SCALE = 1.5


class Faces(NamedTuple):
    """The M faces of one frame, best score first, in frame pixels (float32, on the CPU).

    boxes (M, 4) x0, y0, x1, y1; scores (M,); landmarks (M, 468, 3) x, y, z; presence (M,), all above 0.5.
    """

    boxes: Tensor
    scores: Tensor
    landmarks: Tensor
    presence: Tensor


class FaceFinder:
    """Finds faces and their landmarks by BlazeFace and FaceMesh, in float32 on `device`."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        # Channels last: a third faster on a CPU.
        self.device = torch.device(device)
        self.detector = FaceDetector.pretrained().to(self.device, memory_format=torch.channels_last)
        self.mesh = FaceMesh.pretrained().to(self.device, memory_format=torch.channels_last)

    def detect(self, images: Tensor) -> list[Faces]:
        """Faces of each image; images (N, H, W, 3) uint8 RGB, any device."""
        if self.device.type != "cpu":
            return self._detect(images.to(self.device))
        # The networks are too small for the cores to share a layer.
        parts = images.cpu().split(-(-len(images) // torch.get_num_threads()))
        return list(chain.from_iterable(on_cores(self._detect, parts)))

    @torch.inference_mode()
    def _detect(self, images: Tensor) -> list[Faces]:
        owner, found = self.candidates(images)
        regions = face_regions(found.boxes, found.keypoints)
        crops = crop_regions(images, owner.to(self.device), regions.to(self.device))
        landmarks, logits = self.mesh(crops.permute(0, 3, 1, 2) / 255)
        presence = logits.sigmoid().cpu()
        faces = Faces(found.boxes, found.scores, from_crop(landmarks.cpu(), regions), presence)
        kept = presence > MIN_PRESENCE
        return [Faces(*(values[kept & (owner == frame)] for values in faces)) for frame in range(len(images))]

    @torch.inference_mode()
    def candidates(self, images: Tensor) -> tuple[Tensor, Candidates]:
        """Detections before the mesh has its say: frame numbers (M,) in order, faces in frame pixels, best score first.

        Both on the CPU; images as for `detect`.
        """
        squares, scale, origin = letterbox(images.to(self.device))
        found = face_detector.decode(*self.detector(squares.permute(0, 3, 1, 2) * (2 / 255) - 1))
        size = found.boxes[..., 2:] - found.boxes[..., :2]
        frame, anchor = torch.nonzero((found.scores >= MIN_SCORE) & (size > 0).all(-1), as_tuple=True)
        found = Candidates(*(values[frame, anchor].cpu() for values in found))
        frame = frame.cpu()
        groups = [
            face_detector.suppress(Candidates(*(values[frame == number] for values in found)))
            for number in range(len(images))
        ]
        owner = torch.repeat_interleave(torch.tensor([len(group.scores) for group in groups]))
        boxes, keypoints, scores = (torch.cat(values) for values in zip(*groups, strict=True))
        corners = boxes.unflatten(1, (2, 2)) * scale + origin
        return owner, Candidates(corners.flatten(1), keypoints * scale + origin, scores)


def round_half_up(values: Tensor) -> Tensor:
    """Grey levels 0..255 to whole ones, a half goes up."""
    return (values + 0.5).floor_().clamp_(0, 255)


def letterbox(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The detector's input (N, 192, 192, 3), whole grey levels in float32, from images (N, H, W, 3) uint8.

    Also scale (2,) and origin (2,) on the CPU: frame point = fraction of the square * scale + origin.
    """
    height, width = images.shape[1:3]
    square = face_detector.INPUT_SIZE
    longer = max(height, width)
    h, w = ((2 * square * side + longer) // (2 * longer) for side in (height, width))  # floor(192 side / longer + 1/2)
    top, left = (square - h) // 2, (square - w) // 2
    # One frame in float32 at a time, in one buffer: for the whole batch (11 MB a frame of 720p) the page faults alone
    # cost more than the filter.
    frame = torch.empty_like(images[:1], dtype=torch.float32)
    pictures = torch.cat(
        [
            F.interpolate(frame.copy_(image).permute(0, 3, 1, 2), (h, w), mode="bilinear", antialias=True)
            for image in images
        ]
    )
    pictures = F.pad(round_half_up(pictures), (left, square - w - left, top, square - h - top))
    ratio = torch.tensor([width / w, height / h])
    return pictures.permute(0, 2, 3, 1).contiguous(), square * ratio, -torch.tensor([left, top]) * ratio


def face_regions(boxes: Tensor, keypoints: Tensor) -> Tensor:
    """Turned squares for the mesh, (M, 4) centre x, centre y, side, angle (radians, clockwise on the screen).

    The angle is that of the line from the eye image left to the eye image right.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    side = REGION_SCALE * (high - low).amax(1, keepdim=True)
    eyes = keypoints[:, 1] - keypoints[:, 0]
    return torch.cat([(low + high) / 2, side, torch.atan2(eyes[:, 1:], eyes[:, :1])], 1)


def from_crop(points: Tensor, regions: Tensor) -> Tensor:
    """Points (M, K, 2 or 3) in pixels of the 192 x 192 crops to frame pixels; z grows like x."""
    side, angle = regions[:, None, 2], regions[:, None, 3]
    scaled = points * (side / face_mesh.INPUT_SIZE)[..., None]
    a, b = scaled[..., 0] - side / 2, scaled[..., 1] - side / 2
    x = regions[:, None, 0] + a * angle.cos() - b * angle.sin()
    y = regions[:, None, 1] + a * angle.sin() + b * angle.cos()
    return torch.cat([torch.stack([x, y], -1), scaled[..., 2:]], -1)


def crop_regions(images: Tensor, owner: Tensor, regions: Tensor) -> Tensor:
    """Crops (M, 192, 192, 3), whole grey levels in float32, of `regions` (M, 4) in images[owner].

    Plain bilinear, as grid_sample(align_corners=False, padding_mode="border") would, but each corner of the
    bilinear cell is gathered from the uint8 frames, so no frame is copied or widened for each of its faces.
    """
    height, width = images.shape[1:3]
    side = face_mesh.INPUT_SIZE
    centres = torch.arange(side, device=images.device) + 0.5
    v, u = torch.meshgrid(centres, centres, indexing="ij")
    x, y = from_crop(torch.stack([u, v], -1).flatten(0, 1).expand(len(regions), -1, -1), regions).unbind(-1)
    x, y = (x - 0.5).clamp(0, width - 1), (y - 0.5).clamp(0, height - 1)
    left, top = x.long(), y.long()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    x, y = (x - left)[..., None], (y - top)[..., None]
    pixels = images.reshape(-1, 3)
    first = owner[:, None] * (height * width)

    def gather(rows: Tensor, columns: Tensor) -> Tensor:
        index = first + rows * width + columns
        return pixels.index_select(0, index.flatten()).unflatten(0, index.shape).float()

    upper = torch.lerp(gather(top, left), gather(top, right), x)
    lower = torch.lerp(gather(bottom, left), gather(bottom, right), x)
    return round_half_up(torch.lerp(upper, lower, y)).unflatten(1, (side, side))
