"""The picture shows the script's mouth, where the crop of training expects it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lipsync.corpora.crop import box_in_track, crop
from lipsync.corpora.puppet.face import render, to_head
from lipsync.corpora.puppet.performance import Performance, perform, track_of
from lipsync.corpora.puppet.portrait import CHIN
from lipsync.corpora.puppet.script import articulate, write_script
from lipsync.corpora.puppet.speaker import Speaker, draw_speaker
from lipsync.metrics.opening import MouthMeter
from lipsync.preparation.faces import FaceFinder


def act(seed: int, seconds: float = 3.0) -> tuple[Performance, Speaker]:
    rng = np.random.default_rng([seed, 1])
    performance = perform(articulate(write_script(seconds, rng), seconds), rng)
    return performance, draw_speaker(np.random.default_rng(seed))


def still(performance: Performance) -> Performance:
    zero = torch.zeros_like(performance.roll)
    return replace(performance, place=torch.zeros_like(performance.place), scale=zero + 1, roll=zero)


@pytest.mark.parametrize("seed", [0, 1, 4])
def test_gap_between_the_lips_is_the_truth(seed):
    performance, speaker = act(seed)
    performance = still(performance)
    # Colours that tell teeth from skin: only teeth are grey.
    speaker = replace(speaker, skin=(0.85, 0.62, 0.50), lips=(0.70, 0.40, 0.35))
    # One column of pixels down the middle of the mouth, 100 pixels a unit.
    view = torch.tensor([[0.2, 1.2, -0.5, 0.5]]).expand(len(performance.jaw), 4)
    column = render(performance, speaker, view, 100)[:, :, 49:51].float().mean(2) / 255
    closed = column[performance.mouth["opening"] == 0].mean(0)
    dark = column.mean(2) < 0.4 * closed.mean(1).max()
    grey = (column.amax(2) - column.amin(2)) / column.amax(2) < 0.2  # teeth
    gap = (dark | grey).sum(1) / 100.0
    opening = performance.mouth["opening"]
    assert torch.corrcoef(torch.stack([gap, opening]))[0, 1] > 0.97
    assert (gap - opening)[opening > 0.1].abs().mean() < 0.025
    assert gap[opening == 0].max() < 0.07  # the seam between closed lips


def test_head_coordinates_are_the_inverse_of_scene_coordinates():
    performance, _ = act(2, 1.0)
    points = torch.tensor([[0.3, 1.1]]).expand(25, 2)
    scene = performance.to_scene(points)
    x, y = to_head(performance, scene[:, 0, None, None], scene[:, 1, None, None])
    torch.testing.assert_close(torch.stack([x, y], -1)[:, 0, 0], points, atol=1e-5, rtol=0)


def test_lips_lie_in_the_painted_half_and_the_chin_in_the_crop():
    for seed in range(20):
        performance, speaker = act(seed)
        y0, y1 = track_of(performance, speaker)[:, :2].unbind(1)
        assert (y1 - y0).unique().numel() <= 3  # one size, but for rounding
        half = (y1 - y0) / 2.8
        middle = (y0 + y1) / 2
        x = torch.zeros_like(performance.jaw)
        lip = performance.to_scene(torch.stack([x, x + 0.2], 1))[:, 1]
        chin = performance.to_scene(torch.stack([x, CHIN * speaker.chin + performance.jaw], 1))[:, 1]
        assert (lip > middle).all()
        assert (chin < middle + half).all()
        assert (chin > middle + 0.5 * half).all()


def test_same_seed_same_picture_and_another_speaker_another():
    pictures = []
    for seed in (3, 3, 4):
        performance, speaker = act(seed, 1.0)
        pictures.append(render(performance, speaker, track_of(performance, speaker), 64))
    assert pictures[0].shape == (25, 64, 64, 3)
    assert pictures[0].dtype == torch.uint8
    assert torch.equal(pictures[0], pictures[1])
    assert (pictures[0].float() - pictures[2].float()).abs().mean() > 10


def test_a_closer_view_shows_the_same_scene():
    performance, speaker = act(5, 1.0)
    views = track_of(performance, speaker)
    wide = render(performance, speaker, views, 224)[::8]
    quarter = (views[:, 1] - views[:, 0])[:, None] / 4
    close = views + quarter * torch.tensor([1.0, -1.0, 1.0, -1.0])
    near = render(performance, speaker, close, 112)[::8]
    assert (wide[:, 56:168, 56:168].float() - near.float()).abs().mean() < 3


def test_eyes_blink_within_five_seconds():
    performance, _ = act(6, 5.0)
    assert performance.lids.min() < 0.5
    assert performance.lids.median() == 1


def test_face_detector_and_mesh_see_the_faces_and_their_mouths():
    finder, meter = FaceFinder(), MouthMeter()
    seen, mesh, truth = [], [], []
    for seed in range(12):
        performance, speaker = act(seed)
        frames = render(performance, speaker, track_of(performance, speaker), 112)[::9]
        seen += [len(faces.scores) for faces in finder.detect(frames)]
        crops = crop(frames.permute(0, 3, 1, 2).contiguous(), torch.tensor(box_in_track(112)), 64, 2)
        mesh.append(meter(crops / 127.5 - 1))
        truth.append(performance.mouth["opening"][::9])
    assert np.mean(np.array(seen) > 0) >= 0.95
    assert torch.corrcoef(torch.stack([torch.cat(mesh), torch.cat(truth)]))[0, 1] > 0.92
