"""Sound: any container's first audio stream in, 16 kHz mono int16 wav out and memory-mapped."""

import os
import wave
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from pathlib import Path

import numpy as np
from av import AudioFrame, AudioResampler

from lipsync.container import decode, open_media
from lipsync.errors import LipsyncError
from lipsync.files import whole

SAMPLE_RATE = 16_000
WAV_PARAMETERS = (1, 2, SAMPLE_RATE, 0, "NONE", "not compressed")
# Lost packets leave holes in the time stamps; shorter ones than this are rounding of the container's clock.
LONGEST_IGNORED_GAP = 0.1


def decode_to_wav(source: str | Path, target: str | Path) -> float:
    """Stream the first audio stream of a media file into a 16 kHz mono int16 wav; holes in it become silence.

    Returns:
        Time in seconds of the first sample on the container's clock.

    Raises:
        LipsyncError: no such file, not media, or no sound in it.
    """
    with open_media(source) as container:
        if not container.streams.audio:
            raise LipsyncError(f"{source}: no sound")
        frames = decode(container, container.streams.audio[0])
        first = next(frames, None)
        if first is None:
            raise LipsyncError(f"{source}: no sound could be decoded")
        start = first.time or 0.0
        with whole(target) as beside, wave.open(str(beside), "wb") as wav:
            wav.setparams(WAV_PARAMETERS)
            for frame in resample(without_holes(chain([first], frames), start), "s16", "mono", SAMPLE_RATE):
                wav.writeframes(frame.to_ndarray().tobytes())
    return start


def without_holes(frames: Iterable[AudioFrame], start: float) -> Iterator[AudioFrame]:
    """Put silence where the time stamps say that packets were lost, so that later sound keeps its time."""
    end = start
    for frame in frames:
        missing = 0.0 if frame.time is None else frame.time - end
        if missing > LONGEST_IGNORED_GAP:
            yield from _silence(frame, round(missing * frame.sample_rate))
            end += missing
        end += frame.samples / frame.sample_rate
        frame.pts = None
        yield frame


def _silence(like: AudioFrame, samples: int) -> Iterator[AudioFrame]:
    """Silent frames in the format of another, at most a second each."""
    for first in range(0, samples, like.sample_rate):
        frame = AudioFrame(like.format, like.layout, min(like.sample_rate, samples - first))
        frame.sample_rate = like.sample_rate
        for plane in frame.planes:
            # Unsigned 8-bit sound rests at 128, every other format at zero.
            plane.update((b"\x80" if like.format.name.startswith("u8") else b"\0") * plane.buffer_size)
        yield frame


def resample(frames: Iterable[AudioFrame], format: str, layout: str, rate: int) -> Iterator[AudioFrame]:
    """Convert to one sample format, layout and rate, also where a stream changes its own on the way."""
    # A resampler takes frames of one kind.
    for _, alike in groupby(frames, key=lambda frame: (frame.format.name, frame.layout.name, frame.sample_rate)):
        resampler = AudioResampler(format, layout, rate)
        for frame in chain(alike, [None]):
            yield from resampler.resample(frame)


def map_wav(path: str | Path) -> np.ndarray:
    """Map the samples of a 16 kHz mono int16 wav into memory.

    Returns:
        (samples,) int16, read-only, not copied.

    Raises:
        LipsyncError: no such file, or a wav of another format.
    """
    try:
        with open(path, "rb") as file, wave.open(file) as wav:
            params = wav.getparams()
            offset = file.tell()
    except FileNotFoundError:
        raise LipsyncError(f"{path}: no such file") from None
    except (wave.Error, EOFError) as error:
        raise LipsyncError(f"{path}: not a wav file of 16-bit samples ({error})") from error
    if (params.nchannels, params.sampwidth, params.framerate) != (1, 2, SAMPLE_RATE):
        raise LipsyncError(
            f"{path}: {params.framerate} Hz, {params.nchannels} channels of {8 * params.sampwidth} bits; "
            f"16000 Hz mono 16-bit is needed"
        )
    # A file cut off in the middle has fewer samples than its header says; an empty map is not allowed.
    samples = min(params.nframes, (os.path.getsize(path) - offset) // 2)
    return np.memmap(path, "<i2", "r", offset, (samples,)) if samples else np.zeros(0, np.int16)


def write_wav(path: str | Path, samples: np.ndarray) -> None:
    """Write (samples,) int16 as a 16 kHz mono wav; the file appears whole or not at all."""
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise ValueError(f"samples must be int16 of one dimension, not {samples.dtype} of {samples.ndim}")
    with whole(path) as beside, wave.open(str(beside), "wb") as wav:
        wav.setparams(WAV_PARAMETERS)
        wav.writeframes(samples.astype("<i2", copy=False).tobytes())
