"""What is carried over from the source beside the picture: other sound tracks, subtitles, chapters, metadata."""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av import Packet
from av.container import InputContainer, OutputContainer
from av.stream import Disposition, Stream

from lipsync.container import open_media
from lipsync.dubbing.label import to_comment

COVERS = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}  # as Matroska attaches them

# Of the old file rather than of what is in it.
STALE = re.compile(
    r"(major_brand|minor_version|compatible_brands|encoder|vendor_id|rotate|duration|bps|number_of_(frames|bytes)|"
    r"_statistics_.*|comment|description_of_streams)(-\w+)?",
    re.IGNORECASE,
)


def carry(
    original: InputContainer, picture: Stream, out: OutputContainer, suffix: str, begin: Fraction, end: Fraction
) -> tuple[dict[int, Stream], list[str]]:
    """Adds the source's other streams, attachments and chapters to the output; the first sound track is replaced.

    Args:
        picture: Of the source.
        begin: Output time of the source's time 0.
        end: Output time where the source has been shown once.

    Returns:
        The new streams by the indices of the old ones, and names of what the container cannot hold.
    """
    streams, left_out = {}, []
    replaced = original.streams.audio[:1]
    chapters = _chapters(original, begin, end)
    for stream in original.streams:
        cover = stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)
        codec = stream.codec_context and stream.codec_context.codec
        if stream is picture or stream in replaced or (chapters and stream.type == "data"):  # chapters' texts
            continue
        if stream.type == "attachment" and suffix == ".mkv":
            out.add_attachment(stream.name or "attachment", stream.mimetype or "application/octet-stream", stream.data)
        elif cover and suffix == ".mkv" and codec and codec.name in COVERS:
            out.add_attachment(*COVERS[codec.name], _cover(original, stream))
        elif (
            (stream.type in ("audio", "subtitle") or (cover and suffix == ".mp4"))
            and codec
            and codec.name in out.supported_codecs
        ):
            new = streams[stream.index] = out.add_stream_from_template(stream, opaque=True)
            new.metadata.update(lasting(stream.metadata))
            new.disposition = stream.disposition
        else:
            left_out.append(_name(stream, cover))
    out.set_chapters(chapters)
    return streams, left_out


def carried_packets(
    original: InputContainer, streams: dict[int, Stream], suffix: str, begin: Fraction, end: Fraction
) -> Iterator[Packet]:
    """Reads the carried streams' packets, moved to the output's clock, those outside the output left out."""
    if not streams:
        return
    # Sound that ends where the output begins is what a decoder starts with, and does not play. Matroska must be told
    # how much that is, which only Matroska tells; otherwise all streams would be put off until it has been played.
    primed = suffix in (".mp4", ".mov") or "matroska" in original.format.name
    packets = original.demux([original.streams[index] for index in streams])
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:  # a damaged tail ends it, as it ends the picture
            return
        if packet is None:
            return
        if not packet.size:  # the end of a stream
            continue
        base, new = packet.time_base, streams[packet.stream_index]
        if new.type == "video":  # a cover has no time
            packet.pts = packet.dts = 0
        elif packet.pts is None:
            continue
        else:
            shift = round(begin / base)
            packet.pts += shift
            packet.dts = packet.pts if packet.dts is None else packet.dts + shift
            lasts = packet.duration if primed and new.type == "audio" and packet.duration else 0
            if packet.pts + lasts < 0 or packet.pts * base >= end:
                continue
            if new.type == "subtitle" and packet.duration:
                packet.duration = min(packet.duration, int(end / base) - packet.pts)
        packet.stream = new
        yield packet


def carry_metadata(original: InputContainer, out: OutputContainer, label: dict[str, str]) -> None:
    """Copies what the source says of itself, the label added to the comment."""
    out.metadata.update(lasting(original.metadata))
    own = next((text for key, text in original.metadata.items() if key.lower() == "comment"), "")
    out.metadata["comment"] = to_comment(label, own)


def lost_metadata(original: InputContainer, path: Path) -> list[str]:
    """Names what the source says of itself and the output at `path`, whose container has no word for it, does not."""
    with open_media(path) as container:
        kept = {key.lower() for key in container.metadata}
    return [f"metadata {key}" for key in lasting(original.metadata) if key.lower() not in kept]


def lasting(metadata: dict[str, str]) -> dict[str, str]:
    """Metadata that stay true of a copy; what mp4 calls a track's name is its title everywhere else."""
    return {"title" if key == "name" else key: text for key, text in metadata.items() if not STALE.fullmatch(key)}


def _chapters(original: InputContainer, begin: Fraction, end: Fraction) -> list[dict]:
    chapters = []
    for chapter in original.chapters():
        base = chapter["time_base"]
        start = max(0, chapter["start"] + round(begin / base))
        stop = min(chapter["end"] + round(begin / base), int(end / base))
        if start < stop:
            chapters.append(chapter | {"start": start, "end": stop})
    return chapters


def _cover(original: InputContainer, stream: Stream) -> bytes:
    with open_media(original.name.removeprefix("file:")) as container:
        return bytes(next(container.demux(container.streams[stream.index])))


def _name(stream: Stream, cover: bool) -> str:
    context, language = stream.codec_context, stream.metadata.get("language", "und")
    said = getattr(stream, "name", None) if context is None else context.codec.canonical_name
    details = [detail for detail in (said, language) if detail not in (None, "und")]
    return f"{'cover' if cover else stream.type} {stream.index}" + f" ({', '.join(details)})" * bool(details)
