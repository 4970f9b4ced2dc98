"""Mels against the original's numbers; windows against the whole clip; first columns in exact arithmetic."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from lipsync.corpora.mel import (
    clip_mels,
    context,
    expert_column,
    frame_mel_columns,
    grid_columns,
    log_mel,
    sliding_mels,
    window_mels,
)

NAMES = ["synthetic", "ls_demo1", "mt_eng"]


def noise(samples: int) -> torch.Tensor:
    """(samples,) int16 whose loudness swells, so that no two columns are alike."""
    loud = 3000 * (1.2 + torch.sin(torch.arange(samples) / 5000))
    return (loud * torch.randn(samples)).clamp(-32768, 32767).to(torch.int16)


def excerpt(sound: torch.Tensor, first: int, count: int) -> torch.Tensor:
    """Samples [first, first + count) with silence around."""
    return torch.nn.functional.pad(sound, (5000, 5000))[first + 5000 : first + 5000 + count]


@pytest.mark.parametrize("name", NAMES)
def test_log_mel_is_the_originals(shared: Path, name: str) -> None:
    numbers = np.load(shared / "reference" / "mel.npz")
    waveform = torch.from_numpy(numbers[f"{name}_wav_i16"])[None].float() / 32768
    mel = log_mel(waveform)[0].numpy()
    assert mel.shape == numbers[f"{name}_mel"].shape
    assert np.abs(mel - numbers[f"{name}_mel"]).max() <= 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_reflection_is_that_of_the_old_librosa(shared: Path, name: str) -> None:
    numbers = np.load(shared / "reference" / "mel.npz")
    waveform = torch.from_numpy(numbers[f"{name}_wav_i16"])[None].float() / 32768
    mel = log_mel(waveform, padding="reflect")[0, :, numbers[f"{name}_mel_reflect_cols"]].numpy()
    assert np.abs(mel - numbers[f"{name}_mel_reflect"]).max() <= 1e-3


def test_reflection_changes_two_columns_at_each_end() -> None:
    waveform = noise(16_000)[None].float() / 32768
    changed = (log_mel(waveform) - log_mel(waveform, padding="reflect")).abs().amax(dim=(0, 1)) > 1e-4
    assert changed.nonzero().flatten().tolist() == [0, 1, 79, 80]


def test_mel_is_the_definition_in_float64() -> None:
    """Every step in plain numpy: windows cut by hand, a Fourier sum, triangles of equal area on Slaney's scale."""
    sound = noise(3000).double().numpy() / 32768
    emphasised = np.append(sound[0], sound[1:] - 0.97 * sound[:-1])
    padded = np.pad(emphasised, 400)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(800) / 800)
    frames = np.stack([padded[200 * c : 200 * c + 800] * hann for c in range(16)])
    spectrum = np.abs(np.exp(-2j * np.pi * np.outer(np.arange(401), np.arange(800)) / 800) @ frames.T)

    def hertz(mel: np.ndarray) -> np.ndarray:
        # Slaney: linear to 1 kHz at mel 15, then a factor of 6.4 every 27.
        return np.where(mel < 15, 200 / 3 * mel, 1000 * 6.4 ** ((mel - 15) / 27))

    low, high = 55 * 3 / 200, 15 + 27 * np.log(7.6) / np.log(6.4)
    corners = hertz(np.linspace(low, high, 82))
    bins = np.arange(401) * 20.0
    heights = 2 / (corners[2:] - corners[:-2])
    triangles = np.stack([np.interp(bins, corners[i : i + 3], [0, heights[i], 0]) for i in range(80)])
    decibels = 20 * np.log10(np.maximum(triangles @ spectrum, 1e-5)) - 20
    expected = np.clip(8 * (decibels + 100) / 100 - 4, -4, 4)
    mel = log_mel(torch.from_numpy(sound)[None].float())[0].numpy()
    assert np.abs(mel - expected).max() <= 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_frame_windows_are_the_originals(shared: Path, name: str) -> None:
    numbers = np.load(shared / "reference" / "mel.npz")
    frames = numbers[f"{name}_frames"]
    times = [Fraction(int(f), 25) for f in frames]
    sound = numbers[f"{name}_wav_i16"]
    differences = np.abs(clip_mels(sound, times, chunk=7).numpy() - numbers[f"{name}_windows"])
    # In the original the sound stops dead after pre-emphasis; here silence, which pre-emphasis still hears, follows it.
    columns = frame_mel_columns(times).numpy()[:, None] + np.arange(16)
    inside = 200 * columns + 400 <= len(sound)
    assert inside.mean() > 0.98
    assert differences.max(axis=1)[inside].max() <= 1e-3
    assert grid_columns(torch.arange(72)).tolist() == numbers[f"{name}_start_step"].tolist()


