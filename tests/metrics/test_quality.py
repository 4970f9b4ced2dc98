"""PSNR, grain, sharpness and flicker against closed forms, SSIM against torchmetrics."""

import math

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from lipsync.errors import LipsyncError
from lipsync.metrics.quality import PSNR_CAP, PaintedQuality, PictureQuality, grain, psnr
from lipsync.metrics.views import View


def test_psnr_of_a_constant_error() -> None:
    clips = torch.zeros(2, 3, 3, 4, 4)
    error = torch.tensor([0.1, 0.02]).view(2, 1, 1, 1, 1)
    torch.testing.assert_close(psnr(clips, clips + error), 20 * torch.log10(2 / error.flatten()))


def test_grain_sees_noise_and_no_ramp() -> None:
    ramp = torch.linspace(-1, 1, 64).expand(1, 5, 3, 32, 64) + torch.linspace(0, 1, 32)[:, None]
    assert grain(ramp) == pytest.approx(0, abs=1e-6)
    noise = 0.1 * torch.randn(1, 20, 3, 32, 64)
    assert grain(noise).item() == pytest.approx(0.1 * 2, rel=0.02)  # four independent terms


def test_only_the_painted_half_counts() -> None:
    """The upper half may differ as it likes; the lower half decides every score."""
    frames = torch.randn(2, 4, 3, 8, 8).clamp(-1, 1)
    reference = frames[:, :1].clone()
    reference[..., 4:, :] = frames[:, :1, :, 4:] + 0.2
    frames = frames[:, :1].expand(-1, 4, -1, -1, -1)
    generated = frames.clone()
    generated[..., 4:, :] += 0.1
    generated[..., :4, :] = 9
    metric = PaintedQuality()
    metric.update(generated, frames, reference)
    scores = metric.compute()
    assert scores["psnr_painted"] == pytest.approx(20 * math.log10(20), abs=1e-4)
    assert scores["psnr_copy_reference"] == pytest.approx(20 * math.log10(10), abs=1e-4)
    assert scores["psnr_gain"] == pytest.approx(20 * math.log10(2), abs=1e-4)
    assert scores["psnr_gain_worst"] == pytest.approx(20 * math.log10(2), abs=1e-4)
    assert scores["grain_ratio"] == pytest.approx(1, abs=1e-5)


def seen(pictures: torch.Tensor) -> View:
    return View(pictures, torch.zeros(len(pictures), 468, 2), torch.zeros(len(pictures), 128))


def test_a_perfect_clip() -> None:
    truth = seen(torch.rand(4, 3, 32, 32) * 2 - 1)
    assert PictureQuality().score(truth, truth) == {
        "psnr": PSNR_CAP,
        "ssim": pytest.approx(1),
        "psnr_mouth": PSNR_CAP,
        "ssim_mouth": pytest.approx(1),
        "sharpness": 1,
        "flicker": 0,
    }


def test_rounding_to_bytes_lies_below_the_cap() -> None:
    pictures = torch.rand(4, 3, 64, 64) * 2 - 1
    found = PictureQuality().score(seen(((pictures + 1) * 127.5).round() / 127.5 - 1), seen(pictures))
    assert found["psnr"] == pytest.approx(20 * math.log10(255 * math.sqrt(12)), abs=0.05)
    assert found["psnr"] < PSNR_CAP


def test_psnr_is_the_mean_of_frames_capped() -> None:
    """The lower half of one of two frames is off by 0.2."""
    truth = torch.zeros(2, 3, 16, 16)
    pictures = truth.clone()
    pictures[1, :, 8:] = 0.2
    found = PictureQuality().score(seen(pictures), seen(truth))
    assert found["psnr_mouth"] == pytest.approx((60 + 20) / 2, abs=1e-4)
    assert found["psnr"] == pytest.approx((60 + 20 + 10 * math.log10(2)) / 2, abs=1e-4)


def test_ssim_is_that_of_torchmetrics() -> None:
    truth = torch.rand(11, 3, 40, 40) * 2 - 1
    pictures = (truth + 0.3 * torch.randn_like(truth)).clamp(-1, 1)
    found = PictureQuality().score(seen(pictures), seen(truth))
    mean, similarity = structural_similarity_index_measure(
        (pictures + 1) / 2, (truth + 1) / 2, data_range=1.0, return_full_image=True
    )
    assert found["ssim"] == pytest.approx(float(mean), abs=1e-5)
    assert found["ssim_mouth"] == pytest.approx(float(similarity[:, :, 20:].mean()), abs=1e-5)
    assert 0.2 < found["ssim"] < 0.95


def test_sharpness_is_a_ratio_of_edges() -> None:
    truth = torch.rand(2, 3, 32, 32)
    assert PictureQuality().score(seen(0.4 * truth), seen(truth))["sharpness"] == pytest.approx(0.4, abs=1e-5)
    above = truth.clone()
    above[:, :, :16] = 0
    assert PictureQuality().score(seen(above), seen(truth))["sharpness"] == 1
    flat = seen(torch.zeros(2, 3, 32, 32))
    assert PictureQuality().score(flat, seen(truth))["sharpness"] == 0
    assert PictureQuality().score(seen(truth), flat)["sharpness"].isnan()
    assert PictureQuality().score(flat, flat)["sharpness"].isnan()


def test_flicker_is_change_that_the_truth_has_not() -> None:
    truth = torch.zeros(5, 3, 16, 16)
    truth[3:, :, 8:] = 0.5  # a true change is no flicker
    blinking = truth.clone()
    blinking[1::2, :, 8:] += 2 / 255  # one grey level is 2 / 255: every change is off by one
    blinking[::2, :, :8] = 1
    found = PictureQuality().score(seen(blinking), seen(truth))
    assert found["flicker"] == pytest.approx(1, abs=1e-4)
    assert PictureQuality().score(seen(truth * 0), seen(truth))["flicker"] == pytest.approx(0.5 * 127.5 / 4)
    assert PictureQuality().score(seen(truth[:1]), seen(truth[:1]))["flicker"].isnan()


def test_undefined_scores_are_left_out() -> None:
    metric = PictureQuality()
    metric.update(0, seen(torch.zeros(1, 3, 32, 32)), seen(torch.zeros(1, 3, 32, 32)))
    assert set(metric.compute()) == set(metric.by_clip()[0]) == {"psnr", "ssim", "psnr_mouth", "ssim_mouth"}


def test_unequal_clips_are_refused() -> None:
    with pytest.raises(LipsyncError, match="2 frames"):
        PictureQuality().score(seen(torch.zeros(2, 3, 16, 16)), seen(torch.zeros(3, 3, 16, 16)))
