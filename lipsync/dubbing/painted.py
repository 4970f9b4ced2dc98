"""Stretches of frames in which a face is painted: made longer, and faded at their ends."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lipsync.networks.face_detector import overlaps
from lipsync.preparation.tracks import SAME_FACE


class Painted(NamedTuple):
    """One face through a stretch of frames without a gap.

    Attributes:
        first: Number of the stretch's first frame.
        boxes: (T, 4) float32, of the model's crop rule.
        outlines: (T, K, 2) float32, the jaw from ear to ear (`landmarks.JAW`) as x, y in pixels of the picture.
        track: Number of the face.
        voice: Which sound it speaks.
        reference: Number of the frame that shows its identity, one of those painted; -1: every frame is its own.
        weights: (T,) float32 in (0, 1], how much of what is painted is shown; 1 but for fades to unpainted frames.
    """

    first: int
    boxes: Tensor
    outlines: Tensor
    track: int
    voice: int
    reference: int
    weights: Tensor

    @property
    def last(self) -> int:
        """Number of the frame after the stretch."""
        return self.first + len(self.boxes)


def follows(before: Painted, after: Painted) -> bool:
    """Whether one stretch begins about where, and as large as, another ended."""
    end, begin = (boxes[:, [0, 2, 1, 3]] for boxes in (before.boxes[-1:], after.boxes[:1]))
    return bool(overlaps(end, begin) > SAME_FACE)


def prolonged(face: Painted, count: int, after: Painted | None = None) -> Painted:
    """Adds so many frames to a stretch: on the way to where another begins, or all like its last."""

    def longer(known: Tensor, goal: Tensor) -> Tensor:
        steps = torch.arange(1, count + 1).view(-1, *[1] * (known.ndim - 1)) / (count + 1)
        return torch.cat([known, torch.lerp(known[-1:], goal, steps)])

    boxes, outlines = (
        longer(known, known[-1:] if after is None else getattr(after, name)[:1])
        for name, known in (("boxes", face.boxes), ("outlines", face.outlines))
    )
    return face._replace(boxes=boxes, outlines=outlines, weights=torch.ones(len(boxes)))


def faded(stretches: Sequence[Painted], edges: Iterable[int], length: int) -> list[Painted]:
    """Weighs the ends of stretches so that what is painted comes and goes within so many frames.

    Not where a shot begins or ends (`edges`), nor where another stretch goes on with the face.
    """
    edges, beginning, ending = set(edges), defaultdict(list), defaultdict(list)
    for face in stretches:
        beginning[face.first].append(face)
        ending[face.last].append(face)
    done = []
    for face in stretches:
        ramp, weights = torch.arange(1, len(face.boxes) + 1) / (length + 1), face.weights
        if face.first not in edges and not any(follows(other, face) for other in ending[face.first]):
            weights = torch.minimum(weights, ramp)
        if face.last not in edges and not any(follows(face, other) for other in beginning[face.last]):
            weights = torch.minimum(weights, ramp.flip(0))
        done.append(face._replace(weights=weights))
    return done
