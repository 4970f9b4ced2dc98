"""What training changes in pictures and sound: against closed forms, and Pillow's JPEG."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from lipsync.corpora import augment
from lipsync.corpora.augment import degrade, disturb, draw_degrading, draw_disturbing, jitter, recolour

NONE, LOUD = [0.0, 100.0], 3000


@pytest.fixture
def smooth() -> torch.Tensor:
    """A picture with shades and an edge, (3, 48, 64) in [0, 1]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 48), torch.linspace(0, 1, 64), indexing="ij")
    picture = torch.stack([0.5 + 0.4 * torch.sin(6 * x + 3 * y), 0.6 * y + 0.2, 0.8 - 0.5 * x])
    picture[:, 12:30, 20:40] *= 0.6
    return picture


def test_jitter_fills_its_range() -> None:
    boxes = jitter(np.random.default_rng(0), np.tile([0.0, 100, 0, 100], (2000, 1)), 0.05)
    side, centre = boxes[:, 1] - boxes[:, 0], boxes[:, 2:].mean(1)
    assert side.min() == pytest.approx(95, abs=0.1)
    assert side.max() == pytest.approx(105, abs=0.1)
    assert centre.min() == pytest.approx(45, abs=0.1)
    assert centre.max() == pytest.approx(55, abs=0.1)


def test_colours_change_alike_within_a_window() -> None:
    pictures = torch.rand(2, 1, 3, 4, 4).expand(2, 6, 3, 4, 4)
    changed = recolour(pictures, torch.tensor([[0.05, 1.1, 0.9, 0.05], [-0.05, 0.9, 1.1, -0.05]]))
    torch.testing.assert_close(changed, changed[:, :1].expand_as(changed))
    assert (changed - pictures).abs().mean() > 0.02
    assert changed.amin() >= 0
    assert changed.amax() <= 1


def test_colours_of_the_centre_change_nothing_and_grey_follows_the_formula() -> None:
    pictures = torch.rand(1, 2, 3, 4, 4)
    torch.testing.assert_close(recolour(pictures, torch.tensor([[0.0, 1, 1, 0]])), pictures, atol=1e-5, rtol=0)
    grey = torch.full((1, 1, 3, 2, 2), 0.4)
    changed = recolour(grey, torch.tensor([[0.05, 1.2, 1.1, 0.06]]))
    torch.testing.assert_close(changed, torch.full_like(grey, (0.4 + 0.05) * 1.2))


def test_blur_spreads_a_point_by_its_deviation():
    point = torch.zeros(1, 2, 3, 31, 31, dtype=torch.float64)
    point[..., 15, 15] = 1
    for sigma in (0.7, 1.2):
        blurred = degrade(point, torch.tensor([[sigma, 100.0]], dtype=torch.float64))[0, 1, 2]
        offsets = torch.arange(31) - 15.0
        assert blurred.sum() == pytest.approx(1, abs=1e-9)
        for profile in (blurred.sum(0), blurred.sum(1)):
            assert ((profile * offsets**2).sum()).sqrt() == pytest.approx(sigma, rel=0.01)


@pytest.mark.parametrize("quality", [20, 50, 80])
def test_compression_is_that_of_jpeg(smooth, quality):
    file = io.BytesIO()
    pixels = (smooth * 255).round().byte()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255
    ours = degrade(pixels[None, None] / 255, torch.tensor([[0.0, quality]]))[0, 0]
    lost = (expected - smooth).square().mean().sqrt()
    # kornia's differentiable rounding is not libjpeg's; how much is lost is the same.
    assert (ours - expected).square().mean().sqrt() < 0.55 * lost
    assert (ours - smooth).square().mean().sqrt() == pytest.approx(float(lost), rel=0.15)


def test_only_chosen_windows_change_and_all_their_pictures_alike(smooth):
    windows = smooth.expand(4, 6, 3, 48, 64)
    degrading = torch.tensor([NONE, [0.9, 100.0], [0.0, 30.0], [0.9, 30.0]])
    changed = degrade(windows, degrading)
    assert torch.equal(changed[0], windows[0])
    assert torch.equal(changed, changed[:, :1].expand_as(changed))
    assert len({round(float(window.sum()), 3) for window in changed}) == 4
    alone = torch.cat([degrade(windows[k : k + 1], degrading[k : k + 1]) for k in range(4)])
    torch.testing.assert_close(changed, alone, atol=1e-6, rtol=0)


def test_a_share_of_windows_is_degraded_and_within_bounds():
    drawn = torch.stack([draw_degrading(np.random.default_rng(k), 0.3) for k in range(2000)])
    for column, none, (least, most) in ((0, 0.0, augment.BLUR), (1, 100.0, augment.QUALITY)):
        chosen = drawn[drawn[:, column] != none, column]
        assert len(chosen) / 2000 == pytest.approx(0.3, abs=0.03)
        assert least <= chosen.min() < least + 0.02 * (most - least)
        assert most - 0.02 * (most - least) < chosen.max() <= most


def test_sound_is_scaled_and_noise_has_its_level():
    index = torch.tensor([5, 6, 7])
    audio = torch.full((3, 20_000), LOUD, dtype=torch.int16)
    heard = disturb(audio, torch.tensor([[0.5, 0.0], [0.0, 0.01], [2.0, 0.01]]), 0, index)
    assert torch.equal(heard[0], torch.full((20_000,), LOUD / 2))
    assert heard[1].square().mean().sqrt() == pytest.approx(327.68, rel=0.02)
    torch.testing.assert_close(heard[2].mean(), torch.tensor(2.0 * LOUD), atol=10, rtol=0)
    assert (heard[2] - 2 * LOUD).std() == pytest.approx(327.68, rel=0.02)
    assert torch.equal(disturb(audio[1:], torch.tensor([[0.0, 0.01], [2.0, 0.01]]), 0, index[1:]), heard[1:])
    assert disturb(audio, torch.tensor([[100.0, 0.0]] * 3), 0, index).amax() == 32767


def test_only_closed_mouths_are_silenced():
    opening = np.full(60, 0.2)
    opening[20:40] = 0.01  # closed all the while in windows that begin at 21 ... 31
    silenced = [
        [draw_disturbing(np.random.default_rng((first, k)), 0.5, opening, first, 5)[0] == 0 for k in range(80)]
        for first in range(56)
    ]
    share = np.array(silenced, float).mean(1)
    assert np.flatnonzero(share).tolist() == list(range(21, 32))
    assert share[21:32].mean() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("opening", [np.empty(0), np.full(30, np.nan)])
def test_an_unmeasured_mouth_is_not_closed(opening):
    drawn = [draw_disturbing(np.random.default_rng(k), 1.0, opening, 10, 5) for k in range(50)]
    assert all(factor > 0 for factor, _ in drawn)


def test_half_the_sounds_are_left_alone():
    opening = np.full(30, 0.2)
    drawn = torch.stack([draw_disturbing(np.random.default_rng(k), 0.5, opening, 10, 5) for k in range(2000)])
    same = (drawn[:, 0] == 1) & (drawn[:, 1] == 0)
    assert same.float().mean() == pytest.approx(0.5, abs=0.04)
    decibels = 20 * drawn[~same].log10()
    for column, (least, most) in ((0, augment.GAIN), (1, augment.NOISE)):
        assert decibels[:, column].min() == pytest.approx(least, abs=0.5)
        assert decibels[:, column].max() == pytest.approx(most, abs=0.5)
