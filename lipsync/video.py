"""Video: upright RGB frames in with their time stamps, H.264 mp4 out."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch
from av import AudioFrame, VideoFrame
from av.container import InputContainer
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream
from torch import Tensor

from lipsync.container import decode, named_matrix, open_media, video_stream
from lipsync.errors import LipsyncError
from lipsync.files import publish
from lipsync.sound import SAMPLE_RATE

SCALING = 2 | 0x40000 | 0x2000  # swscale: bilinear, accurate rounding, chroma at full resolution
BT709 = 1  # in AVColorPrimaries and in AVColorTransferCharacteristic


class VideoInfo(NamedTuple):
    """Size in pixels (upright), average frames a second, time of the first frame and duration in seconds."""

    width: int
    height: int
    fps: float
    start: float
    duration: float


class TimedFrame(NamedTuple):
    """A frame (H, W, 3) uint8 RGB, upright, and its time in seconds on the container's clock."""

    time: float
    image: np.ndarray


def to_bytes(pictures: Tensor) -> Tensor:
    """Converts pictures in [-1, 1] to uint8, rounding."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def probe(path: str | Path) -> VideoInfo:
    """Describe a video by its header and first frame.

    Raises:
        LipsyncError: no such file, not a video, or nothing in it can be decoded.
    """
    with open_media(path) as container:
        stream = video_stream(container, path)
        first = next(_timed(container, stream), None)
        if first is None:
            raise LipsyncError(f"{path}: no frame can be decoded")
        time, frame = first
        width, height = (frame.height, frame.width) if frame.rotation % 180 else (frame.width, frame.height)
        if stream.duration is not None:
            duration = float(stream.duration * stream.time_base)
        else:
            duration = (container.duration or 0) / av.time_base
        return VideoInfo(width, height, _rate(stream), time, duration)


def read_frames(path: str | Path) -> Iterator[TimedFrame]:
    """Decode a video one frame at a time in presentation order; a damaged tail ends it.

    All frames have the size of the first, as after the ffmpeg command.

    Raises:
        LipsyncError: no such file, not a video, or nothing in it can be decoded.
    """
    with open_media(path) as container:
        stream = video_stream(container, path)
        reformatter, size = VideoReformatter(), None
        for time, frame in _timed(container, stream):
            size = size or (frame.width, frame.height)
            yield TimedFrame(time, _to_rgb(frame, reformatter, *size))
        if size is None:
            raise LipsyncError(f"{path}: no frame can be decoded")


def on_grid(frames: Iterable[TimedFrame], start: float, fps: float = 25) -> Iterator[np.ndarray]:
    """Resample frames to a constant rate: at start + k / fps the frame nearest in time, the earlier of two.

    Gaps repeat frames. The last frame is shown for as long as the one before it; the grid ends there.

    Args:
        frames: in the order of their times.
        start: time of grid point 0 in seconds.
    """
    rounding = 1e-6  # of times as floats: ties are ties, and an end on a grid point is not a frame more
    count, previous, interval = 0, None, 1 / fps
    for frame in frames:
        if previous is not None:
            interval = frame.time - previous.time
            while start + count / fps <= (previous.time + frame.time) / 2 + rounding:
                yield previous.image
                count += 1
        previous = frame
    while previous is not None and start + count / fps < previous.time + interval - rounding:
        yield previous.image
        count += 1


def _rate(stream: VideoStream) -> float:
    return float(stream.average_rate or stream.guessed_rate or 25)


def _timed(container: InputContainer, stream: VideoStream) -> Iterator[tuple[float, VideoFrame]]:
    """Frames whose times advance; those without a time follow at the stream's rate, as in old AVI files."""
    step, last = 1 / _rate(stream), None
    for frame in decode(container, stream):
        time = frame.time
        if time is None:
            time = 0.0 if last is None else last + step
        if last is None or time > last:
            yield time, frame
            last = time


def _to_rgb(frame: VideoFrame, reformatter: VideoReformatter, width: int, height: int) -> np.ndarray:
    """Convert with the stream's own matrix and range, then turn upright."""
    colour_range = frame.color_range
    if not colour_range:
        full = frame.format.is_rgb or frame.format.name.startswith("yuvj")
        colour_range = ColorRange.JPEG if full else ColorRange.MPEG
    rgb = reformatter.reformat(
        frame,
        width,
        height,
        "rgb24",
        interpolation=SCALING,
        src_colorspace=named_matrix(frame),
        src_color_range=colour_range,
        dst_color_range=ColorRange.JPEG,
    )
    # The display matrix is only metadata to the decoder; `rotation` counts degrees counter-clockwise.
    return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), round(frame.rotation / 90)))


