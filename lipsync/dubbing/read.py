"""The source's planes, frame by frame, as the decoder gives them: what is not painted is never converted."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import chain, islice
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
from lipsync.dubbing.index import is_at
from lipsync.errors import LipsyncError
from lipsync.video import SCALING

# Pixel formats that are kept -> luma samples to one of chroma, across and down.
SUBSAMPLING = {"yuv420p": (2, 2), "yuv422p": (2, 1), "yuv444p": (1, 1)}
PICTURES = ("image2", "gif", "apng")  # demuxers of what may be one picture, besides png_pipe, webp_pipe, ...


class Format(NamedTuple):
    """What all frames of a video share, and what the encoder must be told to make another like it.

    Attributes:
        width, height: Upright, in pixels.
        planes: Pixel format of the planes: yuv420p, yuv422p or yuv444p, at 10 bits with the ending 10le.
        colour: Matrix and range of the planes.
        tags: The stream's colorspace, color_range, color_primaries and color_trc; unnamed ones stay unnamed.
        rate: Average frames a second.
        aspect: Of one pixel, width over height.
        frames: How many there are by the header, or None where it does not tell.
        codec: FFmpeg's name of the video's codec.
        bit_rate: Of the video in bits a second, or None where the header does not tell.
        still: Whether it is a picture, one frame that has no duration of its own.
        start: Pts of the first frame.
        end: Where the last one ends by the header, in ticks, or None where it does not tell.
        conversion: What the planes were, in words, where they are not the file's own.
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
    codec: str = "h264"
    bit_rate: int | None = None
    still: bool = False
    start: int = 0
    end: int | None = None
    conversion: str = ""

    @property
    def subsampling(self) -> tuple[int, int]:
        """Luma samples to one of chroma, across and down."""
        return SUBSAMPLING[self.planes[:7]]

    @property
    def depth(self) -> int:
        """Bits of a sample, 8 or 10."""
        return self.colour.depth


class PlaneFrame(NamedTuple):
    """One frame of a video, upright.

    Attributes:
        number: Of the source's frame, counted from 0.
        time: Seconds since the first frame.
        pts, duration: In ticks of the source's time base.
        planes: Y, U, V (H, W), uint8, or uint16 where the source has 10 bits.
    """

    number: int
    time: Fraction
    pts: int
    duration: int
    planes: tuple[np.ndarray, np.ndarray, np.ndarray]


def read_format(path: str | Path) -> Format:
    """Reads a video's header and first frame, or a picture.

    Raises:
        LipsyncError: No such file, not a video, or nothing in it can be decoded.
    """
    with open_media(path) as container:
        stream = video_stream(container, path)
        frames = decode(container, stream)
        frame = next(frames, None)
        if frame is None:
            raise LipsyncError(f"{path}: no frame can be decoded")
        width, height, aspect = frame.width, frame.height, stream.sample_aspect_ratio or Fraction(1)
        if frame.rotation % 180:
            width, height, aspect = height, width, 1 / aspect
        colour, planes = Colour.of(frame), _nearest(frame)
        tags = {name: int(getattr(frame, name)) for name in ("color_primaries", "color_trc")}
        tags["color_range"] = int(ColorRange.JPEG if colour.full else frame.color_range)
        tags["colorspace"] = colour.matrix if _is_rgb(frame) else int(frame.colorspace)
        if _is_rgb(frame):
            tags["color_range"], colour = int(ColorRange.MPEG), colour._replace(full=False)
        conversion = ""
        if frame.format.name not in (planes, planes.replace("yuv", "yuvj")):
            alpha = any(part.is_alpha for part in frame.format.components)
            without = ", without its transparency" if alpha else ""
            conversion = f"{frame.format.name} of {width} x {height} pixels is written as {planes}{without}"
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        seconds = Fraction(0) if stream.duration is None else stream.duration * stream.time_base
        picture = container.format.name in PICTURES or container.format.name.endswith("_pipe")
        still = picture and next(frames, None) is None
        return Format(
            width,
            height,
            planes,
            colour,
            tags,
            stream.time_base,
            rate,
            aspect,
            1 if still else stream.frames or round(seconds * rate) or None,
            stream.codec.name,
            # In these it is a ceiling.
            None if stream.codec.name in ("mpeg1video", "mpeg2video") else stream.bit_rate,
            still,
            frame.pts or 0,
            _end(container, stream),
            conversion,
        )


def _end(container: InputContainer, stream: VideoStream) -> int | None:
    """When the stream ends by the tables of an mp4 or mov; elsewhere it would be a guess."""
    if "mp4" not in container.format.name or stream.duration is None:
        return None
    return (stream.start_time or 0) + stream.duration


