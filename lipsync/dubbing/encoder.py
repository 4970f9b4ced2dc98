"""Encoder settings that follow the source: its codec where the container holds it, its planes, tags, rate and size."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from lipsync.dubbing.read import Format
from lipsync.errors import LipsyncError, check_choice

CONTAINERS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov", ".webm": "webm"}
ENCODERS = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1"}
IN_WEBM = ("vp9", "av1")
GOP = 250
# The same number on every machine, for bytes depend on it; with more, what x264 and SVT-AV1 write under a cap of the
# bit rate depends on which thread is faster.
THREADS = {"libx264": 1, "libx265": 4, "libvpx-vp9": 4, "libsvtav1": 1}
# The slowest that leave a 1280 x 720 frame 10 ms of two cores, on which other stages work, too; HEVC needs more, and
# lossless up to five times. H.264's next slower takes twice the time for 21 % fewer bytes at .5 dB less.
PRESETS = {
    # Its macroblock tree reads memory it never wrote on small pictures: equal frames gave unequal bytes.
    "libx264": {"preset": "superfast", "x264-params": "mbtree=0"},
    "libx265": {"preset": "superfast", "x265-params": "log-level=none:pools=4:frame-threads=2:const-vbv=1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "7", "row-mt": "1"},
    "libsvtav1": {"preset": "9", "svtav1-params": "lp=1"},
}
# Constant qualities of about the same luma PSNR, 46 to 52 dB on real clips, the more the calmer.
SOURCE = {"libx264": {"crf": "18"}, "libx265": {"crf": "16"}, "libvpx-vp9": {"crf": "14"}, "libsvtav1": {"crf": "12"}}
NEAR_LOSSLESS = {
    "libx264": {"qp": "8"},
    "libx265": {"x265-params": "qp=8"},
    "libvpx-vp9": {"crf": "2"},
    "libsvtav1": {"crf": "1", "preset": "8"},
}
LOSSLESS = {
    "libx264": {"qp": "0"},
    "libx265": {"x265-params": "lossless=1"},
    "libvpx-vp9": {"lossless": "1"},
    "libsvtav1": {"svtav1-params": "lossless=1"},
}
QUALITIES = {"source": SOURCE, "near_lossless": NEAR_LOSSLESS, "lossless": LOSSLESS}


class Encoder(NamedTuple):
    """FFmpeg's name of an encoder and its options."""

    name: str
    options: dict[str, str]


def choose_encoder(source: Format, quality: str, suffix: str) -> Encoder:
    """Chooses the encoder: of the source's codec where it is H.264, HEVC, VP9 or AV1, of H.264 (.webm: VP9) elsewhere.

    `source` has constant quality and at most twice the source's bit rate, where that is known; `near_lossless` has a
    luma PSNR of at least 50 dB; `lossless` gives the planes back bit for bit.

    Args:
        quality: source, near_lossless or lossless.
        suffix: Of the output's name, which says its container.

    Raises:
        LipsyncError: No such quality, or the container holds no codec that has the source's planes.
    """
    check_choice("quality", quality, QUALITIES)
    held, usual = (IN_WEBM, "vp9") if suffix == ".webm" else (tuple(ENCODERS), "h264")
    own = av.Codec(source.codec, "r").canonical_name
    wanted = own if own in held else usual
    # H.264 and HEVC know the shape of a pixel themselves; of the others Matroska would have to be told, and is not.
    blind = IN_WEBM if source.aspect != 1 and suffix in (".mkv", ".webm") else ()
    able = [codec for codec in (wanted, *held) if codec not in blind and _has(ENCODERS[codec], source.planes)]
    what = f"pixels of {source.aspect}" if wanted in blind else source.planes
    if not able:
        raise LipsyncError(f"{suffix} cannot hold {what}, as the video has: choose .mp4")
    if able[0] != wanted:
        print(f"encoded as {able[0]}, for {wanted} cannot be written into {suffix} with {what}")
    name = ENCODERS[able[0]]
    options = dict(PRESETS[name])
    for key, value in QUALITIES[quality][name].items():
        options[key] = f"{options[key]}:{value}" if key.endswith("-params") and key in options else value
    if quality == "source" and source.bit_rate:
        options |= _cap(name, 2 * source.bit_rate)
    return Encoder(name, options)


def add_picture(container: OutputContainer, encoder: Encoder, source: Format) -> VideoStream:
    """Adds the stream that encodes frames of the source's format."""
    os.environ.setdefault("SVT_LOG", "1")  # errors only: SVT-AV1 would introduce itself
    stream = container.add_stream(encoder.name, rate=source.rate, options=encoder.options)
    stream.width, stream.height, stream.pix_fmt = source.width, source.height, source.planes
    stream.time_base = source.time_base
    context = stream.codec_context
    context.time_base, context.framerate, context.sample_aspect_ratio = source.time_base, source.rate, source.aspect
    context.thread_count, context.gop_size = THREADS[encoder.name], GOP
    for name, value in source.tags.items():
        setattr(context, name, value)
    with unhurried():
        context.open()
    return stream


@contextmanager
def unhurried() -> Iterator[None]:
    """Takes back that SVT-AV1, run by root, makes its threads and the caller's real-time ones, for ever.

    Nothing else would get a processor while such a thread waits busily for another, and all children inherit it.
    """
    if not hasattr(os, "sched_getscheduler"):  # Linux only
        yield
        return
    usual, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in map(int, os.listdir("/proc/self/task")):
            with suppress(ProcessLookupError):  # it has ended meanwhile
                if os.sched_getscheduler(thread) == os.SCHED_FIFO != usual:
                    os.sched_setscheduler(thread, usual, parameters)


def _has(encoder: str, planes: str) -> bool:
    return planes in [format.name for format in av.Codec(encoder, "w").video_formats]


def _cap(encoder: str, bit_rate: int) -> dict[str, str]:
    """Options that keep every second below a bit rate; libvpx knows averages only."""
    if encoder == "libvpx-vp9":
        return {"b": str(bit_rate)}
    return {"maxrate": str(bit_rate), "bufsize": str(bit_rate)}
