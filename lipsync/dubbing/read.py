"""The source's planes, frame by frame, as the decoder gives them: what is not painted is never converted."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av import VideoFrame
from av.container import InputContainer
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream

from lipsync.container import decode, open_media, video_stream
from lipsync.dubbing.colour import Colour
from lipsync.errors import LipsyncError
from lipsync.video import SCALING


class Format(NamedTuple):
    """What all frames of a video share, and what the encoder must be told to make another like it.

    Attributes:
        width, height: Upright, in pixels.
        planes: Pixel format of the planes, yuv420p, or yuv444p for odd sizes, which 4:2:0 cannot hold in H.264.
        colour: Matrix and range of the planes.
        tags: The stream's colorspace, color_range, color_primaries and color_trc; unnamed ones stay unnamed.
        rate: Average frames a second.
        aspect: Of one pixel, width over height.
        frames: How many there are by the header, or None where it does not tell.
    """

    width: int
    height: int
    planes: str
    colour: Colour
    tags: dict[str, int]
    time_base: Fraction
    rate: Fraction
    aspect: Fraction
    frames: int | None

    @property
    def halved(self) -> bool:
        """Whether chroma has half the resolution."""
        return self.planes == "yuv420p"


class PlaneFrame(NamedTuple):
    """One frame: time in seconds since the first, pts and duration in ticks, planes Y, U, V (H, W) uint8, upright."""

    time: Fraction
    pts: int
    duration: int
    planes: tuple[np.ndarray, np.ndarray, np.ndarray]


def read_format(path: str | Path) -> Format:
    """Reads a video's header and first frame.

    Raises:
        LipsyncError: No such file, not a video, or nothing in it can be decoded.
    """
    with open_media(path) as container:
        stream = video_stream(container, path)
        frame = next(decode(container, stream), None)
        if frame is None:
            raise LipsyncError(f"{path}: no frame can be decoded")
        width, height, aspect = frame.width, frame.height, stream.sample_aspect_ratio or Fraction(1)
        if frame.rotation % 180:
            width, height, aspect = height, width, 1 / aspect
        colour, planes = Colour.of(frame), "yuv444p" if width % 2 or height % 2 else "yuv420p"
        tags = {name: int(getattr(frame, name)) for name in ("color_primaries", "color_trc")}
        tags["color_range"] = int(ColorRange.JPEG if colour.full else frame.color_range)
        tags["colorspace"] = colour.matrix if frame.format.is_rgb else int(frame.colorspace)
        if frame.format.is_rgb:
            tags["color_range"], colour = int(ColorRange.MPEG), colour._replace(full=False)
        if frame.format.name not in (planes, planes.replace("yuv", "yuvj")):
            print(f"{path}: {frame.format.name} of {width} x {height} pixels is written as {planes}")
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        seconds = Fraction(0) if stream.duration is None else stream.duration * stream.time_base
        frames = stream.frames or round(seconds * rate) or None
        return Format(width, height, planes, colour, tags, stream.time_base, rate, aspect, frames)


def read_planes(path: str | Path, source: Format) -> Iterator[PlaneFrame]:
    """Decodes a video in presentation order, one frame at a time; a damaged tail ends it."""
    with open_media(path) as container:
        yield from _frames(container, video_stream(container, path), source)


def read_frame(path: str | Path, source: Format, index: int, pts: int) -> PlaneFrame:
    """Decodes the frame of this number and pts: from the key frame before it, or all over where seeking misses it."""
    with open_media(path) as container:
        stream = video_stream(container, path)
        try:
            container.seek(pts, stream=stream)
            found = next((f for f in _frames(container, stream, source) if f.pts >= pts), None)
        except av.error.FFmpegError:  # a stream that cannot be sought
            found = None
        if found is not None and found.pts == pts:
            return found
    return next(islice(read_planes(path, source), index, None))


def to_image(frame: PlaneFrame, source: Format) -> np.ndarray:
    """Converts a frame to (H, W, 3) uint8 RGB."""
    return (
        to_video_frame(frame, source)
        .reformat(
            format="rgb24",
            src_colorspace=source.colour.matrix,
            src_color_range=ColorRange.JPEG if source.colour.full else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
        )
        .to_ndarray()
    )


def to_video_frame(frame: PlaneFrame, source: Format) -> VideoFrame:
    """Hands a frame's planes, pts and duration back to PyAV."""
    result = VideoFrame(source.width, source.height, source.planes)
    for target, plane in zip(result.planes, frame.planes, strict=True):
        _view(target)[:] = plane
    result.pts, result.time_base, result.duration = frame.pts, source.time_base, frame.duration
    return result


def _frames(container: InputContainer, stream: VideoStream, source: Format) -> Iterator[PlaneFrame]:
    """Frames whose pts advance; those without a pts follow at the stream's rate, as in old AVI files."""
    reformatter = VideoReformatter()
    step = max(1, round(1 / (source.rate * source.time_base)))
    first = last = None
    for frame in decode(container, stream):
        if frame.pts is None or (last is not None and frame.pts <= last):
            pts = 0 if last is None else last + step
        else:
            pts = frame.pts
        first, last = pts if first is None else first, pts
        time = (pts - first) * source.time_base
        yield PlaneFrame(time, pts, frame.duration or step, _planes(frame, source, reformatter))


def _planes(frame: VideoFrame, source: Format, reformatter: VideoReformatter) -> tuple[np.ndarray, ...]:
    """Copies the planes, upright; converts only what is of another format or size than the whole."""
    # The display matrix is only metadata to the decoder; `rotation` counts degrees counter-clockwise.
    turns = round(frame.rotation / 90)
    width, height = (source.height, source.width) if turns % 2 else (source.width, source.height)
    if (frame.format.name.replace("yuvj", "yuv"), frame.width, frame.height) != (source.planes, width, height):
        matrix = source.colour.matrix
        into = ColorRange.JPEG if source.colour.full else ColorRange.MPEG
        out_of = ColorRange.JPEG if frame.format.is_rgb else into
        frame = reformatter.reformat(
            frame, width, height, source.planes, matrix, matrix, SCALING, src_color_range=out_of, dst_color_range=into
        )
    return tuple(np.rot90(_view(plane), turns).copy() for plane in frame.planes)


def _view(plane: av.video.plane.VideoPlane) -> np.ndarray:
    """(H, W) uint8 onto a plane's memory, without the padding of its lines."""
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
