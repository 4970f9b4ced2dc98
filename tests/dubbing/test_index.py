"""Packets' time stamps against the decoder's."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from lipsync.dubbing.index import frame_times, is_at


def test_times_are_in_order_whatever_the_packets_are(make_video: Callable) -> None:
    pts = [507, 1531, 2043, 2555, 3579, 4091, 4603, 5115]
    path = make_video(pts=pts, time_base=Fraction(1, 15360), options={"preset": "fast", "bf": "3"})
    assert frame_times(path).tolist() == pts
    assert is_at(path, 2, 2043)
    assert not is_at(path, 3, 2043)
    assert not is_at(path, 8, 5627)


def test_streams_without_time_stamps_have_no_index(make_video: Callable) -> None:
    path = make_video("video.h264", pts=range(12), time_base=Fraction(1, 25))
    assert frame_times(path) is None
    assert not is_at(path, 0, 0)


def test_a_file_that_changed_is_read_again(make_video: Callable) -> None:
    assert len(frame_times(make_video())) == 10
    assert len(frame_times(make_video(pts=range(0, 6 * 512, 512)))) == 6


def test_a_file_that_is_cut_off(make_video: Callable) -> None:
    path = Path(make_video("video.mkv", pts=range(0, 400, 40), time_base=Fraction(1, 1000)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    times = frame_times(path)
    assert 0 < len(times) < 10
    assert times.tolist() == list(range(0, 40 * len(times), 40))
