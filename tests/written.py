"""Videos written from their own frames, and what a player sees and hears of a file."""

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av import Packet

from lipsync.dubbing.read import PlaneFrame, read_format, read_planes
from lipsync.dubbing.timeline import Timeline, timeline
from lipsync.dubbing.voices import open_voice
from lipsync.dubbing.write import write

LABEL = {"program": "lipsync 0", "seed": "0"}


def dubbed(
    out: Path,
    video: str | Path,
    *sounds: str | Path,
    quality: str = "source",
    resume: bool = False,
    recipe: dict | None = None,
    stop: int | None = None,
    error: BaseException | None = None,
    length: str = "video",
    seconds: Fraction = Fraction(1),
) -> tuple[Timeline, list[int]]:
    """Writes a video's own frames, which end or raise `error` at `stop`; gives their times and where reading began."""
    source, begun = read_format(video), []
    frames = list(read_planes(video, source))
    pts = np.array([frame.pts for frame in frames])
    shown = timeline(pts, int(pts[-1]) + frames[-1].duration, source.time_base, source.rate, length, seconds)

    def made(first: int) -> Iterator[PlaneFrame]:
        begun.append(first)
        for position, number in enumerate(shown.numbers[first:], first):
            if position == stop:
                if error is None:
                    return
                raise error
            yield frames[number]

    with tempfile.TemporaryDirectory() as folder:
        voices = [open_voice(sound, folder, video) for sound in sounds]
        write(out, made, shown, source, video, voices, quality, LABEL, resume, recipe or {"face": "largest"})
    return shown, begun


def times_of(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def sound_of(path: str | Path, track: int = 0) -> tuple[np.ndarray, int, Fraction]:
    """(channels, samples) float, the rate and the time of the first sample."""
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.audio[track]))
    parts = [frame.to_ndarray() for frame in frames]
    if not frames[0].format.is_planar:
        parts = [part.reshape(-1, len(frames[0].layout.channels)).T for part in parts]
    scale = {"s16": 2.0**15, "s32": 2.0**31}.get(frames[0].format.name.rstrip("p"), 1.0)
    return np.concatenate(parts, axis=1) / scale, frames[0].sample_rate, frames[0].pts * frames[0].time_base


def lag(heard: np.ndarray, original: np.ndarray) -> int:
    """Samples by which `heard` is late."""
    length = max(len(heard), len(original))
    spectrum = np.fft.rfft(heard, 2 * length) * np.fft.rfft(original, 2 * length).conj()
    peak = int(np.fft.irfft(spectrum).argmax())
    return peak - 2 * length * (peak > length)


def noise(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """(channels, samples) int16 without high notes, which AAC would not keep."""
    rough = np.random.default_rng(seed).normal(0, 3000, (channels, -(-samples // 30)))
    return np.repeat(rough, 30, axis=1)[:, :samples].astype(np.int16)


def add_sound(container: av.container.OutputContainer, rate: int, channels: int, codec: str) -> av.AudioStream:
    return container.add_stream(codec, rate=rate, layout="mono" if channels == 1 else "stereo")


def encode_sound(stream: av.AudioStream, samples: np.ndarray, start: Fraction) -> list[Packet]:
    layout = "mono" if len(samples) == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T).reshape(1, -1), format="s16", layout=layout)
    frame.sample_rate, frame.pts = stream.rate, round(start * stream.rate)
    frame.time_base = Fraction(1, stream.rate)
    return [*stream.encode(frame), *stream.encode(None)]


def make_wav(path: Path, samples: np.ndarray, rate: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = add_sound(container, rate, len(samples), "pcm_s16le")
        container.mux(encode_sound(stream, samples, Fraction(0)))
    return path
