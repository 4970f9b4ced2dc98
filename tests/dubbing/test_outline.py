"""The jaw's outline at faces of known shape."""

from collections.abc import Callable

import numpy as np
import torch

from lipsync.corpora.landmarks import CHIN, JAW
from lipsync.dubbing.outline import SPEECH, outlines

MIDDLE = JAW.index(CHIN)


def test_a_still_chin_is_given_room_to_speak(make_track: Callable) -> None:
    track = make_track(0, 40, x=60, y=50, chin=20)
    found = outlines(track, fps=25)
    assert found.shape == (40, 21, 2)
    # The nose is half as long as the way from its base to the chin.
    torch.testing.assert_close(found[:, MIDDLE], torch.tensor([60.0, 70 + 10 * SPEECH]).expand(40, 2))
    torch.testing.assert_close(found[:, [0, -1]], torch.tensor([[44.0, 44.0], [76.0, 44.0]]).expand(40, 2, 2))
    heights = found[0, :, 1] - torch.from_numpy(np.stack([track.points[point][0, 1] for point in JAW]))
    assert (heights[: MIDDLE + 1].diff() >= 0).all()


def test_it_lies_where_the_jaw_is_most_open(make_track: Callable) -> None:
    track = make_track(0, 200, x=60, y=50, chin=20)
    track.points[CHIN][50:150, 1] += 6  # closed for the first and last quarter
    found = outlines(track, fps=25)
    torch.testing.assert_close(found[:, MIDDLE], torch.tensor([60.0, 76.0]).expand(200, 2))


def test_it_follows_the_head_but_does_not_tremble(make_track: Callable) -> None:
    rng, track = np.random.default_rng(0), make_track(0, 300, x=60, y=50, chin=20)
    still = outlines(track, fps=25)
    walk = np.linspace(0, 100, 300)[:, None].astype(np.float32)
    for places in track.points.values():
        places += walk + rng.normal(0, 0.5, places.shape).astype(np.float32)
    steps = (outlines(track, fps=25) - still)[20:-20].diff(dim=0)
    assert abs(steps.mean() - 100 / 299) < 0.01
    assert steps.std() < 0.1  # the noise's own would be 0.7


def test_it_turns_with_the_head(make_track: Callable) -> None:
    track = make_track(0, 30, x=60, y=50, chin=20)
    upright = outlines(track, fps=25) - torch.tensor([60.0, 50.0])
    quarter = np.array([[0, 1], [-1, 0]], np.float32)  # the chin points to the left
    track.points.update({point: (places - [60, 50]) @ quarter for point, places in track.points.items()})
    torch.testing.assert_close(outlines(track, fps=25), upright @ torch.from_numpy(quarter), atol=1e-4, rtol=0)
