"""First pass over the source: which face is painted in each frame, and where."""

from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lipsync.corpora.crop import rule_boxes
from lipsync.dubbing.read import Format, PlaneFrame, to_image
from lipsync.preparation.tracks import Finder, Track, find_tracks


class Plan(NamedTuple):
    """What to paint.

    Attributes:
        boxes: (F, 4) float32, NaN where no face is painted.
        tracks: (F,) int64, number of the face track painted in each frame, or -1.
        references: Number and pts of the frame that is each track's reference.
    """

    boxes: Tensor
    tracks: np.ndarray
    references: list[tuple[int, int]]


def plan(frames: Iterable[PlaneFrame], source: Format, finder: Finder, crop_rule: str = "square") -> Plan:
    """Follows the faces and chooses one for every frame: among tracks at the same time, the most prominent one.

    Prominence is length times size. The others, and frames without a face, are left as they are.
    """
    pts, fps = array("q"), float(source.rate)

    def images() -> Iterator[np.ndarray]:
        for frame in frames:
            pts.append(frame.pts)
            yield to_image(frame, source)

    found = [(track, track.boxes(fps)) for track in find_tracks(images(), finder, fps)]
    boxes = torch.full((len(pts), 4), torch.nan)
    tracks, references = np.full(len(pts), -1), []
    for track, squares in sorted(found, key=lambda pair: -len(pair[0]) * float(pair[1][0, 1] - pair[1][0, 0])):
        span = slice(track.first, track.first + len(track))
        if (tracks[span] < 0).all():
            boxes[span] = rule_boxes(crop_rule, squares, source.height, source.width)
            tracks[span] = len(references)
            number = track.first + reference(track)
            references.append((number, pts[number]))
    return Plan(boxes, tracks, references)


def reference(track: Track) -> int:
    """Number within the track of its most typical moment: among the frames seen, the one of median mouth opening."""
    seen = np.flatnonzero(track.presence > 0)
    opening = track.opening()[seen]
    return int(seen[np.argsort(opening, kind="stable")[(len(seen) - 1) // 2]])
