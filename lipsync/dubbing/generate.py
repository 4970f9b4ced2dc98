"""Second pass: faces are cut out of the planes and repainted to the new sound, a chunk of frames at a time."""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lipsync.corpora.crop import crop
from lipsync.corpora.mel import clip_mels
from lipsync.dubbing.colour import plane_boxes, to_rgb
from lipsync.dubbing.read import Format, PlaneFrame, read_frame
from lipsync.dubbing.track import Plan

CHUNK = 16  # frames generated at once
# Repaints the lower half of frames (N, 3, S, S), given the reference (1, 3, S, S) and frame_mels (N, 80, 16).
Paint = Callable[[Tensor, Tensor, Tensor], Tensor]


class Chunk(NamedTuple):
    """Frames in a row with the same face: boxes (N, 4) and its new squares (N, 3, S, S); both None without a face."""

    frames: list[PlaneFrame]
    boxes: Tensor | None
    squares: Tensor | None


def generate(
    frames: Iterable[PlaneFrame],
    plan: Plan,
    video: str | Path,
    source: Format,
    sound: np.ndarray,
    paint: Paint,
    size: int,
    device: torch.device | str = "cpu",
) -> Iterator[Chunk]:
    """Repaints the planned face in every frame; holds one chunk at a time.

    Args:
        frames: The video's, in order; `video` itself is sought for the references.
        sound: (samples,) int16 at 16 kHz; its first sample meets the first frame.
        paint: What makes new squares of old ones.
        size: S, their side.
        device: Where to compute.
    """
    for track, run in groupby(enumerate(frames), key=lambda pair: plan.tracks[pair[0]]):
        if track >= 0:
            number, pts = plan.references[track]
            moment = read_frame(video, source, number, pts)
            reference = face_squares([moment], plan.boxes[[number]], source, size, device)
        while pairs := list(islice(run, CHUNK)):
            numbers, chunk = (list(values) for values in zip(*pairs, strict=True))
            if track < 0:
                yield Chunk(chunk, None, None)
                continue
            boxes = plan.boxes[numbers]
            squares = face_squares(chunk, boxes, source, size, device)
            mels = clip_mels(sound, [frame.time for frame in chunk], device)
            yield Chunk(chunk, boxes, paint(squares, reference, mels))


def face_squares(
    frames: list[PlaneFrame], boxes: Tensor, source: Format, size: int, device: torch.device | str
) -> Tensor:
    """Cuts out the boxes (N, 4) as RGB squares (N, 3, S, S) in [-1, 1].

    Crop and colour matrix are linear, so each plane is cropped in its own pixels and only squares are converted.
    """
    squares = [
        _plane_squares([frame.planes[plane] for frame in frames], plane_box, size, device)
        for plane, plane_box in enumerate(plane_boxes(boxes, source.halved))
    ]
    return to_rgb(torch.cat(squares, dim=1), source.colour)


def _plane_squares(planes: list[np.ndarray], boxes: Tensor, size: int, device: torch.device | str) -> Tensor:
    """(N, 1, S, S) of one plane: only the pixels around each box travel to the device, the plane's edge repeated."""
    height, width = planes[0].shape
    side = float((boxes[:, 1::2] - boxes[:, ::2]).max())
    first = boxes[:, ::2].floor().long() - 1
    rows, columns = first[:, :, None].add(torch.arange(math.ceil(side) + 3)).numpy().transpose(1, 0, 2)
    rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    regions = np.stack([plane[np.ix_(y, x)] for plane, y, x in zip(planes, rows, columns, strict=True)])
    inside = boxes - first.repeat_interleave(2, dim=1)
    return crop(torch.from_numpy(regions)[:, None].to(device), inside.to(device), size, max(1, math.ceil(side / size)))
