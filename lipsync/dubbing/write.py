"""The dubbed video: the source's size, time stamps and tags, with the new sound; whole under its name, or not there."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
from av import AudioFifo, AudioFrame, Packet
from av.container import OutputContainer
from av.video.stream import VideoStream

from lipsync.container import decode, open_media
from lipsync.dubbing.read import Format, PlaneFrame, to_video_frame
from lipsync.errors import LipsyncError
from lipsync.files import whole
from lipsync.sound import resample, without_holes

CONTAINERS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}
QUALITY = {"crf": "18", "preset": "medium"}
BIT_RATE = 192_000  # of the sound


def write(out: str | Path, frames: Iterable[PlaneFrame], source: Format, audio: str | Path) -> Fraction:
    """Encodes frames as they come, as H.264, with the sound as AAC beside them, cut at the last frame's end.

    Returns:
        The length of the video in seconds.
    """
    end, format = Fraction(0), CONTAINERS[Path(out).suffix.lower()]
    try:
        with whole(out) as beside, av.open(f"file:{beside}", "w", format=format) as container:
            video = _add_video(container, source)
            sound = read_sound(audio)
            first = next(sound)
            voice = container.add_stream("aac", rate=first.sample_rate, layout=first.layout.name)
            voice.bit_rate = BIT_RATE
            sound, fifo, durations = chain([first], sound), AudioFifo(), {}
            for frame in _followed(frames):
                durations[frame.pts] = frame.duration
                container.mux(_timed(video.encode(to_video_frame(frame, source)), durations))
                # Sound keeps pace with the picture, so neither waits in memory for the other.
                end = (frame.pts + frame.duration) * source.time_base
                if (heard := _until(round(end * first.sample_rate), sound, fifo)) is not None:
                    container.mux(voice.encode(heard))
            container.mux(_timed(video.encode(None), durations))
            container.mux(voice.encode(None))
    except OSError as error:  # PyAV's are among them
        raise LipsyncError(f"{out}: cannot be written ({error})") from error
    return end


def read_sound(path: str | Path) -> Iterator[AudioFrame]:
    """Decodes the first audio stream as float samples, mono or stereo, at its own rate where AAC has it."""
    with open_media(path) as container:
        stream = container.streams.audio[0]
        layout = "mono" if stream.channels == 1 else "stereo"
        rate = stream.rate if stream.rate in av.Codec("aac", "w").audio_rates else 48_000
        frames = decode(container, stream)
        first = next(frames)
        yield from resample(without_holes(chain([first], frames), first.time or 0.0), "fltp", layout, rate)


def _add_video(container: OutputContainer, source: Format) -> VideoStream:
    stream = container.add_stream("libx264", options=QUALITY)
    stream.width, stream.height, stream.pix_fmt = source.width, source.height, source.planes
    stream.time_base = source.time_base
    context = stream.codec_context
    context.time_base, context.framerate, context.sample_aspect_ratio = source.time_base, source.rate, source.aspect
    for name, value in source.tags.items():
        setattr(context, name, value)
    return stream


def _followed(frames: Iterable[PlaneFrame]) -> Iterator[PlaneFrame]:
    """Frames with the first pts at zero, each as long as until the next one."""
    waiting = start = None
    for frame in frames:
        start = frame.pts if start is None else start
        frame = frame._replace(pts=frame.pts - start)
        if waiting is not None:
            yield waiting._replace(duration=frame.pts - waiting.pts)
        waiting = frame
    if waiting is not None:
        yield waiting


def _timed(packets: list[Packet], durations: dict[int, int]) -> list[Packet]:
    """Gives packets, which leave the encoder late and out of order, the durations of their frames."""
    for packet in packets:
        packet.duration = durations.pop(packet.pts)
    return packets


def _until(end: int, sound: Iterator[AudioFrame], fifo: AudioFifo) -> AudioFrame | None:
    """The samples from where the last call ended up to number `end`, or to the end of the sound."""
    while fifo.samples_written < end and (frame := next(sound, None)) is not None:
        frame.pts = None
        fifo.write(frame)
    start = fifo.samples_read
    frame = fifo.read(end - start, partial=True) if end > start else None
    if frame is not None:
        frame.pts, frame.time_base = start, Fraction(1, frame.sample_rate)
    return frame
