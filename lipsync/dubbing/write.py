"""The dubbed video: picture, time stamps and other streams as in the source, with the new sound; whole or absent."""

import hashlib
from collections.abc import Callable, Iterator
from heapq import merge
from math import lcm
from pathlib import Path

import av
import numpy as np
from av import Packet
from av.error import FFmpegError

from lipsync.container import open_media, video_stream
from lipsync.dubbing import segments, soundtrack
from lipsync.dubbing.carried import carried_packets, carry, carry_metadata, lasting, lost_metadata
from lipsync.dubbing.encoder import CONTAINERS, choose_encoder
from lipsync.dubbing.read import Format, PlaneFrame
from lipsync.dubbing.timeline import Timeline
from lipsync.dubbing.voices import Voice
from lipsync.errors import LipsyncError
from lipsync.files import publish

FINEST = 10_000_000  # ticks a second of an mp4's edit lists, at most


def write(
    out: str | Path,
    frames: Callable[[int], Iterator[PlaneFrame]],
    timeline: Timeline,
    source: Format,
    video: str | Path,
    voices: list[Voice],
    quality: str,
    label: dict[str, str],
    resume: bool,
    recipe: dict[str, object],
) -> None:
    """Encodes the frames and writes them with the voices and what else is in the source.

    The picture goes into segments in the folder OUT.part, which stays when the process is ended; see `segments`.

    Args:
        out: A .mp4, .mkv, .mov or .webm.
        frames: Makes the output's frames from a position on.
        timeline: When they are timeline.
        source: Their format.
        video: Where they and the other streams come from.
        voices: The sounds, at least one; those that begin before the picture let it wait.
        quality: source, near_lossless or lossless.
        label: What the output says of itself.
        resume: Goes on from the segments that an earlier run left.
        recipe: What else the frames depend on; of files and label `write` knows.

    Raises:
        LipsyncError: The output cannot be written, another process writes it, or `resume` finds another recipe.
    """
    out = Path(out)
    encoder = choose_encoder(source, quality, out.suffix.lower())
    times = hashlib.sha256(np.stack(timeline).tobytes()).hexdigest()
    recipe = {
        "video": identity(video),
        **{f"sound {number}": identity(voice.path) for number, voice in enumerate(voices, 1)},
        "encoder": encoder,
        "length of segments": segments.SEGMENT,
        "times of the frames": times,
        "label": label,
        **recipe,
    }
    try:
        with segments.workplace(out, recipe, resume) as folder:
            segments.encode_segments(folder, frames, timeline, source, encoder)
            beside = folder / out.name
            left_out = _mux(beside, folder, timeline, source, video, voices, quality, label)
            publish(beside, out)
    except (OSError, FFmpegError) as error:
        raise LipsyncError(f"{out}: cannot be written ({error})") from error
    if source.conversion:
        print(f"{out}: {source.conversion}")
    if left_out:
        print(f"{out}: left out, as {out.suffix.lower()} cannot hold it: {', '.join(left_out)}")


def _mux(
    beside: Path,
    folder: Path,
    timeline: Timeline,
    source: Format,
    video: str | Path,
    voices: list[Voice],
    quality: str,
    label: dict[str, str],
) -> list[str]:
    """Puts the segments, the sound and the other streams into one file; gives the names of what is left out."""
    suffix, base = beside.suffix.lower(), source.time_base
    begin, starts = soundtrack.align(voices, base)
    end = (begin + int(timeline.pts[-1] + timeline.durations[-1])) * base
    once = _once(timeline)
    shift = begin * base - source.start * base
    format = soundtrack.sound_format(voices, quality, suffix)
    # Identifiers that are not drawn by chance: the same input gives the same bytes.
    options = {"fflags": "+bitexact"}
    if suffix in (".mp4", ".mov"):
        clock = lcm(format.rate, base.denominator)
        options["movie_timescale"] = str(clock if clock <= FINEST else format.rate)
    with (
        open_media(video) as original,
        open_media(segments.first_segment(folder)) as template,
        open_media(voices[0].path) as voice,
        av.open(f"file:{beside}", "w", format=CONTAINERS[suffix], container_options=options) as container,
    ):
        own = video_stream(original, video)
        picture = container.add_stream_from_template(template.streams.video[0], opaque=True)
        picture.time_base, picture.codec_context.sample_aspect_ratio = base, source.aspect
        picture.metadata.update(lasting(own.metadata))
        picture.disposition = own.disposition
        if suffix in (".mp4", ".mov") and picture.codec_context.name == "hevc":
            picture.codec_tag = "hvc1"  # what Apple's players know
        sound = soundtrack.add_sound(container, format)
        sound.metadata.update(lasting(voice.streams.audio[0].metadata))
        carry_metadata(original, container, label)
        streams, left_out = carry(original, own, container, suffix, shift, (begin + once) * base)
        for packet in merge(
            segments.segment_packets(folder, picture, timeline, begin, base),
            soundtrack.encode_sound(sound, format, voices, starts, end),
            carried_packets(original, streams, suffix, shift, (begin + once) * base),
            key=_seconds,
        ):
            container.mux(packet)
        container.close()
        return left_out + lost_metadata(original, beside)


def _once(timeline: Timeline) -> int:
    """Ticks until the source's frames no longer follow one another: the second pass of a loop, or a held frame."""
    count = int(np.argmax(np.append(np.diff(timeline.numbers) <= 0, True))) + 1
    return int(timeline.pts[count - 1] + timeline.durations[count - 1])


def _seconds(packet: Packet) -> float:
    return float(packet.dts * packet.time_base)


def identity(path: str | Path) -> list[str | int]:
    """What tells a file from another one, or from itself before a change."""
    stat = Path(path).stat()
    return [str(Path(path).resolve()), stat.st_size, stat.st_mtime_ns]
