"""Films of red squares, which stand for faces, and a finder that takes them for that."""

import json
from typing import NamedTuple

import av
import numpy as np
import torch

from lipsync.corpora.landmarks import BRIDGE, CHIN, LOWER_LIP, NOSE_BASE, UPPER_LIP
from lipsync.preparation.prepare import FINISHED

HEIGHT, WIDTH, SIDE = 120, 160, 40
FPS = 30


class Found(NamedTuple):
    landmarks: torch.Tensor
    presence: torch.Tensor


class RedSquares:
    """A finder that takes every red square of SIDE x SIDE pixels for a face, in the left and the right half."""

    def __init__(self, device):
        pass

    def detect(self, images):
        return [self.faces(image.float()) for image in images]

    def faces(self, image):
        red = (image[..., 0] > 150) & (image[..., 1] < 100)
        found = []
        for left in (0, WIDTH // 2):
            rows, columns = torch.nonzero(red[:, left : left + WIDTH // 2], as_tuple=True)
            if len(rows) > 100:
                x, y = left + columns.float().mean() + 0.5, rows.float().mean() + 0.5
                points = torch.rand(468, 3, generator=torch.Generator().manual_seed(0)) * SIDE - SIDE / 2
                # Half side of the box: max(1.1 * 20, 1.85 * 10) = 22 pixels.
                for point, down in ((NOSE_BASE, 0), (CHIN, 20), (BRIDGE, -10), (UPPER_LIP, 5), (LOWER_LIP, 6)):
                    points[point] = torch.tensor([0.0, down, 0.0])
                found.append(points + torch.stack([x, y, torch.zeros(())]))
        return Found(torch.stack(found) if found else torch.zeros(0, 468, 3), torch.full((len(found),), 0.9))


def raw_video(path, seconds=2.0, faces=((40, 60),), sound=True, delay=0.0, flashes=(), speed=0.0, side=SIDE):
    """A lossless film at 30 fps; the squares move by `speed` px a frame, light up and click at `flashes` (s)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="matroska") as container:
        video = container.add_stream("ffv1", rate=FPS)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "bgr0"
        audio = container.add_stream("pcm_s16le", rate=16_000, layout="mono") if sound else None
        for k in range(round(seconds * FPS)):
            image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            lit = any(-1e-6 < delay + k / FPS - flash < 0.1 for flash in flashes)
            for x, y in faces:
                left, top = round(x + speed * k) - side // 2, y - side // 2
                image[top : top + side, left : left + side] = (220, 40, 40)
                image[top + 15 : top + 25, left + 15 : left + 25] = 255 if lit else 0
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="bgr0")
            frame.pts = k + round(delay * FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound:
            samples = np.full(round((seconds + delay) * 16_000), 1000, np.int16)
            for flash in flashes:
                samples[round(flash * 16_000) : round(flash * 16_000) + 100] = 20_000
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate = 16_000
            container.mux([*audio.encode(frame), *audio.encode(None)])


def contents(root):
    """Every file's bytes by its name; the time stamps of finished sources left out."""
    found = {}
    for path in root.rglob("*"):
        if path.is_file():
            found[path.relative_to(root).as_posix()] = path.read_bytes()
            if path.name == FINISHED:
                state = json.loads(path.read_text())
                state.pop("modified")
                found[path.relative_to(root).as_posix()] = state
    return found
