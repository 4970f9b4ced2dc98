"""The time stamps of a video's packets, which tell without decoding where each frame is."""

from array import array
from functools import lru_cache
from pathlib import Path

import av
import numpy as np

from lipsync.container import open_media, video_stream


def is_at(path: str | Path, number: int, pts: int) -> bool:
    """Whether the frame that decoding from the start gives this number and pts is the one whose packet has that pts.

    A pts made up because the decoder's did not advance lies above those of `number` + 1 packets, so never at its place.
    """
    times = frame_times(path)
    return times is not None and number < len(times) and times[number] == pts


def frame_times(path: str | Path) -> np.ndarray | None:
    """(F,) int64 pts of a video's packets in rising order; None where one has no pts or two have the same."""
    return _frame_times(str(path), Path(path).stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _frame_times(path: str, changed: int) -> np.ndarray | None:
    with open_media(path) as container:
        times, packets = array("q"), container.demux(video_stream(container, path))
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:  # cut off
                break
            if packet is None or packet.size == 0:  # an empty one ends the stream
                break
            if packet.pts is None:
                return None
            if not packet.is_discard:
                times.append(packet.pts)
    ordered = np.sort(np.array(times, np.int64))
    return ordered if (np.diff(ordered) > 0).all() else None
