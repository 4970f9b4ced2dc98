"""Face tracks: one face followed through one shot, as a few points only."""

import dataclasses
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from lipsync.corpora.crop import square_boxes
from lipsync.corpora.landmarks import BRIDGE, CHIN, LOWER_LIP, NOSE_BASE, TRACKED, UPPER_LIP, head_pose, opening
from lipsync.networks.face_detector import overlaps

LONGEST_GAP = 0.4  # seconds without the face that are bridged: a hand, a blur, a nod
SAME_FACE = 0.3  # overlap (IoU) from frame to frame
DUPLICATE = 0.5  # overlap within a frame: two detections of one face
# A cut changes the thumbnail's cells by so many levels of 255 on average, and so many times as much as lately usual.
CUT_LEVELS, CUT_RATIO = 10.0, 3.0


class Finder(Protocol):
    """What finds faces: `preparation.faces.FaceFinder`."""

    def detect(self, images: Tensor) -> list:
        """Faces of each of (N, H, W, 3) uint8 images, with `landmarks` (M, 468, 3) and `presence` (M,)."""


@dataclasses.dataclass
class Track:
    """One face through one shot.

    Attributes:
        first: number of its first frame.
        points: (T, 2) float32 for each of `landmarks.TRACKED`, pixels of the frame; gaps are interpolated.
        presence: (T,) float32, 0 where interpolated.
        pose: (T, 3) float32, yaw, pitch and roll in degrees; NaN where interpolated.
        company: (T,) bool, whether other faces were seen beside this one.
    """

    first: int
    points: dict[int, np.ndarray]
    presence: np.ndarray
    pose: np.ndarray
    company: np.ndarray

    def __len__(self) -> int:
        return len(self.presence)

    def pieces(self, longest: int) -> list["Track"]:
        """Cuts the track into as few pieces of about the same length as have `longest` frames at most."""
        count = -(-len(self) // longest)
        ends = [self.first + len(self) * k // count for k in range(count + 1)]
        return [part for part in (self.between(*pair) for pair in pairwise(ends)) if part is not None]

    def between(self, first: int, last: int) -> "Track | None":
        """Returns what lies in the frames [first, last), if anything does."""
        begin, end = max(first - self.first, 0), min(last - self.first, len(self))
        if end <= begin:
            return None
        points = {point: places[begin:end] for point, places in self.points.items()}
        return Track(self.first + begin, points, *(v[begin:end] for v in (self.presence, self.pose, self.company)))

    def boxes(self, fps: float = 25.0) -> Tensor:
        """Crop boxes (T, 4) of the rule `square`, at `fps` frames a second."""
        return square_boxes(self.points[NOSE_BASE], self.points[CHIN], self.points[BRIDGE], fps)

    def opening(self) -> np.ndarray:
        """Opening of the mouth, (T,), as `landmarks.opening` measures it."""
        return opening(*(self.points[point] for point in (UPPER_LIP, LOWER_LIP, BRIDGE, NOSE_BASE)))


def find_tracks(
    images: Iterable[np.ndarray], finder: Finder, fps: float = 25.0, batch: int = 8, every: int = 1
) -> list[Track]:
    """Follow every face from cut to cut; frames stream by, `batch` at a time, and only points stay.

    Args:
        images: (H, W, 3) uint8 each, all of one size.
        fps: frames a second, which gives the longest bridged gap (0.4 s) its frames.
        every: look for faces in every so many frames only; what lies between is interpolated.

    Returns:
        Tracks in the order of their first frames, from left to right.
    """
    begins = CutDetector()
    frames = ((begins(image[:, :, 1]), None if number % every else image) for number, image in enumerate(images))
    return follow(frames, finder, fps, batch)


def follow(frames: Iterable[tuple[bool, np.ndarray | None]], finder: Finder, fps: float, batch: int = 8) -> list[Track]:
    """As `find_tracks`, for frames of which it is known whether a shot begins, and whose image may be spared.

    Args:
        frames: Whether it begins a shot, and the image (H, W, 3) uint8, or None where faces are not looked for.
    """
    longest_gap = int(LONGEST_GAP * fps + 1e-6)
    following: list[_Face] = []
    ended: list[_Face] = []
    for index, (begins, seen) in enumerate(_detections(frames, finder, batch)):
        if begins:
            ended += following
            following = []
        lost = [face for face in following if index - face.indices[-1] > longest_gap + 1]
        ended += lost
        following = [face for face in following if face not in lost]
        if seen is not None:
            _link(following, index, seen)
    tracks = [face.track() for face in ended + following]
    return sorted(tracks, key=lambda track: (track.first, track.points[NOSE_BASE][0, 0]))


class CutDetector:
    """Tells, picture by picture, whether a new shot begins: a jump of a coarse thumbnail far above the usual.

    Args:
        span: Levels from black to white.
    """

    def __init__(self, span: float = 255) -> None:
        self.least = CUT_LEVELS / 255 * span
        self.previous: np.ndarray | None = None
        self.usual: deque[float] = deque(maxlen=12)

    def __call__(self, plane: np.ndarray) -> bool:
        """`plane` is (H, W), a picture's luma or its green, which is nearly that."""
        thumbnail, previous = _thumbnail(plane), self.previous
        self.previous = thumbnail
        if previous is None:
            return False
        change = float(np.abs(thumbnail - previous).mean())
        # The first changes of a shot only tell how fast it moves: no shot is shorter than four frames.
        known = len(self.usual) >= 3
        if known and change > max(self.least, CUT_RATIO * float(np.median(self.usual))):
            self.usual.clear()
            return True
        self.usual.append(change)
        return False


def _thumbnail(plane: np.ndarray) -> np.ndarray:
    """Means of about 32 x 32 cells, from every few pixels."""
    sparse = plane[:: max(1, plane.shape[0] // 128), :: max(1, plane.shape[1] // 128)]
    y, x = (max(1, side // 32) for side in sparse.shape)
    rows, columns = sparse.shape[0] // y, sparse.shape[1] // x
    return sparse[: rows * y, : columns * x].reshape(rows, y, columns, x).mean((1, 3))


class _Seen(NamedTuple):
    """The M faces of a frame: boxes (M, 4) around all landmarks, points (M, P, 2), presence (M,), pose (M, 3)."""

    boxes: Tensor
    points: np.ndarray
    presence: np.ndarray
    pose: np.ndarray


class _Face:
    """A face while it is followed; `box` is where it was seen last."""

    def __init__(self) -> None:
        # Flat, for a small array of numpy's takes several times what is in it.
        self.indices, self.company = array("q"), array("b")
        self.points, self.presence, self.pose = array("f"), array("f"), array("f")

    def append(self, index: int, seen: _Seen, face: int) -> None:
        self.box = seen.boxes[face]
        self.indices.append(index)
        self.points.frombytes(seen.points[face].tobytes())
        self.presence.append(seen.presence[face])
        self.pose.frombytes(seen.pose[face].tobytes())
        self.company.append(len(seen.boxes) > 1)

    def track(self) -> Track:
        """Fill the gaps by linear interpolation between the frames around them."""
        indices, known = np.array(self.indices), np.array(self.points).reshape(-1, len(TRACKED), 2)
        times = np.arange(indices[0], indices[-1] + 1)
        before = np.searchsorted(indices, times, side="right") - 1
        after = np.minimum(before + 1, len(indices) - 1)
        weight = (times - indices[before]) / np.maximum(indices[after] - indices[before], 1)
        points = known[before] + weight[:, None, None].astype(np.float32) * (known[after] - known[before])
        presence, company = np.zeros(len(times), np.float32), np.zeros(len(times), bool)
        pose = np.full((len(times), 3), np.nan, np.float32)
        places = indices - indices[0]
        presence[places], company[places] = self.presence, self.company
        pose[places] = np.array(self.pose).reshape(-1, 3)
        return Track(int(indices[0]), dict(zip(TRACKED, points.swapaxes(0, 1), strict=True)), presence, pose, company)


def _detections(
    frames: Iterable[tuple[bool, np.ndarray | None]], finder: Finder, batch: int
) -> Iterator[tuple[bool, _Seen | None]]:
    """Yield of every frame whether it begins a shot and, where it is looked at, its faces, without duplicates."""
    for chunk in _batches(frames, batch):
        images = [image for _, image in chunk if image is not None]
        found = iter(finder.detect(torch.from_numpy(np.stack(images))) if images else ())
        for begins, image in chunk:
            yield begins, None if image is None else _seen(next(found))


def _batches(
    frames: Iterable[tuple[bool, np.ndarray | None]], batch: int
) -> Iterator[list[tuple[bool, np.ndarray | None]]]:
    """Group frames so that each group but the last ends with its `batch`th image."""
    chunk, images = [], 0
    for frame in frames:
        chunk.append(frame)
        images += frame[1] is not None
        if images == batch:
            yield chunk
            chunk, images = [], 0
    yield chunk


def _seen(faces: Any) -> _Seen:
    meshes = faces.landmarks.cpu()
    boxes = torch.cat([meshes[..., :2].amin(1), meshes[..., :2].amax(1)], dim=1)
    overlap = overlaps(boxes, boxes).triu(diagonal=1)  # the better face comes first
    alone = ~(overlap > DUPLICATE).any(dim=0)
    points, presence = meshes[:, TRACKED, :2][alone].numpy(), faces.presence.cpu()[alone].numpy()
    return _Seen(boxes[alone], points, presence, head_pose(meshes[alone]).numpy())


def _link(following: list[_Face], index: int, seen: _Seen) -> None:
    """Append each face of a frame to the one it overlaps most, best pairs first; the others begin anew."""
    new = set(range(len(seen.boxes)))
    if following and new:
        overlap = overlaps(torch.stack([face.box for face in following]), seen.boxes).numpy()
        while overlap.max() > SAME_FACE:
            old, face = np.unravel_index(overlap.argmax(), overlap.shape)
            following[old].append(index, seen, int(face))
            overlap[old], overlap[:, face] = 0, 0
            new.remove(int(face))
    for face in sorted(new):
        following.append(_Face())
        following[-1].append(index, seen, face)
