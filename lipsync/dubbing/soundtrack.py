"""The output's sound: voices laid beside the picture, mixed where there are several, cut where the picture ends."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain, zip_longest
from typing import NamedTuple

import av
import numpy as np
from av import AudioFrame, Packet
from av.audio.stream import AudioStream
from av.container import OutputContainer

from lipsync.container import decode, open_media
from lipsync.dubbing.voices import Voice
from lipsync.sound import resample, without_holes

BIT_RATE = 192_000
BLOCK = 16_384  # samples mixed at once
KNEE = 0.8  # of full scale: a mix is bent from here on, so that it never leaves [-1, 1]


class Alignment(NamedTuple):
    """Where things begin in the output: the picture in ticks, each voice in seconds; whichever leads begins first."""

    picture: int
    voices: list[Fraction]


class SoundFormat(NamedTuple):
    """What the sound is encoded as: encoder, sample format, layout (mono or stereo) and rate."""

    encoder: str
    samples: str
    layout: str
    rate: int


def align(voices: list[Voice], time_base: Fraction) -> Alignment:
    """Lays voices and picture on one clock; the picture begins on a tick, so that sound moves by a part of one."""
    picture = math.ceil(max(0, *(voice.lead for voice in voices)) / time_base)
    return Alignment(picture, [picture * time_base - voice.lead for voice in voices])


def sound_format(voices: list[Voice], quality: str, suffix: str) -> SoundFormat:
    """Chooses AAC at the voices' highest rate, Opus in .webm; for lossless FLAC in .mkv, and ALAC in .mp4 and .mov."""
    rates, mono, coarse = [], True, len(voices) == 1
    for voice in voices:
        with open_media(voice.path) as container:
            stream = container.streams.audio[0]
            rates.append(stream.rate)
            mono &= stream.channels == 1
            coarse &= stream.format.name.startswith(("s16", "u8"))
    layout, rate = "mono" if mono else "stereo", max(rates)
    if suffix == ".webm":
        return SoundFormat("libopus", "flt", layout, 48_000)
    if quality == "lossless":
        encoder, planar = ("flac", "") if suffix == ".mkv" else ("alac", "p")
        return SoundFormat(encoder, ("s16" if coarse else "s32") + planar, layout, rate)
    return SoundFormat("aac", "fltp", layout, rate if rate in av.Codec("aac", "w").audio_rates else 48_000)


def add_sound(container: OutputContainer, format: SoundFormat) -> AudioStream:
    """Adds the stream that encodes sound of this format."""
    stream = container.add_stream(format.encoder, rate=format.rate, layout=format.layout)
    stream.format = format.samples
    if format.encoder in ("aac", "libopus"):
        stream.bit_rate = BIT_RATE
    stream.disposition = av.stream.Disposition.default
    return stream


def encode_sound(
    stream: AudioStream, format: SoundFormat, voices: list[Voice], starts: list[Fraction], end: Fraction
) -> Iterator[Packet]:
    """Encodes the mix of the voices from 0 to `end`, or to the end of the longest; holds a block of each."""
    done, samples = 0, round(end * format.rate)
    parts = [
        _blocks(voice.path, round(start * format.rate), format) for voice, start in zip(voices, starts, strict=True)
    ]
    for blocks in zip_longest(*parts):
        block = mix([block for block in blocks if block is not None])[:, : samples - done]
        if not block.shape[1]:
            break
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(block), "fltp", format.layout)
        frame.sample_rate, frame.pts, frame.time_base = format.rate, done, Fraction(1, format.rate)
        done += block.shape[1]
        yield from stream.encode(frame)
    yield from stream.encode(None)


def mix(blocks: list[np.ndarray]) -> np.ndarray:
    """Adds (channels, samples) float32 in [-1, 1], the shorter ones padded; what is too loud is bent, not wrapped.

    One alone stays as it is, and so does a sum below the knee.
    """
    if len(blocks) == 1:
        return blocks[0]
    total = np.zeros((len(blocks[0]), max(block.shape[1] for block in blocks)), np.float32)
    for block in blocks:
        total[:, : block.shape[1]] += block
    level = np.abs(total)
    bent = KNEE + (1 - KNEE) * np.tanh((level - KNEE) / (1 - KNEE))
    return np.where(level > KNEE, np.copysign(bent, total), total)


def _blocks(path: str, delay: int, format: SoundFormat) -> Iterator[np.ndarray]:
    """(channels, BLOCK) float32 of a file's first audio stream after `delay` silent samples; the last is shorter."""
    silence = (np.zeros((1 + (format.layout == "stereo"), n), np.float32) for n in _portions(delay))
    held = None
    # Sound of floats may hold what is no number, which an encoder refuses.
    for piece in chain(silence, (np.nan_to_num(frame.to_ndarray()) for frame in _read(path, format))):
        held = piece if held is None else np.concatenate([held, piece], axis=1)
        while held.shape[1] >= BLOCK:
            yield held[:, :BLOCK]
            held = held[:, BLOCK:]
    if held is not None and held.shape[1]:
        yield held


def _portions(samples: int) -> Iterable[int]:
    return (min(BLOCK, samples - first) for first in range(0, samples, BLOCK))


def _read(path: str, format: SoundFormat) -> Iterator[AudioFrame]:
    with open_media(path) as container:
        frames = decode(container, container.streams.audio[0])
        first = next(frames)
        heard = without_holes(chain([first], frames), first.time or 0.0)
        yield from resample(heard, "fltp", format.layout, format.rate)
