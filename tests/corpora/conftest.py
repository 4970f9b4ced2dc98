"""A tiny corpus whose pictures say which clip and which frame they are, and whose sound says which sample."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lipsync.corpora.crop import box_in_track
from lipsync.corpora.records import Record, build_manifest, write_record
from lipsync.sound import write_wav
from lipsync.video import VideoWriter

SIDE = 64
# (id, speaker, split, frames)
CLIPS = (
    ("anna/0", "anna", "train", 40),
    ("anna/1", "anna", "train", 30),
    ("bert/0", "bert", "train", 20),
    ("carl/0", "carl", "val", 24),
    ("dora/0", "dora", "val", 20),
    ("dora/1", "dora", "val", 16),
    ("emil/0", "emil", "test", 20),
)


def pictures(clip: int, frames: int) -> np.ndarray:
    """(frames, 64, 64, 3): red names the clip, green the frame (4 levels each), blue brightens from left to right."""
    image = np.zeros((frames, SIDE, SIDE, 3), np.uint8)
    image[..., 0] = 40 + 20 * clip
    image[..., 1] = 40 + 4 * np.arange(frames)[:, None, None]
    image[..., 2] = 60 + 2 * np.arange(SIDE)
    return image


def noise(clip: int, frames: int) -> np.ndarray:
    """(640 frames,) int16 of noise that no other clip shares."""
    return np.random.default_rng(clip).integers(-8000, 8000, 640 * frames).astype(np.int16)


def write(root: Path, clip: int, name: str, speaker: str, split: str, frames: int) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(root / f"{name}.mp4", SIDE, SIDE, 25, crf=4) as writer:
        writer.write(pictures(clip, frames))
    write_wav(root / f"{name}.wav", noise(clip, frames))
    opening = tuple(clip + 0.01 * np.arange(frames))
    box = box_in_track(SIDE)
    record = Record(name, f"{name}.mp4", f"{name}.wav", "raw.mp4", speaker, split, frames, SIDE, box, opening=opening)
    write_record(root, record)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Seven clips of five speakers; three train, three val, one test."""
    for clip, (name, speaker, split, frames) in enumerate(CLIPS):
        write(tmp_path, clip, name, speaker, split, frames)
    build_manifest(tmp_path)
    return tmp_path


@pytest.fixture
def clips() -> tuple[tuple[str, str, str, int], ...]:
    """(id, speaker, split, frames) of the corpus's clips, in the manifest's order."""
    return CLIPS


@pytest.fixture
def sound() -> Callable[[int], np.ndarray]:
    """Samples of a clip by its number."""
    return lambda clip: noise(clip, CLIPS[clip][3])


@pytest.fixture
def write_clip() -> Callable[[Path, int, str, str, str, int], None]:
    """Write a clip: folder, number, id, speaker, split, frames."""
    return write
