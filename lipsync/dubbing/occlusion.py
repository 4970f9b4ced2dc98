"""What hides a face and is to stay: a mask for every frame, from a video or from a function."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from lipsync.dubbing.index import frame_times
from lipsync.dubbing.read import Format, PlaneFrame, read_format, read_planes
from lipsync.errors import LipsyncError

# Gives (H, W) in [0, 1] for a frame of a video, 1 where the source stays, or None.
Occlusion = Callable[[PlaneFrame, Format], np.ndarray | None]
AHEAD = 50  # frames that are decoded rather than sought


def open_occlusion(occlusion: str | Path | Occlusion, source: Format) -> Occlusion:
    """Opens a mask video of `source`, or has a function's masks checked.

    Raises:
        LipsyncError: No such video, or its frames are of another size; when a frame is asked for: too few of them.
    """
    return _checked(occlusion) if callable(occlusion) else MaskVideo(occlusion, source)


class MaskVideo:
    """A video with the frames of another one, white where that is to stay; in order it is decoded once."""

    def __init__(self, path: str | Path, source: Format) -> None:
        self.path, self.format = path, read_format(path)
        if (self.format.width, self.format.height) != (source.width, source.height):
            raise LipsyncError(
                f"{path}: the mask has {self.format.width} x {self.format.height} pixels, the video {source.width} x "
                f"{source.height}; make it of that size"
            )
        self.frames = read_planes(path, self.format)
        self.number, self.mask = -1, np.empty((0, 0), np.float32)

    def __call__(self, frame: PlaneFrame, source: Format) -> np.ndarray:
        """The mask of the source's frame of this number."""
        if frame.number != self.number:
            if not 0 < frame.number - self.number <= AHEAD:
                times = frame_times(self.path)
                known = times is not None and frame.number < len(times)
                pts = int(times[frame.number]) if known else self.format.start
                self.frames = read_planes(self.path, self.format, (frame.number, pts))
            found = next((mask for mask in self.frames if mask.number == frame.number), None)
            if found is None:
                raise LipsyncError(
                    f"{self.path}: the mask has no frame {frame.number}; it needs one for each of the video"
                )
            self.number, self.mask = frame.number, self._levels(found.planes[0])
        return self.mask

    def _levels(self, luma: np.ndarray) -> np.ndarray:
        unit, full = 2 ** (self.format.depth - 8), self.format.colour.full
        black, white = (0, 2**self.format.depth - 1) if full else (16 * unit, 235 * unit)
        return ((luma.astype(np.float32) - black) / (white - black)).clip(0, 1)


def _checked(function: Occlusion) -> Occlusion:
    def mask(frame: PlaneFrame, source: Format) -> np.ndarray | None:
        values = function(frame, source)
        if values is None:
            return None
        values = np.asarray(values, np.float32)
        if values.shape != (source.height, source.width):
            raise LipsyncError(
                f"occlusion: gave an array of shape {values.shape} for frame {frame.number}, not "
                f"{(source.height, source.width)}"
            )
        return values.clip(0, 1)

    return mask
