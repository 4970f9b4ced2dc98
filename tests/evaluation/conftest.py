"""A talking head with sound, as arrays and as a video."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from lipsync.corpora.puppet.write import Clip, write_clip
from lipsync.sound import map_wav
from lipsync.video import read_frames
from lipsync.video import write_clip as write_video


class Talk(NamedTuple):
    """images (N, H, W, 3) uint8, samples (640 N,) int16."""

    images: np.ndarray
    samples: np.ndarray

    def write(self, path: Path, fps: float = 25, mute: bool = False, **changed: np.ndarray) -> Path:
        """Writes it, or something changed, as an mp4."""
        images, samples = self._replace(**changed)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, images, fps, None if mute else samples)
        return path


@pytest.fixture(scope="session")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Talk:
    root = tmp_path_factory.mktemp("talk")
    clip = Clip(str(root), speaker=0, number=0, split="test", seconds=2.0, seed=5, size=128)
    write_clip(clip)
    images = np.stack([frame.image for frame in read_frames(root / f"{clip.id}.mp4")])
    return Talk(images, np.array(map_wav(root / f"{clip.id}.wav")))
