"""Voices: the sounds that faces speak, as 16 kHz samples for the network, and their place beside the picture."""

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lipsync.container import decode, open_media, video_stream
from lipsync.errors import LipsyncError
from lipsync.sound import decode_to_wav, map_wav


class Voice(NamedTuple):
    """A sound.

    Attributes:
        path: The file with it.
        wav: The same decoded, 16 kHz mono.
        lead: Seconds of sound before the video's first frame, negative where the sound begins after it; 0 for a sound
            that comes in a file of its own.
    """

    path: str
    wav: Path
    lead: Fraction

    @property
    def samples(self) -> np.ndarray:
        """(samples,) int16, mapped from the disk anew: pages that were read count as memory as long as their map is."""
        return map_wav(self.wav)


def open_voice(path: str | Path, folder: str | Path, video: str | Path) -> Voice:
    """Decodes a file's first audio stream into a wav in `folder`.

    Raises:
        LipsyncError: No such file, not media, or no sound in it.
    """
    try:
        wav = Path(folder) / f"{len(list(Path(folder).iterdir()))}.wav"
        begins = decode_to_wav(path, wav)
    except OSError as error:
        raise LipsyncError(f"{path}: its sound cannot be written to {folder} ({error})") from error
    lead = Fraction(0)
    if Path(path).samefile(video):
        lead = _first_time(video) - Fraction(begins).limit_denominator(1_000_000)  # the clock's own fraction
    return Voice(str(path), wav, lead)


def _first_time(video: str | Path) -> Fraction:
    """Reads the time of a video's first frame in seconds on the container's clock; 0 where it has none."""
    with open_media(video) as container:
        stream = video_stream(container, video)
        frame = next(decode(container, stream), None)
        return Fraction(0) if frame is None or frame.pts is None else frame.pts * stream.time_base
