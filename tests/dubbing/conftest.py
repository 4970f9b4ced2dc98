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

from lipsync.corpora.landmarks import BRIDGE, CHIN, EYES, FOREHEAD, JAW, LOWER_LIP, NOSE_BASE, TRACKED, UPPER_LIP
from lipsync.dubbing.colour import Colour
from lipsync.dubbing.read import Format, read_format
from lipsync.dubbing.track import Survey, survey
from lipsync.preparation.faces import FaceFinder
from lipsync.preparation.tracks import Track
from lipsync.sound import write_wav


class StillFace:
    """Finds one face with its nose base at a fixed place, where the picture's first pixel is not black."""

    def __init__(self, x: float = 40.5, y: float = 30.25, chin: float = 20.0) -> None:
        points = np.random.default_rng(0).uniform(-0.9 * chin, 0.9 * chin, (468, 3))
        angles = np.linspace(np.pi, 0, len(JAW))
        points[list(JAW), :2] = chin * np.stack([0.8 * np.cos(angles), 1.3 * np.sin(angles) - 0.3], 1)
        points[[NOSE_BASE, CHIN, BRIDGE, UPPER_LIP, LOWER_LIP, FOREHEAD, *EYES], :2] = [
            [0, 0],
            [0, chin],
            [0, -chin / 2],
            [0, 5],
            [0, 8],
            [0, -chin],
            [-0.4 * chin, -chin / 2],
            [0.4 * chin, -chin / 2],
        ]
        points[[CHIN, FOREHEAD, *EYES], 2] = 0  # it looks straight ahead
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


class Striped(Same):
    """Paints the lower half with vertical stripes, which no matching of colours can hide."""

    def generate(self, frames: Tensor, reference: Tensor, frame_mels: Tensor, noise: Tensor, **how) -> Tensor:
        painted = frames.clone()
        painted[:, :, self.size // 2 :] = torch.arange(self.size).div(4, rounding_mode="floor") % 2 * 1.8 - 0.9
        return painted


@pytest.fixture
def still_face() -> type[StillFace]:
    return StillFace


@pytest.fixture
def same() -> type[Same]:
    return Same


@pytest.fixture
def striped() -> type[Striped]:
    return Striped


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
        options: dict[str, str] | None = None,
    ) -> str:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            usual = {"preset": "ultrafast", "crf": "10"} if codec == "libx264" else {}
            stream = container.add_stream(codec, options=usual | (options or {}))
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


@pytest.fixture
def make_track() -> Callable[..., Track]:
    """Makes a track of a still face; (T,) arrays for `opening` (pixels) and `yaw` move its lower lip and turn it."""

    def make(
        first: int,
        count: int,
        x: float = 60.0,
        y: float = 50.0,
        chin: float = 20.0,
        opening: np.ndarray | float = 3.0,
        yaw: np.ndarray | float = 0.0,
        unseen: Sequence[int] = (),
    ) -> Track:
        landmarks = StillFace(x, y, chin).landmarks.numpy().repeat(count, axis=0)
        landmarks[:, LOWER_LIP, 1] = landmarks[:, UPPER_LIP, 1] + opening
        points = {point: landmarks[:, point, :2] for point in TRACKED}
        presence, pose = np.ones(count, np.float32), np.zeros((count, 3), np.float32)
        pose[:, 0] = yaw
        presence[list(unseen)], pose[list(unseen)] = 0, np.nan
        return Track(first, points, presence, pose, np.zeros(count, bool))

    return make


@pytest.fixture
def make_survey() -> Callable[..., Survey]:
    """Makes a survey of `count` frames at 25 a second, of the time base 1/25, the first at pts 100."""

    def make(tracks: list[Track], count: int, cuts: Sequence[int] = ()) -> Survey:
        return Survey(np.arange(100, 100 + count), 100 + count, tracks, np.array(cuts, np.int64))

    return make


@pytest.fixture
def plain_format() -> Format:
    """Of a picture of 120 x 100 pixels at 25 frames a second."""
    return Format(120, 100, "yuv420p", Colour(1, False), {}, Fraction(1, 25), Fraction(25), Fraction(1), None)


@pytest.fixture(scope="session")
def hamilton(shared: Path) -> tuple[str, Format, Survey]:
    """A real clip of several faces and cuts, its format and its survey, found once."""
    video = str(shared / "clips" / "fr_hamilton_short.mp4")
    source = read_format(video)
    return video, source, survey(video, source, FaceFinder())
