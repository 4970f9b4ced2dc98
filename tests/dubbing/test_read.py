"""Planes, time stamps and tags as the decoder gives them."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lipsync.dubbing.colour import Colour
from lipsync.dubbing.read import read_format, read_frame, read_planes, to_image, to_video_frame
from lipsync.errors import LipsyncError
from lipsync.video import read_frames


def decoded(path: str) -> list[list[np.ndarray]]:
    with av.open(path) as container:
        return [
            [np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[: p.height, : p.width] for p in frame.planes]
            for frame in container.decode(video=0)
        ]


def test_planes_and_times_are_the_decoders(make_video: Callable) -> None:
    pts = [507, 1531, 2043, 2555, 3579, 4091]
    path = make_video(pts=pts, time_base=Fraction(1, 15360), aspect=Fraction(4, 3), tags={"colorspace": 1})
    source = read_format(path)
    frames = list(read_planes(path, source))
    assert (source.width, source.height, source.planes, source.aspect) == (96, 80, "yuv420p", Fraction(4, 3))
    assert (source.colour, source.tags["colorspace"]) == (Colour(1, False), 1)
    assert source.frames == 6
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


def test_odd_sizes_keep_their_chroma_and_size(make_video: Callable, capsys: pytest.CaptureFixture) -> None:
    path = make_video("odd.mkv", size=(95, 79), codec="ffv1")
    source = read_format(path)
    frame = next(read_planes(path, source))
    assert (source.width, source.height, source.planes) == (95, 79, "yuv444p")
    assert [plane.shape for plane in frame.planes] == [(79, 95)] * 3
    assert np.array_equal(frame.planes[0], decoded(path)[0][0])
    assert "yuv420p of 95 x 79 pixels is written as yuv444p" in capsys.readouterr().out


@pytest.mark.parametrize("pixels", ["yuv422p10le", "yuv444p", "bgr0"])
def test_other_formats_become_8_bit_420(make_video: Callable, pixels: str, capsys: pytest.CaptureFixture) -> None:
    path = make_video("other.mkv", pixels=pixels, codec="ffv1")
    source = read_format(path)
    frame = next(read_planes(path, source))
    assert [plane.shape for plane in frame.planes] == [(80, 96), (40, 48), (40, 48)]
    assert "is written as yuv420p" in capsys.readouterr().out
    expected = next(read_frames(path)).image.astype(int)
    assert np.abs(to_image(frame, source) - expected).mean() < 3


def test_full_range_is_noticed(make_video: Callable) -> None:
    source = read_format(make_video(pixels="yuvj420p", tags={"color_range": 2}))
    assert source.colour == Colour(5, True)
    assert source.tags["color_range"] == 2


def test_read_frame_finds_each_frame(make_video: Callable) -> None:
    path = make_video(pts=range(100, 100 + 40 * 512, 512))
    source = read_format(path)
    frames = list(read_planes(path, source))
    for number in (0, 11, 12, 13, 39):
        found = read_frame(path, source, number, frames[number].pts)
        assert np.array_equal(found.planes[0], frames[number].planes[0])
    # A pts that seeking does not meet: the number decides.
    assert np.array_equal(read_frame(path, source, 5, frames[6].pts - 1).planes[0], frames[5].planes[0])


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
        found = read_frame(path, source, 7, frames[7].pts)
        assert np.array_equal(found.planes[0], frames[7].planes[0])


def test_to_video_frame_keeps_every_byte(make_video: Callable) -> None:
    path = make_video(size=(70, 50))  # lines padded in memory
    source = read_format(path)
    frame = next(read_planes(path, source))
    back = to_video_frame(frame, source)
    for plane, ours in zip(back.planes, frame.planes, strict=True):
        view = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        assert np.array_equal(view[: plane.height, : plane.width], ours)


def test_not_a_video(tmp_path: Path, make_sound: Callable) -> None:
    with pytest.raises(LipsyncError, match="no such file"):
        read_format(tmp_path / "absent.mp4")
    with pytest.raises(LipsyncError, match="no video stream"):
        read_format(make_sound(0.2))
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(LipsyncError, match="not a media file"):
        read_format(tmp_path / "text.mp4")


def test_program_stream_gives_all_its_frames(shared: Path) -> None:
    path = shared / "clips" / "grid_bbaf2n.mpg"
    source = read_format(path)
    frames = list(read_planes(path, source))
    assert [frame.time for frame in frames] == [Fraction(k, 25) for k in range(75)]
    assert np.array_equal(read_frame(path, source, 40, frames[40].pts).planes[0], frames[40].planes[0])
