"""MFCCs against the original's numbers and against closed forms."""

import math

import numpy as np
import pytest
import torch

from lipsync.metrics.mfcc import mfcc


@pytest.mark.parametrize("name", ["synthetic", "ls_demo1"])
def test_equals_the_original(reference, name):
    numbers = reference("mfcc")
    samples = numbers[f"{name}_wav_i16"]
    torch.testing.assert_close(mfcc(samples.double()), numbers[f"{name}_mfcc"], atol=1e-6, rtol=0)
    torch.testing.assert_close(mfcc(samples).double(), numbers[f"{name}_mfcc"], atol=1e-3, rtol=0)


@pytest.mark.parametrize(("samples", "columns"), [(1, 1), (400, 1), (401, 2), (560, 2), (561, 3), (16000, 99)])
def test_columns_cover_every_sample(samples, columns):
    assert mfcc(torch.ones(samples)).shape == (13, columns)


def test_first_coefficient_is_the_log_energy():
    # Pre-emphasis passes an impulse inside the frame and its echo -0.97; Parseval gives their power over the one side.
    samples = torch.zeros(400, dtype=torch.float64)
    samples[100] = 1000.0
    spectrum = np.fft.rfft(np.r_[1000.0, -970.0], 512)
    assert mfcc(samples)[0, 0] == pytest.approx(math.log((np.abs(spectrum) ** 2 / 512).sum()), abs=1e-12)


def test_loudness_moves_the_first_coefficient_alone():
    samples = torch.randn(8000, dtype=torch.float64) * 1000
    louder = mfcc(10 * samples) - mfcc(samples)
    torch.testing.assert_close(louder[0], torch.full_like(louder[0], math.log(100)), atol=1e-9, rtol=0)
    torch.testing.assert_close(louder[1:], torch.zeros_like(louder[1:]), atol=1e-9, rtol=0)


def test_silence_is_finite():
    silence = mfcc(torch.zeros(1600, dtype=torch.int16))
    assert silence.isfinite().all()
    assert silence[0, 0] == pytest.approx(math.log(2**-52), abs=1e-4)