def read_planes(path: str | Path, source: Format, first: tuple[int, int] | None = None) -> Iterator[PlaneFrame]:
    """Decodes a video in presentation order, one frame at a time; a damaged tail ends it.

    Args:
        path: The video.
        source: Its format.
        first: Number and pts of the frame to begin with, which is sought: exactly, or by decoding from the start.
    """
    number, pts = first or (0, source.start)
    if number and is_at(path, number, pts):
        with open_media(path) as container:
            stream = video_stream(container, path)
            frames = _sought(container, stream, source, number, pts)
            if (frame := next(frames, None)) is not None:
                yield frame
                yield from frames
                return
    with open_media(path) as container:
        yield from islice(_frames(decode(container, video_stream(container, path)), source), number, None)


def read_frame(path: str | Path, source: Format, number: int, pts: int) -> PlaneFrame:
    """Decodes the frame of this number and pts."""
    with closing(read_planes(path, source, (number, pts))) as frames:
        frame = next(frames, None)
    if frame is None:
        raise LipsyncError(f"{path}: there is no frame {number} any more; was it replaced?")
    return frame


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
        _view(target, source.depth)[:] = plane
    result.pts, result.time_base, result.duration = frame.pts, source.time_base, frame.duration
    return result


def _sought(
    container: InputContainer, stream: VideoStream, source: Format, number: int, pts: int
) -> Iterator[PlaneFrame]:
    """Frames from that of `pts` on, decoded from a key frame before it; none where that misses it."""
    try:
        container.seek(pts, stream=stream)
    except av.error.FFmpegError:  # a stream that cannot be sought
        return
    decoded, begun = decode(container, stream), False
    for frame in decoded:
        begun = begun or frame.key_frame  # what comes before may lack the frames that it was predicted from
        if frame.pts is None or frame.pts > pts or (frame.pts == pts and not begun):
            return
        if frame.pts == pts:
            yield from _frames(chain([frame], decoded), source, number)
            return


def _frames(decoded: Iterable[VideoFrame], source: Format, first: int = 0) -> Iterator[PlaneFrame]:
    """Frames, numbered from `first` on, whose pts advance; those without one follow at the stream's rate."""
    reformatter = VideoReformatter()
    step, last = max(1, round(1 / (source.rate * source.time_base))), None
    for number, frame in enumerate(decoded, first):
        if frame.pts is None or (last is not None and frame.pts <= last):  # as in old AVI files
            last = source.start if last is None else last + step
        else:
            last = frame.pts
        time = (last - source.start) * source.time_base
        yield PlaneFrame(number, time, last, frame.duration or step, _planes(frame, source, reformatter))


def _nearest(frame: VideoFrame) -> str:
    """The kept pixel format that holds a frame at the least cost; RGB and grey become what every player plays."""
    turned = bool(frame.rotation % 180)
    width, height = (frame.height, frame.width) if turned else (frame.width, frame.height)
    across, down = frame.format.chroma_width(8) < 8, frame.format.chroma_height(8) < 8
    if _is_rgb(frame) or len(frame.format.components) < 3:
        across = down = True
    if across != down and turned:  # 4:2:2 on its side
        across = down = False
    # H.264 has no halves of odd sizes.
    across, down = across and width % 2 == 0, down and height % 2 == 0
    planes = "yuv420p" if across and down else "yuv422p" if across else "yuv444p"
    return planes + "10le" * (Colour.of(frame).depth == 10)


def _is_rgb(frame: VideoFrame) -> bool:
    return frame.format.is_rgb or frame.format.has_palette


def _planes(frame: VideoFrame, source: Format, reformatter: VideoReformatter) -> tuple[np.ndarray, ...]:
    """Copies the planes, upright; converts only what is of another format or size than the whole."""
    # The display matrix is only metadata to the decoder; `rotation` counts degrees counter-clockwise.
    turns = round(frame.rotation / 90)
    width, height = (source.height, source.width) if turns % 2 else (source.width, source.height)
    if (frame.format.name.replace("yuvj", "yuv"), frame.width, frame.height) != (source.planes, width, height):
        matrix = source.colour.matrix
        into = ColorRange.JPEG if source.colour.full else ColorRange.MPEG
        out_of = ColorRange.JPEG if _is_rgb(frame) else into
        frame = reformatter.reformat(
            frame, width, height, source.planes, matrix, matrix, SCALING, src_color_range=out_of, dst_color_range=into
        )
    return tuple(np.rot90(_view(plane, source.depth), turns).copy() for plane in frame.planes)


def _view(plane: av.video.plane.VideoPlane, depth: int) -> np.ndarray:
    """(H, W) onto a plane's memory, without the padding of its lines."""
    levels = np.frombuffer(plane, "<u2" if depth == 10 else np.uint8)
    return levels.reshape(-1, plane.line_size // levels.itemsize)[: plane.height, : plane.width]