class VideoWriter:
    """An H.264 mp4 that appears under its name whole or not at all; a context manager.

    Key frames every `gop` frames and no B-frames keep random access cheap and exact. 4:2:0 needs even sizes: an odd
    width or height grows by one repeated column or row.

    Args:
        fps: frames a second.
        crf: x264's constant quality, 0 (lossless) to 51.
        sound: (samples,) int16 at 16 kHz, written as AAC and trimmed to the video's length.
        threads: of the encoder, 0 for all cores; with 1 the same frames give the same bytes on every machine.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        fps: float,
        crf: int = 18,
        gop: int = 25,
        sound: np.ndarray | None = None,
        threads: int = 0,
    ) -> None:
        self.path, self.partial = Path(path), Path(f"{path}.part")
        if not self.path.parent.is_dir():
            raise LipsyncError(f"{path}: no such folder to write into")
        self.width, self.height, self.sound, self.frames = width, height, sound, 0
        self.rate = Fraction(fps).limit_denominator(1001)
        self.container = av.open(f"file:{self.partial}", "w", format="mp4")
        # Scene cuts would add key frames off the grid.
        options = {"crf": str(crf), "g": str(gop), "keyint_min": str(gop), "sc_threshold": "0", "bf": "0"}
        # Its macroblock tree reads memory it never wrote on small pictures: equal frames gave unequal bytes.
        options["x264-params"] = "mbtree=0"
        self.video = self.container.add_stream("libx264", rate=self.rate, options=options)
        self.video.width, self.video.height = width + width % 2, height + height % 2
        self.video.pix_fmt = "yuv420p"
        self.video.codec_context.thread_count = threads
        context = self.video.codec_context
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = BT709, BT709
        self.audio = None if sound is None else self.container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        self.reformatter = VideoReformatter()

    def __enter__(self) -> "VideoWriter":
        return self

    def write(self, images: np.ndarray) -> None:
        """Append (N, H, W, 3) uint8 RGB frames."""
        if images.shape[1:] != (self.height, self.width, 3) or images.dtype != np.uint8:
            raise ValueError(f"frames {images.dtype} {images.shape[1:]} are not uint8 ({self.height}, {self.width}, 3)")
        images = np.pad(images, ((0, 0), (0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        for image in images:
            frame = self.reformatter.reformat(
                VideoFrame.from_ndarray(image, format="rgb24"),
                format="yuv420p",
                interpolation=SCALING,
                src_color_range=ColorRange.JPEG,
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
            )
            frame.pts, frame.time_base = self.frames, 1 / self.rate
            self.frames += 1
            self.container.mux(self.video.encode(frame))

    def _write_sound(self) -> None:
        samples = self.sound[: round(self.frames / self.rate * SAMPLE_RATE)]
        for first in range(0, len(samples), SAMPLE_RATE):
            chunk = np.ascontiguousarray(samples[first : first + SAMPLE_RATE])
            frame = AudioFrame.from_ndarray(chunk[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, first
            self.container.mux(self.audio.encode(frame))
        self.container.mux(self.audio.encode(None))

    def close(self) -> None:
        """Finish the file and give it its name; raises LipsyncError if no frame was written."""
        try:
            if not self.frames:
                raise LipsyncError(f"{self.path}: no frames to write")
            self.container.mux(self.video.encode(None))
            if self.audio is not None:
                self._write_sound()
            self.container.close()
            publish(self.partial, self.path)
        finally:
            self.discard()

    def discard(self) -> None:
        """Delete what is unfinished."""
        try:
            self.container.close()
        finally:  # also of a full disk
            self.partial.unlink(missing_ok=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def write_clip(path: str | Path, images: np.ndarray, fps: float, samples: np.ndarray | None) -> None:
    """Write a small mp4 of (N, H, W, 3) uint8 frames with (samples,) int16 sound at 16 kHz, trimmed to its length."""
    with VideoWriter(path, images.shape[2], images.shape[1], fps, sound=samples) as writer:
        writer.write(images)
