"""Which face is painted where, from tracks at known places."""

from collections.abc import Callable
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lipsync.corpora.crop import rule_boxes
from lipsync.corpora.landmarks import LOWER_LIP, TRACKED
from lipsync.dubbing.colour import Colour
from lipsync.dubbing.read import Format, PlaneFrame
from lipsync.dubbing.track import plan, reference
from lipsync.preparation.tracks import Track

SOURCE = Format(96, 80, "yuv420p", Colour(1, False), {}, Fraction(1, 25), Fraction(25), Fraction(1), None)


def grey_frames(levels: list[int]) -> list[PlaneFrame]:
    chroma = np.full((40, 48), 128, np.uint8)
    return [
        PlaneFrame(Fraction(k, 25), 100 + k, 1, (np.full((80, 96), level, np.uint8), chroma, chroma))
        for k, level in enumerate(levels)
    ]


class Placed:
    """Gives each frame the faces of the list it was made with."""

    def __init__(self, faces: list[list[torch.Tensor]]) -> None:
        self.faces = iter(faces)

    def detect(self, images: torch.Tensor) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(landmarks=torch.cat([torch.empty(0, 468, 3), *faces]), presence=torch.ones(len(faces)))
            for _, faces in zip(images, self.faces, strict=False)
        ]


def test_frames_without_a_face_have_no_box(still_face: type) -> None:
    # Level 16 is black: no face in frames 3 and 4, a gap short enough to bridge, nor from 20 on, a new start too far.
    levels = [180] * 3 + [180] * 15 + [16] * 22
    planned = plan(iter(grey_frames(levels)), SOURCE, still_face(x=40.5, y=30.25, chin=20.0))
    assert planned.tracks.tolist() == [0] * 18 + [-1] * 22
    # Half a side is 1.1 times the way to the chin.
    expected = torch.tensor([30.25 - 22, 30.25 + 22, 40.5 - 22, 40.5 + 22]).expand(18, 4)
    torch.testing.assert_close(planned.boxes[:18], expected)
    assert planned.boxes[18:].isnan().all()


@pytest.mark.parametrize("rule", ["tight", "voxceleb2"])
def test_boxes_are_those_of_the_checkpoints_rule(rule: str, still_face: type) -> None:
    frames = grey_frames([180] * 6 + [16] * 14)
    square, other = (plan(iter(frames), SOURCE, still_face(), name) for name in ("square", rule))
    assert other.tracks.tolist() == square.tracks.tolist()
    assert other.references == square.references
    torch.testing.assert_close(other.boxes[:6], rule_boxes(rule, square.boxes[:6], 80, 96))
    assert other.boxes[6:].isnan().all()


def test_the_most_prominent_of_two_faces(still_face: type) -> None:
    small, large = still_face(x=20, y=20, chin=8).landmarks, still_face(x=60, y=45, chin=20).landmarks
    # At the same time the larger; before and after it the smaller track is not taken up.
    planned = plan(iter(grey_frames([180] * 12)), SOURCE, Placed([[small]] * 2 + [[small, large]] * 10))
    assert planned.tracks.tolist() == [-1] * 2 + [0] * 10
    assert planned.boxes[-1, 2:].mean() == 60
    # Much longer beats larger.
    planned = plan(iter(grey_frames([180] * 40)), SOURCE, Placed([[small]] * 36 + [[small, large]] * 4))
    assert planned.tracks.tolist() == [0] * 40
    assert planned.boxes[-1, 2:].mean() == 20


def test_every_shot_has_its_face(still_face: type) -> None:
    left, right = still_face(x=20, y=20, chin=8).landmarks, still_face(x=60, y=45, chin=20).landmarks
    planned = plan(iter(grey_frames([60] * 6 + [200] * 6)), SOURCE, Placed([[left]] * 6 + [[right]] * 6))
    assert sorted(set(planned.tracks[:6])) == [1]
    assert sorted(set(planned.tracks[6:])) == [0]
    # All moments are alike, so the median is the third of six.
    assert planned.references == [(8, 108), (2, 102)]


def test_reference_is_the_seen_frame_of_median_opening(still_face: type) -> None:
    landmarks = still_face(chin=20.0).landmarks.numpy().repeat(6, axis=0)
    points = {point: landmarks[:, point, :2] for point in TRACKED}
    points[LOWER_LIP][:, 1] += np.array([9.0, 1.0, 5.0, 4.0, 2.0, 7.0]) - 3
    presence = np.array([1, 1, 0, 1, 1, 1], np.float32)
    ahead, alone = np.zeros((6, 3), np.float32), np.zeros(6, bool)
    assert reference(Track(10, points, presence, ahead, alone)) == 3


@pytest.mark.parametrize("count", [0, 5])
def test_no_face(make_video: Callable, count: int) -> None:
    planned = plan(iter(grey_frames([180] * count)), SOURCE, Placed([[]] * count))
    assert (planned.tracks < 0).all()
    assert planned.references == []
