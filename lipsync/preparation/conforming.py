"""Which clips can be used where they lie: checked by decoding them, not believed from their headers."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import decord
import numpy as np

from lipsync.corpora.clips import SOUND_MAY_LACK, UNREADABLE
from lipsync.corpora.records import FPS, SAMPLES_A_FRAME
from lipsync.preparation.tracks import CutDetector
from lipsync.video import TimedFrame

SPARSE = 4  # every so many pixels of green are kept of a frame, to know it again
JITTER = 0.004  # seconds by which a time stamp may be off the grid: containers round to milliseconds
LIKENESS = 1.1, 0.5  # how much further than the nearest frame, in ratio and grey levels, the right one may be


class Witness:
    """Lets a clip's frames through and keeps what its conformity is judged by, a few kilobytes a frame.

    Attributes:
        times: Of the frames, in seconds on the container's clock.
        shape: (H, W) of the frames.
        cuts: Numbers of the frames that begin a new shot.
    """

    def __init__(self, frames: Iterable[TimedFrame]) -> None:
        self.frames = frames
        self.times: list[float] = []
        self.shape = (0, 0)
        self.cuts: list[int] = []
        self.sparse: list[np.ndarray] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        is_cut = CutDetector()
        for time, image in self.frames:
            if is_cut(image[:, :, 1]):
                self.cuts.append(len(self.times))
            self.times.append(time)
            self.shape = image.shape[:2]
            self.sparse.append(image[::SPARSE, ::SPARSE, 1].astype(np.int16))
            yield image

    def objection(self, path: Path, size: int, samples: int) -> str:
        """Says in words why a clip cannot be used as it is; empty when it can.

        Args:
            path: The file that the frames came from.
            size: Side that the corpus's pictures have.
            samples: Of its sound from the first frame on.
        """
        times = np.array(self.times)
        if self.shape != (size, size):
            return f"{self.shape[1]}x{self.shape[0]} pixels"
        if np.abs(times - times[0] - np.arange(len(times)) / FPS).max() > JITTER:
            rate = (len(times) - 1) / max(times[-1] - times[0], 1e-6)
            return f"{rate:.2f} frames a second" if abs(rate - FPS) > 0.01 else "uneven time stamps"
        if self.cuts:
            return f"{len(self.cuts)} cut{'s' * (len(self.cuts) > 1)}"
        if samples + SOUND_MAY_LACK < len(times) * SAMPLES_A_FRAME:
            return "sound ends early"
        return self._misread(path)

    def _misread(self, path: Path) -> str:
        """decord's word for first, middle and last frame against the sequential decoder's."""
        count = len(self.times)
        places = [0, count // 2, count - 1]
        try:
            reader = decord.VideoReader(str(path), num_threads=1)
            if len(reader) != count:
                return f"decord counts {len(reader)} frames, not {count}"
            pictures = reader.get_batch(places).asnumpy()
        except UNREADABLE:
            return "decord cannot read it"
        known = np.stack(self.sparse)
        for place, picture in zip(places, pictures, strict=True):
            if picture.shape[:2] != self.shape:
                return "decord turns it"
            distances = np.abs(known - picture[::SPARSE, ::SPARSE, 1]).mean((1, 2))
            ratio, levels = LIKENESS
            if distances[place] > ratio * distances.min() + levels:
                return f"decord reads frame {int(distances.argmin())} for {place}"
        return ""
