"""PSNR and grain against closed forms."""

import math

import pytest
import torch

from lipsync.metrics.quality import PaintedQuality, grain, painted, psnr


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


def test_painted_is_the_lower_half() -> None:
    rows = torch.arange(6.0)[:, None].expand(1, 1, 3, 6, 6)
    assert painted(rows)[0, 0, 0, :, 0].tolist() == [3, 4, 5]
