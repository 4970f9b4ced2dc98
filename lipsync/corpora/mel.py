"""Mel spectrograms as Wav2Lip's and Diff2Lip's networks expect them: 80 bins, 80 columns a second, in [-4, 4]."""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from lipsync.sound import SAMPLE_RATE

HOP = 200
WINDOW = 800
BINS = 80
COLUMNS = 16  # of the mel that one frame sees
FPS = 25  # of the training grid


def log_mel(waveform: Tensor, padding: str = "zero") -> Tensor:
    """Log-mel spectrogram, computed in float32 on the waveform's device; silence surrounds the waveform.

    Args:
        waveform: (B, N) float in [-1, 1] at 16 kHz.
        padding: What the outermost windows see beyond the ends: "zero", or "reflect", the waveform mirrored, which the
            librosa before 0.9 that Wav2Lip's own weights were trained with does.

    Returns:
        (B, 80, 1 + N // 200); column c is centred on sample 200 c.
    """
    emphasised = _emphasise(F.pad(waveform.float(), (1, 0)))
    mode = {"zero": "constant", "reflect": "reflect"}[padding]
    return _columns(F.pad(emphasised, (WINDOW // 2, WINDOW // 2), mode=mode))


def frame_mel_columns(times: Sequence[Fraction]) -> Tensor:
    """First column of the mel that the UNet sees at each time: floor(80 * max(tau - 1/25, 0)), exactly.

    Args:
        times: tau of every frame, seconds into the sound.

    Returns:
        (F,) int64.
    """
    return torch.tensor([int(80 * max(Fraction(tau) - Fraction(1, FPS), 0)) for tau in times], dtype=torch.int64)


def grid_columns(frames: Tensor) -> Tensor:
    """`frame_mel_columns` of int64 frame numbers of the 25 fps grid, on their device."""
    return 16 * (frames - 1).clamp(min=0) // 5


def expert_column(first_frames: Tensor) -> Tensor:
    """First column of the expert's mel for windows that begin at these int64 frame numbers: int(80 f / 25)."""
    return 16 * first_frames // 5


def context(first_frame: int, frames: int = 5) -> tuple[int, int]:
    """Samples (first, number) that a window needs; they may lie outside the clip, where there is silence."""
    first_column = 16 * max(first_frame - 1, 0) // 5
    # One sample more than the first STFT window, because pre-emphasis looks at its predecessor.
    return HOP * first_column - WINDOW // 2 - 1, 1 + WINDOW + HOP * (_context_columns(frames) - 1)


def window_mels(audio: Tensor, first_frame: Tensor, frames: int = 5) -> tuple[Tensor, Tensor]:
    """Mels of windows from the samples that `context` names; they equal those cut from the whole clip's mel.

    Args:
        audio: (B, K) int16.
        first_frame: (B,) int64, each window's first frame in its clip.
        frames: T, frames in a window.

    Returns:
        (B, T, 80, 16), a mel for every frame, and (B, 1, 80, M), the window's own for the expert: M = 16 T // 5.
    """
    mel = _columns(_emphasise(audio.float() / 32768))
    numbers = first_frame[:, None] + torch.arange(frames, device=audio.device)
    columns = grid_columns(numbers)
    expert = expert_column(numbers[:, :1]) - columns[:, :1]
    return (
        _gather(mel, columns - columns[:, :1], COLUMNS),
        _gather(mel, expert, 16 * frames // 5),
    )


def sliding_mels(audio: Tensor, first_frame: Tensor, count: int, frames: int = 5) -> Tensor:
    """The expert's mels of every window within a stretch of `count` frames.

    Args:
        audio: (B, K) int16, the samples that `context` names for the stretch.
        first_frame: (B,) int64, each stretch's first frame in its clip.
        count: frames in a stretch.
        frames: T, frames in a window.

    Returns:
        (B, count - T + 1, 80, M), M = 16 T // 5.
    """
    mel = _columns(_emphasise(audio.float() / 32768))
    numbers = first_frame[:, None] + torch.arange(count - frames + 1, device=audio.device)
    return _gather(mel, expert_column(numbers) - grid_columns(numbers[:, :1]), 16 * frames // 5)


def clip_mels(
    samples: np.ndarray, times: Sequence[Fraction], device: torch.device | str = "cpu", chunk: int = 256
) -> Tensor:
    """Mels for frames of a sound of any length; reads only the samples those frames need.

    Args:
        samples: (N,) int16, possibly memory-mapped; silence surrounds them.
        times: tau of every frame, seconds into the sound.
        device: where to compute.
        chunk: frames computed at a time.

    Returns:
        (F, 80, 16) float32 on `device`.
    """
    columns = frame_mel_columns(times).numpy()
    offsets = np.arange(1 + WINDOW + HOP * (COLUMNS - 1)) - WINDOW // 2 - 1
    mels = []
    for first in range(0, len(columns), chunk):
        positions = HOP * columns[first : first + chunk, None] + offsets
        inside = (positions >= 0) & (positions < len(samples))
        heard = np.zeros(positions.shape, np.float32)
        heard[inside] = samples[positions[inside]]
        mels.append(_columns(_emphasise(torch.from_numpy(heard).to(device) / 32768)))
    return torch.cat(mels) if mels else torch.empty(0, BINS, COLUMNS, device=device)


def _gather(mel: Tensor, first: Tensor, columns: int) -> Tensor:
    """(B, 80, C), (B, T) -> (B, T, 80, columns): the columns from each first one on."""
    index = first[:, :, None] + torch.arange(columns, device=mel.device)
    index = index[:, :, None, :].expand(-1, -1, BINS, -1)
    return mel[:, None].expand(-1, first.shape[1], -1, -1).gather(3, index)


def _emphasise(waveform: Tensor) -> Tensor:
    """Pre-emphasis; the first sample serves as predecessor only."""
    return waveform[:, 1:] - 0.97 * waveform[:, :-1]


def _columns(emphasised: Tensor) -> Tensor:
    """(B, 800 + 200 (C - 1) + rest) -> (B, 80, C): magnitudes, mel bins, decibels from -120, scaled to [-4, 4]."""
    device = emphasised.device
    with torch.autocast(device.type, enabled=False):
        window = torch.hann_window(WINDOW, device=device)
        spectrum = torch.stft(emphasised, WINDOW, HOP, window=window, center=False, return_complex=True).abs()
        mel = torch.einsum("mf,bfc->bmc", _basis(device), spectrum)
        decibels = 20 * mel.clamp(min=1e-5).log10() - 20
        return (8 * (decibels + 100) / 100 - 4).clamp(-4, 4)


@lru_cache
def _basis(device: torch.device) -> Tensor:
    """(80, 401) triangles of equal area on Slaney's scale, 55 to 7600 Hz."""
    basis = melscale_fbanks(WINDOW // 2 + 1, 55.0, 7600.0, BINS, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    return basis.T.contiguous().to(device)


@lru_cache
def _context_columns(frames: int) -> int:
    """Columns that a window of so many frames spans at most, wherever it begins."""
    first_frames = torch.arange(6)  # frame 0, which has no predecessor, and one period of 5 frames = 16 columns
    end_of_frames = grid_columns(first_frames + frames - 1) + COLUMNS
    end_of_window = expert_column(first_frames) + 16 * frames // 5
    return int((torch.maximum(end_of_frames, end_of_window) - grid_columns(first_frames)).max())
