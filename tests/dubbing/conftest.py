"""Small videos with known pixels and time stamps, a face finder that is told where the face is, and toy models."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from lipsync.corpora.landmarks import BRIDGE, CHIN, LOWER_LIP, NOSE_BASE, UPPER_LIP
from lipsync.sound import write_wav


class StillFace:
    """Finds one face with its nose base at a fixed place, where the picture's first pixel is not black."""

    def __init__(self, x: float = 40.5, y: float = 30.25, chin: float = 20.0) -> None:
        points = np.random.default_rng(0).uniform(-0.9 * chin, 0.9 * chin, (468, 3))
        points[[NOSE_BASE, CHIN, BRIDGE, UPPER_LIP, LOWER_LIP], :2] = [
            [0, 0],
            [0, chin],
            [0, -chin / 2],
            [0, 5],
            [0, 8],
        ]
        self.landmarks = torch.from_numpy(points + np.array([x, y, 0])).float()[None]

    def detect(self, images: Tensor) -> list[SimpleNamespace]:
        faces = [self.landmarks if image[0, 0].sum() > 60 else self.landmarks[:0] for image in images]
        return [SimpleNamespace(landmarks=points, presence=torch.ones(len(points))) for points in faces]


class Same:
    """Gives the frames back."""

    crop_rule = "square"

    def __init__(self, size: int = 48) -> None:
        self.size = size

    def generate(self, frames: Tensor, reference: Tensor, frame_mels: Tensor, noise: Tensor, **how) -> Tensor:
        return frames


class White(Same):
    """Paints the lower half white."""

    def generate(self, frames: Tensor, reference: Tensor, frame_mels: Tensor, noise: Tensor, **how) -> Tensor:
        painted = frames.clone()
        painted[:, :, self.size // 2 :] = 1
        return painted


@pytest.fixture
def still_face() -> type[StillFace]:
    return StillFace


@pytest.fixture
def same() -> type[Same]:
    return Same


@pytest.fixture
def white() -> type[White]:
    return White


def texture(width: int, height: int, number: int) -> np.ndarray:
    """A smooth RGB pattern that moves with the frame number."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9 + number / 5), np.cos(y / 8 - number / 7), np.sin((x + y) / 11)]
    return (128 + 70 * np.stack(waves, axis=-1)).round().astype(np.uint8)


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., str]:
    """Writes a video of `texture` frames at the given pts, those in `dark` black; gives its path."""

    def make(
        name: str = "video.mp4",
        pts: Sequence[int] = tuple(range(0, 10 * 512, 512)),
        size: tuple[int, int] = (96, 80),
        time_base: Fraction = Fraction(1, 12800),
        pixels: str = "yuv420p",
        codec: str = "libx264",
        dark: Sequence[int] = (),
        rotation: int = 0,
        aspect: Fraction = Fraction(1),
        tags: dict[str, int] | None = None,
        gop: int = 12,
    ) -> str:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            options = {"preset": "ultrafast", "crf": "10"} if codec == "libx264" else {}
            stream = container.add_stream(codec, options=options)
            stream.width, stream.height = size
            stream.pix_fmt, stream.time_base, stream.gop_size = pixels, time_base, gop
            context = stream.codec_context
            context.time_base, context.framerate, context.sample_aspect_ratio = time_base, 25, aspect
            for tag, value in (tags or {}).items():
                setattr(context, tag, value)
            if rotation:
                stream.set_display_rotation(rotation)
            for number, time in enumerate(pts):
                image = texture(*size, number) * (number not in dark)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
                frame.pts, frame.time_base = time, time_base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return str(path)

    return make


@pytest.fixture
def make_sound(tmp_path: Path) -> Callable[..., str]:
    """Writes a wav of noise, 16 kHz mono, and gives its path."""

    def make(seconds: float, name: str = "sound.wav") -> str:
        samples = np.random.default_rng(1).normal(0, 3000, round(16_000 * seconds)).astype(np.int16)
        write_wav(tmp_path / name, samples)
        return str(tmp_path / name)

    return make
