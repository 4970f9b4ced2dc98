import gc
import weakref
from typing import NamedTuple

import numpy as np
import pytest
import torch

from lipsync.corpora.landmarks import BRIDGE, CHIN, NOSE_BASE, TRACKED
from lipsync.preparation.tracks import CutDetector, find_tracks, follow
from lipsync.video import read_frames


class Found(NamedTuple):
    landmarks: torch.Tensor
    presence: torch.Tensor


def face(x: float, y: float, side: float = 20.0) -> torch.Tensor:
    """A face of 468 points that fill a square around (x, y)."""
    grid = torch.stack([torch.arange(468) % 22 / 21, torch.arange(468) // 22 / 21, torch.zeros(468)], 1)
    points = (grid - 0.5) * side + torch.tensor([x, y, 0.0])
    points[NOSE_BASE], points[CHIN], points[BRIDGE] = (torch.tensor([x, y + dy * side, 0.0]) for dy in (0.0, 0.5, -0.3))
    return points


class Script:
    """A finder that reads its faces off a list, one entry a frame, each a list of face() arguments."""

    def __init__(self, frames):
        self.frames, self.batches = list(frames), []

    def detect(self, images):
        begin = sum(self.batches)
        self.batches.append(len(images))
        found = self.frames[begin : begin + len(images)]
        return [
            Found(torch.stack([face(*f) for f in faces]) if faces else torch.zeros(0, 468, 3), torch.ones(len(faces)))
            for faces in found
        ]


def still(count, level=100):
    return [np.full((96, 160, 3), level, np.uint8) for _ in range(count)]


def centres(track):
    return track.points[NOSE_BASE]


def test_two_faces_are_two_tracks_in_the_order_of_their_coming():
    # The second comes four frames later and is listed first from then on; both wander.
    frames = [[(40 + k, 50)] if k < 4 else [(120 - k, 40), (40 + k, 50)] for k in range(30)]
    finder = Script(frames)
    left, right = find_tracks(still(30), finder)
    assert finder.batches == [8, 8, 8, 6]
    assert (left.first, len(left), right.first, len(right)) == (0, 30, 4, 26)
    np.testing.assert_array_equal(centres(left), np.stack([40.0 + np.arange(30), np.full(30, 50.0)], 1))
    np.testing.assert_array_equal(centres(right), np.stack([116.0 - np.arange(26), np.full(26, 40.0)], 1))
    assert set(left.points) == set(TRACKED)
    assert left.points[CHIN].dtype == left.presence.dtype == np.float32
    np.testing.assert_array_equal(left.presence, 1)


@pytest.mark.parametrize(("fps", "bridged"), [(25, 10), (30, 12), (50, 20)])
def test_gaps_up_to_two_fifths_of_a_second_are_interpolated(fps, bridged):
    for missing, expected in ((bridged, [(0, 10 + bridged)]), (bridged + 1, [(0, 5), (6 + bridged, 5)])):
        frames = [[(50, 50)]] * 5 + [[]] * missing + [[(58, 50)]] * 5
        tracks = find_tracks(still(len(frames)), Script(frames), fps)
        assert [(track.first, len(track)) for track in tracks] == expected
        if missing == bridged:
            x = np.interp(np.arange(len(frames)), [4, 5 + bridged], [50, 58])
            np.testing.assert_allclose(centres(tracks[0])[:, 0], x, atol=1e-5)
            np.testing.assert_array_equal(tracks[0].presence == 0, [not faces for faces in frames])


def test_a_cut_ends_every_track_though_the_faces_stay():
    frames = [[(40, 50), (120, 50)]] * 40
    tracks = find_tracks(still(20) + still(20, level=140), Script(frames))
    assert [(track.first, len(track)) for track in tracks] == [(0, 20), (0, 20), (20, 20), (20, 20)]
    # From left to right within a shot.
    assert [float(centres(track)[0, 0]) for track in tracks] == [40, 120, 40, 120]


def test_what_is_known_of_frames_is_not_asked_again() -> None:
    """Shots begin where it is said; faces are looked for where there is an image, a batch of images at a time."""
    images = still(24)
    frames = [(number == 11, None if number % 3 else images[number]) for number in range(24)]
    finder = Script([[(40 + 3 * look, 50)] for look in range(8)])
    first, second = follow(iter(frames), finder, 25.0, batch=3)
    assert finder.batches == [3, 3, 2]
    assert [(track.first, len(track)) for track in (first, second)] == [(0, 10), (12, 10)]
    np.testing.assert_allclose(centres(first)[:, 0], 40 + np.arange(10), atol=1e-5)
    np.testing.assert_array_equal(np.flatnonzero(second.presence), [0, 3, 6, 9])


def test_every_third_frame_is_looked_at() -> None:
    finder = Script([[(40 + 3 * look, 50)] for look in range(8)])
    (track,) = find_tracks(still(24), finder, batch=3, every=3)
    assert finder.batches == [3, 3, 2]
    np.testing.assert_array_equal(np.flatnonzero(track.presence), [0, 3, 6, 9, 12, 15, 18, 21])
    np.testing.assert_allclose(centres(track)[:, 0], 40 + np.arange(22), atol=1e-5)


def test_a_cut_inside_a_gap_is_not_bridged():
    frames = [[(40, 50)]] * 10 + [[]] * 4 + [[(40, 50)]] * 10
    tracks = find_tracks(still(12) + still(12, level=200), Script(frames))
    assert [(track.first, len(track)) for track in tracks] == [(0, 10), (14, 10)]


def test_a_face_that_jumps_is_another_and_a_face_found_twice_is_one():
    jump = find_tracks(still(20), Script([[(40, 50)]] * 10 + [[(60, 50)]] * 10))
    assert [(track.first, len(track)) for track in jump] == [(0, 10), (10, 10)]
    (twice,) = find_tracks(still(10), Script([[(40, 50), (43, 50)]] * 10))
    np.testing.assert_array_equal(centres(twice)[:, 0], 40)


def test_no_frames_and_no_faces_are_no_tracks():
    assert find_tracks([], Script([])) == []
    assert find_tracks(still(5), Script([[]] * 5)) == []


def test_boxes_are_of_one_size_around_the_nose():
    track = find_tracks(still(30), Script([[(50, 40, 20)]] * 30))[0]
    # Chin 10 px below the nose base, bridge 6 px above: half side max(1.1 * 10, 1.85 * 6) = 11.1.
    np.testing.assert_allclose(track.boxes(), np.tile([28.9, 51.1, 38.9, 61.1], (30, 1)), atol=1e-4)


def test_frames_are_not_kept():
    alive = weakref.WeakSet()
    most = 0

    class Image(np.ndarray):
        __hash__ = object.__hash__

    def stream():
        nonlocal most
        for _ in range(100):
            image = np.zeros((96, 160, 3), np.uint8).view(Image)
            alive.add(image)
            gc.collect(0)
            most = max(most, len(alive))
            yield image

    find_tracks(stream(), Script([[(40, 50)]] * 100), batch=8)
    assert most <= 2 * 8 + 2


def scene(seed: int) -> np.ndarray:
    """Smooth random picture, wider than a frame."""
    coarse = torch.rand(1, 3, 6, 20, generator=torch.Generator().manual_seed(seed)) * 160 + 40
    smooth = torch.nn.functional.interpolate(coarse, (180, 600), mode="bicubic").clamp(0, 255)
    return smooth[0].permute(1, 2, 0).byte().numpy()


def cuts(images) -> list[int]:
    detector = CutDetector()
    return [k for k, image in enumerate(images) if detector(image[:, :, 1])]


def test_cuts_are_found_between_pictures_at_rest_and_on_the_move():
    for speed in (0, 2, 5):
        shots = [picture[:, speed * k : speed * k + 320] for picture in map(scene, range(4)) for k in range(25)]
        assert cuts(shots) == [25, 50, 75]


def test_a_cut_is_one_in_any_levels() -> None:
    for span, dark, light in ((255, 100, 111), (219, 100, 109), (876, 400, 436)):
        for levels, expected in ((light, [True]), (light - 2 * span // 255, [])):
            detector = CutDetector(span)
            planes = [np.full((90, 160), level, np.uint16) for level in [dark] * 5 + [levels]]
            assert [found for plane in planes if (found := detector(plane))] == expected


def test_a_pan_a_flicker_and_noise_are_no_cuts():
    picture = scene(0)
    pan = [picture[:, 7 * k : 7 * k + 320] for k in range(40)]
    flicker = [(picture[:, :320] * (0.97 + 0.03 * np.sin(k))).astype(np.uint8) for k in range(40)]
    noise = (np.random.default_rng(0).normal(0, 25, (20, 180, 320, 1)) + picture[:, :320]).clip(0, 255).astype(np.uint8)
    assert cuts(pan) == cuts(flicker) == cuts(noise) == []


def test_cuts_of_real_footage(shared):
    def footage(name):
        return (frame.image for frame in read_frames(shared / "clips" / name))

    assert cuts(footage("fr_hamilton_short.mp4")) == [20, 82, 211]
    assert cuts(footage("st_aoc.mp4")) == []
