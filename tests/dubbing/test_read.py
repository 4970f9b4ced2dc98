"""Planes, time stamps and tags as the decoder gives them."""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lipsync.dubbing.colour import Colour
from lipsync.dubbing.read import PlaneFrame, read_format, read_frame, read_planes, to_image, to_video_frame
from lipsync.errors import LipsyncError
from lipsync.video import read_frames


def decoded(path: str | Path, kind: type = np.uint8) -> list[list[np.ndarray]]:
    with av.open(str(path)) as container:
        return [
            [
                np.frombuffer(p, kind).reshape(-1, p.line_size // kind(0).itemsize)[: p.height, : p.width].copy()
                for p in frame.planes
            ]
            for frame in container.decode(video=0)
        ]


def same(a: PlaneFrame, b: PlaneFrame) -> bool:
    return a[:4] == b[:4] and all(np.array_equal(x, y) for x, y in zip(a.planes, b.planes, strict=True))


def test_planes_and_times_are_the_decoders(make_video: Callable) -> None:
    pts = [507, 1531, 2043, 2555, 3579, 4091]
    path = make_video(pts=pts, time_base=Fraction(1, 15360), aspect=Fraction(4, 3), tags={"colorspace": 1})
    source = read_format(path)
    frames = list(read_planes(path, source))
    assert (source.width, source.height, source.planes, source.aspect) == (96, 80, "yuv420p", Fraction(4, 3))
    assert (source.colour, source.tags["colorspace"]) == (Colour(1, False), 1)
    assert source.frames == 6
    assert (source.codec, source.still, source.start, source.subsampling, source.depth) == (
        "h264",
        False,
        507,
        (2, 2),
        8,
    )
    assert source.bit_rate > 0
    assert [(frame.number, frame.pts) for frame in frames] == list(enumerate(pts))
    assert [frame.time for frame in frames] == [Fraction(p - 507, 15360) for p in pts]
    for frame, planes in zip(frames, decoded(path), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(frame.planes, planes, strict=True))


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_is_applied_without_loss(make_video: Callable, rotation: int) -> None:
    path = make_video(rotation=rotation, aspect=Fraction(3, 2))
    source = read_format(path)
    upright = next(read_planes(path, source))
    assert (source.width, source.height) == ((96, 80) if rotation == 180 else (80, 96))
    assert source.aspect == (Fraction(3, 2) if rotation == 180 else Fraction(2, 3))
    for plane, stored in zip(upright.planes, decoded(path)[0], strict=True):
        assert np.array_equal(plane, np.rot90(stored, rotation // 90))
    # The other reader of the package turns the same way.
    assert np.abs(to_image(upright, source).astype(int) - next(read_frames(path)).image).mean() < 5


def test_odd_sizes_keep_their_chroma_and_size(make_video: Callable) -> None:
    path = make_video("odd.mkv", size=(95, 79), codec="ffv1")
    source = read_format(path)
    frame = next(read_planes(path, source))
    assert (source.width, source.height, source.planes) == (95, 79, "yuv444p")
    assert [plane.shape for plane in frame.planes] == [(79, 95)] * 3
    assert np.array_equal(frame.planes[0], decoded(path)[0][0])
    assert source.conversion == "yuv420p of 95 x 79 pixels is written as yuv444p"


@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("ending", ["", "10le"])
def test_planes_of_each_kept_format(make_video: Callable, layout: str, ending: str) -> None:
    path = make_video("other.mkv", pixels=layout + ending, codec="ffv1", size=(70, 50))  # lines padded in memory
    source = read_format(path)
    across, down = {"yuv420p": (2, 2), "yuv422p": (2, 1), "yuv444p": (1, 1)}[layout]
    assert (source.planes, source.subsampling, source.depth) == (layout + ending, (across, down), 10 if ending else 8)
    assert source.conversion == ""
    kind = np.uint16 if ending else np.uint8
    frame, stored = next(read_planes(path, source)), decoded(path, kind)[0]
    assert [plane.shape for plane in frame.planes] == [(50, 70)] + [(50 // down, 70 // across)] * 2
    assert all(a.dtype == kind and np.array_equal(a, b) for a, b in zip(frame.planes, stored, strict=True))
    back = to_video_frame(frame, source)
    assert back.format.name == layout + ending
    assert all(
        np.array_equal(np.frombuffer(a, kind).reshape(a.height, -1)[:, : a.width], b)
        for a, b in zip(back.planes, frame.planes, strict=True)
    )
    expected = next(read_frames(path)).image.astype(int)
    assert np.abs(to_image(frame, source) - expected).mean() < 3


@pytest.mark.parametrize(
    ("pixels", "codec", "kept"),
    [
        ("bgra", "ffv1", "yuv420p, without its transparency"),
        ("gbrp10le", "ffv1", "yuv420p10le"),
        ("gray", "ffv1", "yuv420p"),
        ("yuv420p12le", "ffv1", "yuv420p10le"),
        ("yuva422p", "ffv1", "yuv422p, without its transparency"),
        ("yuv411p", "ffv1", "yuv422p"),
        ("yuv440p", "ffv1", "yuv444p"),
        ("yuv410p", "ffv1", "yuv420p"),
        ("yuyv422", "rawvideo", "yuv422p"),
    ],
)
def test_other_formats_become_the_nearest(make_video: Callable, pixels: str, codec: str, kept: str) -> None:
    path = make_video("other.mkv" if codec == "ffv1" else "other.avi", pixels=pixels, codec=codec)
    source = read_format(path)
    assert source.conversion == f"{pixels} of 96 x 80 pixels is written as {kept}"
    assert source.planes == kept.split(",")[0]
    frame = next(read_planes(path, source))
    assert frame.planes[0].dtype == (np.uint16 if source.depth == 10 else np.uint8)
    assert frame.planes[0].shape == (80, 96)
    assert np.abs(to_image(frame, source) - next(read_frames(path)).image.astype(int)).mean() < 4


@pytest.mark.parametrize(("size", "kept"), [((95, 80), "yuv444p"), ((96, 79), "yuv422p")])
def test_422_of_odd_sizes(make_video: Callable, size: tuple[int, int], kept: str) -> None:
    path = make_video("odd.mkv", size=size, pixels="yuv422p", codec="ffv1")
    assert read_format(path).planes == kept


def test_422_on_its_side_keeps_its_chroma(make_video: Callable) -> None:
    path = make_video("side.mov", pixels="yuv422p", rotation=90)
    source = read_format(path)
    frame = next(read_planes(path, source))
    assert source.planes == "yuv444p"
    assert [plane.shape for plane in frame.planes] == [(96, 80)] * 3
    assert np.array_equal(frame.planes[0], np.rot90(decoded(path)[0][0]))


def test_tags_of_high_dynamic_range(make_video: Callable) -> None:
    tags = {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": 16}
    source = read_format(make_video(pixels="yuv420p10le", tags=tags))
    assert source.tags == tags
    assert source.colour == Colour(9, False, 10)


def test_full_range_is_noticed(make_video: Callable) -> None:
    source = read_format(make_video(pixels="yuvj420p", tags={"color_range": 2}))
    assert source.colour == Colour(5, True)
    assert source.tags["color_range"] == 2


def test_beginning_anywhere_is_exact(make_video: Callable) -> None:
    """Two-second groups with B-frames: from any frame on the numbers, times and pixels are those of the whole."""
    path = make_video(
        pts=range(100, 100 + 40 * 512, 512), options={"preset": "fast", "bf": "3", "x264-params": "open-gop=1"}
    )
    source = read_format(path)
    frames = list(read_planes(path, source))
    with av.open(path) as container:
        packets = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert packets != sorted(packets)  # there are B-frames
    for number in range(40):
        rest = list(read_planes(path, source, (number, frames[number].pts)))
        assert all(same(a, b) for a, b in zip(rest, frames[number:], strict=True))
        assert same(read_frame(path, source, number, frames[number].pts), frames[number])
    # A pts that no packet has: the number decides.
    assert same(read_frame(path, source, 5, frames[6].pts - 1), frames[5])
    with pytest.raises(LipsyncError, match="no frame 40 any more"):
        read_frame(path, source, 40, 99999)


def test_streams_without_usable_time_stamps(make_video: Callable) -> None:
    """H.264 with B-frames in AVI has scrambled ones, a raw stream has none: no frame is lost."""
    for name in ("video.avi", "video.h264"):
        path = make_video(name, pts=range(12), time_base=Fraction(1, 25))
        source = read_format(path)
        frames = list(read_planes(path, source))
        times = [frame.time for frame in frames]
        assert len(frames) == 12
        assert times == sorted(set(times))
        assert abs(times[-1] - Fraction(11, 25)) <= Fraction(2, 25)
        for number in range(12):
            assert same(read_frame(path, source, number, frames[number].pts), frames[number])


def test_repeated_time_stamps_do_not_mislead_a_search(make_video: Callable, tmp_path: Path) -> None:
    """Where two streams were joined the stamps go back: the frames that follow are not those that have theirs."""
    parts = [
        make_video(name, pts=range(first, first + 12), codec="mpeg2video", time_base=Fraction(1, 25), gop=4)
        for name, first in (("a.ts", 0), ("b.ts", 6))
    ]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(Path(part).read_bytes() for part in parts))
    source = read_format(path)
    frames = list(read_planes(path, source))
    assert len(frames) > 20
    for number, frame in enumerate(frames):
        assert same(read_frame(path, source, number, frame.pts), frame)


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels", "kept", "off"),
    [
        ("png", "png", "rgb24", "yuv420p", 4),
        ("jpg", "mjpeg", "yuvj444p", "yuv444p", 4),
        ("bmp", "bmp", "bgr24", "yuv420p", 4),
        ("webp", "libwebp", "yuv420p", "yuv420p", 4),
        ("gif", "gif", "rgb8", "yuv420p", 16),  # its dots of colour are finer than chroma
    ],
)
def test_a_picture_is_one_frame(
    make_video: Callable, suffix: str, codec: str, pixels: str, kept: str, off: float
) -> None:
    path = make_video(f"picture.{suffix}", pts=[0], codec=codec, pixels=pixels, time_base=Fraction(1, 25))
    source = read_format(path)
    assert (source.still, source.frames, source.planes, source.width, source.height) == (True, 1, kept, 96, 80)
    (frame,) = read_planes(path, source)
    assert (frame.number, frame.time) == (0, 0)
    assert np.abs(to_image(frame, source) - next(read_frames(path)).image.astype(int)).mean() < off


def test_several_pictures_are_a_video(make_video: Callable) -> None:
    path = make_video("moving.gif", pts=[0, 10, 20], codec="gif", pixels="rgb8", time_base=Fraction(1, 100))
    source = read_format(path)
    assert not source.still
    assert [frame.time for frame in read_planes(path, source)] == [Fraction(k, 10) for k in range(3)]


def test_photographs_are_turned_upright(make_video: Callable) -> None:
    path = Path(make_video("turned.jpg", pts=[0], codec="mjpeg", pixels="yuvj420p", time_base=Fraction(1, 25)))
    (stored,), start = decoded(path), path.read_bytes()
    # Exif with one entry: orientation 6, to be turned clockwise.
    exif = b"Exif\0\0" + struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    path.write_bytes(start[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + start[2:])
    source = read_format(path)
    assert (source.width, source.height) == (80, 96)
    assert np.array_equal(next(read_planes(path, source)).planes[0], np.rot90(stored[0], -1))


def test_not_a_video(tmp_path: Path, make_sound: Callable) -> None:
    with pytest.raises(LipsyncError, match="no such file"):
        read_format(tmp_path / "absent.mp4")
    with pytest.raises(LipsyncError, match="no video stream"):
        read_format(make_sound(0.2))
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(LipsyncError, match="not a media file"):
        read_format(tmp_path / "text.mp4")


@pytest.mark.parametrize("name", ["grid_bbaf2n.mpg", "tc_test_non_zero_start.mp4", "tc_h265_video.mp4"])
def test_real_streams_begin_anywhere(shared: Path, name: str) -> None:
    path = shared / "clips" / name
    source = read_format(path)
    frames = list(read_planes(path, source))
    if name.startswith("grid"):
        assert [frame.time for frame in frames] == [Fraction(k, 25) for k in range(75)]
        assert source.bit_rate is None
    for number in range(0, len(frames), 5):
        rest = read_planes(path, source, (number, frames[number].pts))
        assert all(same(a, b) for a, b in zip(rest, frames[number:], strict=True))