def test_first_columns_of_the_grid_are_the_originals() -> None:
    original = [int(80 * max(f - 1, 0) / 25) for f in range(400)]
    assert frame_mel_columns([Fraction(f, 25) for f in range(400)]).tolist() == original
    assert grid_columns(torch.arange(400)).tolist() == original
    assert expert_column(torch.arange(400)).tolist() == [int(80 * f / 25) for f in range(400)]


def test_first_columns_are_exact_between_the_grid() -> None:
    # 1001/30000 s a frame; column 8 begins at exactly 0.14 s, and a hair earlier it is still column 7.
    times = [Fraction(4004, 30000), Fraction(14, 100), Fraction(14, 100) - Fraction(1, 10**12), Fraction(-1, 2)]
    assert frame_mel_columns(times).tolist() == [7, 8, 7, 0]


def test_silence_is_the_floor() -> None:
    torch.testing.assert_close(log_mel(torch.zeros(2, 1600)), torch.full((2, 80, 9), -4.0))


def test_sliding_mels_are_those_of_every_window() -> None:
    sound, first = noise(640 * 40), torch.tensor([0, 1, 9])
    heard = torch.stack([excerpt(sound, *context(f, 20)) for f in first.tolist()])
    sliding = sliding_mels(heard, first, 20)
    assert sliding.shape == (3, 16, 80, 16)
    for b, f in enumerate(first.tolist()):
        for i in range(16):
            window = excerpt(sound, *context(f + i, 5))[None]
            expected = window_mels(window, torch.tensor([f + i]), 5)[1][0, 0]
            torch.testing.assert_close(sliding[b, i], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("frames", [1, 5, 8, 50])
def test_window_equals_the_whole_clip(frames: int) -> None:
    length = 100
    sound = noise(640 * length)
    first = torch.tensor([0, 1, 2, 3, 17, 40, length - frames - 1, length - frames])
    heard = torch.stack([excerpt(sound, *context(f, frames)) for f in first.tolist()])
    frame_mels, mel = window_mels(heard, first, frames)
    assert frame_mels.shape == (8, frames, 80, 16)
    assert mel.shape == (8, 1, 80, 16 * frames // 5)
    # At a clip's end silence is part of the definition.
    whole = log_mel(torch.nn.functional.pad(sound, (0, 8000))[None].float() / 32768)[0]
    for b, f in enumerate(first.tolist()):
        for i in range(frames):
            column = int(80 * max(f + i - 1, 0) / 25)
            torch.testing.assert_close(frame_mels[b, i], whole[:, column : column + 16], atol=1e-4, rtol=0)
        column = int(80 * f / 25)
        torch.testing.assert_close(mel[b, 0], whole[:, column : column + mel.shape[3]], atol=1e-4, rtol=0)


def test_context_has_one_length_and_nothing_to_spare() -> None:
    lengths = {context(f)[1] for f in range(50)}
    assert lengths == {6401}
    # Frame 1 needs columns 0..15 for itself, its window's last frame columns 12..27; STFT windows are 800 wide.
    assert context(1)[0] == -401
    assert context(26)[0] == 80 * 200 - 401


def test_clip_mels_read_only_what_they_need() -> None:
    class Counted(np.ndarray):
        touched: set[int]

        def __getitem__(self, index: np.ndarray) -> np.ndarray:
            self.touched.update(np.unique(index).tolist())
            return np.asarray(self)[index]

    sound = noise(64000).numpy().view(Counted)
    sound.touched = set()
    mels = clip_mels(sound, [Fraction(2), Fraction(21, 10)])
    assert mels.shape == (2, 80, 16)
    first, last = int(80 * 1.96), int(80 * 2.06)
    assert min(sound.touched) == 200 * first - 401
    assert max(sound.touched) == 200 * (last + 15) + 399


def test_clip_mels_surround_the_sound_with_silence() -> None:
    sound = noise(3200).numpy()
    whole = log_mel(torch.from_numpy(np.pad(sound, (0, 8000)))[None].float() / 32768)[0]
    mels = clip_mels(sound, [Fraction(0), Fraction(1, 5), Fraction(10)])
    torch.testing.assert_close(mels[0], whole[:, :16], atol=1e-4, rtol=0)
    torch.testing.assert_close(mels[1], whole[:, 12:28], atol=1e-4, rtol=0)
    torch.testing.assert_close(mels[2], torch.full((80, 16), -4.0))
    assert clip_mels(sound, []).shape == (0, 80, 16)
