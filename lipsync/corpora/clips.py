"""Reading a prepared clip: single pictures by decord, a stretch of sound from the memory-mapped wav."""

from collections.abc import Sequence
from pathlib import Path

import decord
import numpy as np
import torch
from decord._ffi.base import DECORDError
from torch import Tensor

from lipsync.corpora.records import FPS, SAMPLES_A_FRAME, Record, inside
from lipsync.errors import LipsyncError
from lipsync.sound import SAMPLE_RATE, map_wav

SOUND_MAY_LACK = SAMPLE_RATE // 5  # samples at a clip's end; containers round

# What a damaged or missing clip raises; DECORDError is no RuntimeError, and decord raises either.
UNREADABLE = (DECORDError, RuntimeError, IndexError, OSError, LipsyncError)

# We name damaged clips ourselves; FFmpeg would add pages.
decord.logging.set_level(decord.logging.QUIET)


def read_pictures(root: Path, record: Record, numbers: Sequence[int]) -> Tensor:
    """Decode single frames of a clip, (N, 3, D, D) uint8; raises one of UNREADABLE if the clip is not as recorded."""
    path = inside(root, record.video)
    if not path.is_file():  # decord would say so at length
        raise LipsyncError(f"{path}: no such file")
    # Opened anew each time, 2 ms: a kept reader holds 15 MB and decodes ahead for nothing, twice the work of a window.
    reader = decord.VideoReader(str(path), num_threads=1)
    if len(reader) < record.frames:
        raise LipsyncError(f"{record.video} has {len(reader)} frames, not {record.frames}")
    pictures = torch.from_numpy(reader.get_batch(list(numbers)).asnumpy()).permute(0, 3, 1, 2)
    if pictures.shape[2:] != (record.size, record.size):
        raise LipsyncError(f"{record.video} measures {tuple(pictures.shape[2:])}, not {record.size} x {record.size}")
    return pictures.contiguous()


def read_sound(root: Path, record: Record, first: int, count: int) -> Tensor:
    """Read `count` samples from `first` on, int16, in step with the pictures; raises one of UNREADABLE.

    Outside the clip there is silence.
    """
    samples = map_wav(inside(root, record.sound))
    if len(samples) + SOUND_MAY_LACK < record.frames * SAMPLES_A_FRAME:
        raise LipsyncError(f"{record.sound} ends {record.frames / FPS - len(samples) / SAMPLE_RATE:.2f} s early")
    first += SAMPLES_A_FRAME * record.sync_offset
    begin = max(first, 0)
    end = max(min(first + count, len(samples)), begin)
    sound = np.zeros(count, np.int16)
    sound[begin - first : end - first] = samples[begin:end]
    return torch.from_numpy(sound)
