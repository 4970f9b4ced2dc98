"""Media containers, opened and decoded the way the ffmpeg command would."""

from collections.abc import Iterator
from pathlib import Path

import av
from av import VideoFrame
from av.container import InputContainer
from av.frame import Frame
from av.stream import Stream
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from lipsync.errors import LipsyncError

# AVColorSpace values of streams that do not name their matrix: RGB (0, then the format decides), unspecified, reserved.
UNNAMED_MATRIX = (0, 2, 3)
# AVColorSpace value -> weights of red, green and blue in luma (ITU-T H.273, table 4).
LUMA = {
    1: (0.2126, 0.7152, 0.0722),  # BT.709
    4: (0.30, 0.59, 0.11),  # FCC
    5: (0.299, 0.587, 0.114),  # BT.601
    7: (0.212, 0.701, 0.087),  # SMPTE 240M
    9: (0.2627, 0.6780, 0.0593),  # BT.2020
}


def open_media(path: str | Path) -> InputContainer:
    """Open a local media file for reading.

    Raises:
        LipsyncError: there is no such file, or it is not media.
    """
    if not Path(path).is_file():
        raise LipsyncError(f"{path}: no such file")
    try:
        # `file:` keeps a colon in a name from being read as a protocol; the whitelist keeps playlists off the network.
        return av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise LipsyncError(f"{path}: not a media file, or damaged beyond reading ({error})") from error


def video_stream(container: InputContainer, path: str | Path) -> VideoStream:
    """Choose the moving picture of a container; raises LipsyncError when there is none."""
    # The cover of a song is a video stream of one picture.
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        raise LipsyncError(f"{path}: no video stream")
    streams[0].thread_type = "AUTO"
    return streams[0]


def named_matrix(frame: VideoFrame) -> int:
    """Return the AVColorSpace value of a frame's matrix, where it names none that of its broadcast standard.

    Untagged video is BT.601 up to 576 lines (the shorter side) and BT.709 above; players guess alike.
    """
    if frame.colorspace in UNNAMED_MATRIX:
        return int(Colorspace.ITU601 if min(frame.width, frame.height) <= 576 else Colorspace.ITU709)
    return int(frame.colorspace)


def decode(container: InputContainer, stream: Stream) -> Iterator[Frame]:
    """Decode one stream; damaged packets are skipped, and a file cut off in the middle ends where its bytes end."""
    if stream.codec_context is None:  # of a codec that is unknown here
        return
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            packet = None
        try:
            # Decoding `None` drains the frames that the decoder still holds.
            frames = stream.codec_context.decode(None) if packet is None else packet.decode()
        except (av.error.FFmpegError, EOFError):
            frames = []
        yield from frames
        if packet is None:
            return
