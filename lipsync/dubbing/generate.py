"""Second pass: faces are cut out of the planes and repainted to the new sound, in batches that run across cuts."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lipsync.corpora.crop import crop
from lipsync.corpora.landmarks import JAW
from lipsync.corpora.mel import clip_mels
from lipsync.dubbing import segments
from lipsync.dubbing.colour import plane_boxes, to_rgb
from lipsync.dubbing.plan import Painted, Plan
from lipsync.dubbing.read import Format, PlaneFrame, read_frame
from lipsync.dubbing.voices import Voice
from lipsync.side_by_side import on_one_core

BATCH = 16  # faces generated at once, and frames held for them
# Repaints the lower half of frames (M, 3, S, S), given references (M, 3, S, S) and frame_mels (M, 80, 16).
Paint = Callable[[Tensor, Tensor, Tensor], Tensor]


class Chunk(NamedTuple):
    """Frames in a row, and the M faces painted in them.

    Attributes:
        frames: Up to BATCH of them.
        owners: (M,) int64, place in `frames` of each face.
        boxes: (M, 4).
        outlines: (M, K, 2), the jaw as `plan.Painted` has it.
        squares: (M, 3, S, S) in [-1, 1], the new faces.
        weights: (M,), how much of them is shown.
    """

    frames: list[PlaneFrame]
    owners: Tensor
    boxes: Tensor
    outlines: Tensor
    squares: Tensor
    weights: Tensor


def generate(
    frames: Iterable[PlaneFrame],
    plan: Plan,
    pts: np.ndarray,
    video: str | Path,
    source: Format,
    voices: Sequence[Voice],
    paint: Paint,
    size: int,
    device: torch.device | str = "cpu",
) -> Iterator[Chunk]:
    """Repaints every planned face; holds one chunk at a time.

    Args:
        frames: As they are shown, in order; `video` itself is sought for the references.
        plan: Which faces, by the frames' numbers.
        pts: (F,) of the video's frames by number.
        video, source: The video and its format.
        voices: The sounds that the plan's faces speak.
        paint: What makes new squares of old ones.
        size: S, their side.
        device: Where to compute.
    """
    references = References(video, source, plan, pts, size, device)
    for chunk, faces in _chunks(frames, plan):
        owners = torch.tensor([place for place, _ in faces], dtype=torch.int64)
        if not faces:
            nothing = torch.empty(0, 3, size, size)
            yield Chunk(chunk, owners, torch.empty(0, 4), torch.empty(0, len(JAW), 2), nothing, torch.empty(0))
            continue
        stretches, shown = [plan.faces[face] for _, face in faces], [chunk[place] for place, _ in faces]
        boxes, outlines, weights = (_moments(stretches, shown, name) for name in ("boxes", "outlines", "weights"))
        with on_one_core():
            old = face_squares(shown, boxes, source, size, device)
            stills, mels = references.of(stretches, old), _mels(stretches, shown, voices, device)
        parts = zip(old.split(BATCH), stills.split(BATCH), mels.split(BATCH), strict=True)
        yield Chunk(chunk, owners, boxes, outlines, torch.cat([paint(*part) for part in parts]), weights)


def _chunks(frames: Iterable[PlaneFrame], plan: Plan) -> Iterator[tuple[list[PlaneFrame], list[tuple[int, int]]]]:
    """Frames, and (place among them, number of the plan's face) of what is painted, BATCH of either or a few more.

    A segment begins with a new chunk: networks round by the size of a batch, and a resumed dub has the same ones.
    """
    chunk, faces = [], []
    for count, frame in enumerate(frames, 1):
        faces += [(len(chunk), face) for face in plan.at(frame.number)]
        chunk.append(frame)
        if len(chunk) >= BATCH or len(faces) >= BATCH or count % segments.SEGMENT == 0:
            yield chunk, faces
            chunk, faces = [], []
    if chunk:
        yield chunk, faces


def _moments(stretches: Sequence[Painted], frames: Sequence[PlaneFrame], name: str) -> Tensor:
    """What each stretch holds under that name for the frame beside it, (M, ...)."""
    pairs = zip(stretches, frames, strict=True)
    return torch.stack([getattr(stretch, name)[frame.number - stretch.first] for stretch, frame in pairs])


class References:
    """The square that tells each face's identity, read when it is first wanted."""

    def __init__(
        self, video: str | Path, source: Format, plan: Plan, pts: np.ndarray, size: int, device: torch.device | str
    ) -> None:
        self.video, self.source, self.plan, self.pts = video, source, plan, pts
        self.size, self.device = size, device
        self.known: dict[tuple[int, int], Tensor] = {}

    def of(self, faces: Sequence[Painted], old: Tensor) -> Tensor:
        """References (M, 3, S, S) of faces, given the squares `old` (M, 3, S, S) as they are in the picture."""
        wanted = [(face.track, face.reference) for face in faces]
        read = {key: self.known.get(key) for key in wanted if key[1] >= 0}  # the others have had their say
        self.known = {key: self._read(*key) if square is None else square for key, square in read.items()}
        return torch.stack([self.known.get(key, square) for key, square in zip(wanted, old, strict=True)])

    def _read(self, track: int, number: int) -> Tensor:
        stretches = (face for face in self.plan.faces if face.track == track)
        face = next(face for face in stretches if 0 <= number - face.first < len(face.boxes))
        moment = read_frame(self.video, self.source, number, int(self.pts[number]))
        return face_squares([moment], face.boxes[[number - face.first]], self.source, self.size, self.device)[0]


def _mels(
    faces: Sequence[Painted], frames: Sequence[PlaneFrame], voices: Sequence[Voice], device: torch.device | str
) -> Tensor:
    """(M, 80, 16): what each face says at its frame's own time."""
    mels = torch.empty(0)
    for number in sorted({face.voice for face in faces}):
        places = [place for place, face in enumerate(faces) if face.voice == number]
        voice = voices[number]
        heard = clip_mels(voice.samples, [frames[place].time + voice.lead for place in places], device)
        mels = heard.new_empty(len(faces), *heard.shape[1:]) if not len(mels) else mels
        mels[places] = heard
    return mels


def face_squares(
    frames: Sequence[PlaneFrame], boxes: Tensor, source: Format, size: int, device: torch.device | str
) -> Tensor:
    """Cuts out the boxes (M, 4) of the frames beside them as RGB squares (M, 3, S, S) in [-1, 1].

    Crop and colour matrix are linear, so each plane is cropped in its own pixels and only squares are converted.
    """
    squares = [
        _plane_squares([frame.planes[plane] for frame in frames], plane_box, size, device)
        for plane, plane_box in enumerate(plane_boxes(boxes, source))
    ]
    return to_rgb(torch.cat(squares, dim=1), source.colour)


def _plane_squares(planes: list[np.ndarray], boxes: Tensor, size: int, device: torch.device | str) -> Tensor:
    """(M, 1, S, S) of one plane: only the pixels around each box travel to the device, the plane's edge repeated."""
    # Boxes of one size together: what comes of one depends on no other. A track's differ by rounding.
    sides = ((boxes[:, 1::2] - boxes[:, ::2]).amax(1) - 1e-3).ceil().int()
    squares = torch.empty(len(boxes), 1, size, size, device=device)
    for side in sides.unique().tolist():
        alike = (sides == side).nonzero()[:, 0]
        first = boxes[alike, ::2].floor().long() - 1
        places = zip(alike.tolist(), first.tolist(), strict=True)
        regions = torch.from_numpy(np.stack([_region(planes[place], *corner, side + 3) for place, corner in places]))
        inside = boxes[alike] - first.repeat_interleave(2, dim=1)
        oversample = max(1, math.ceil(side / size))
        squares[alike.to(device)] = crop(regions[:, None].to(device), inside.to(device), size, oversample)
    return squares


def _region(plane: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
    """(side, side) of a plane, whose edge is repeated."""
    if min(top, left) >= 0 and top + side <= plane.shape[0] and left + side <= plane.shape[1]:
        return plane[top : top + side, left : left + side]
    rows, columns = (
        np.arange(first, first + side).clip(0, end - 1) for first, end in zip((top, left), plane.shape, strict=True)
    )
    return plane[np.ix_(rows, columns)]
