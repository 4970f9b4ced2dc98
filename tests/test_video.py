from itertools import pairwise

import av
import decord
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from lipsync.errors import LipsyncError
from lipsync.sound import decode_to_wav, map_wav
from lipsync.video import TimedFrame, VideoWriter, on_grid, probe, read_frames, write_clip

BITS = 7


def numbered(count: int, height: int = 64, width: int = 112) -> np.ndarray:
    """(count, height, width, 3) frames whose columns of blocks spell the frame's number in binary."""
    bits = (np.arange(count)[:, None] >> np.arange(BITS)) & 1
    columns = np.repeat(bits * 180 + 40, width // BITS, axis=1).astype(np.uint8)
    columns = np.pad(columns, ((0, 0), (0, width - columns.shape[1])), mode="edge")
    return np.ascontiguousarray(np.broadcast_to(columns[:, None, :, None], (count, height, width, 3)))


def number(image: np.ndarray) -> int:
    centres = image.shape[1] // BITS * np.arange(BITS) + image.shape[1] // BITS // 2
    return int(((image[image.shape[0] // 2, centres, 0] > 128) << np.arange(BITS)).sum())


def times(rate: float, count: int, start: float = 0.0) -> list[TimedFrame]:
    return [TimedFrame(start + k / rate, np.array(k)) for k in range(count)]


def test_written_mp4_reads_back_in_any_order(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 112, 64, 25) as writer:
        writer.write(numbered(40))
        writer.write(numbered(60)[40:])
    frames = list(read_frames(tmp_path / "a.mp4"))
    assert [number(frame.image) for frame in frames] == list(range(60))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(60) / 25, atol=1e-9)
    reader = decord.VideoReader(str(tmp_path / "a.mp4"), num_threads=1)
    order = [59, 0, 26, 25, 24, 3, 51, 50, 1]
    assert [number(reader[k].asnumpy()) for k in order] == order
    assert [number(image) for image in reader.get_batch(order).asnumpy()] == order
    assert probe(tmp_path / "a.mp4") == (112, 64, 25.0, 0.0, 2.4)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_key_frames_lie_on_the_grid_and_nothing_is_reordered(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (60, 64, 64, 3), np.uint8)  # every frame a scene cut
    with VideoWriter(tmp_path / "a.mp4", 64, 64, 25, crf=40) as writer:
        writer.write(images)
    with av.open(str(tmp_path / "a.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert [k for k, packet in enumerate(packets) if packet.is_keyframe] == [0, 25, 50]
        assert all(packet.pts == packet.dts for packet in packets)
        context = container.streams.video[0].codec_context
        tags = context.colorspace, context.color_range, context.color_primaries, context.color_trc
        assert (context.name, context.pix_fmt, *tags) == ("h264", "yuv420p", 1, 1, 1, 1)


def test_colours_survive_and_are_those_of_the_tags(tmp_path):
    colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [200, 150, 120], [16, 16, 16]]
    images = np.repeat(np.repeat(np.array(colours, np.uint8)[None, None], 64, 1), 32, 2)
    with VideoWriter(tmp_path / "a.mp4", 192, 64, 25, crf=10) as writer:
        writer.write(images)
    centres = np.arange(6) * 32 + 16
    (frame,) = read_frames(tmp_path / "a.mp4")
    np.testing.assert_allclose(frame.image[32, centres].astype(int), colours, atol=3)
    # BT.709, limited range: y = 16 + 219 (0.2126 r + 0.7152 g + 0.0722 b) / 255.
    with av.open(str(tmp_path / "a.mp4")) as container:
        luma = next(container.decode(video=0)).to_ndarray()[32, centres]
    np.testing.assert_allclose(luma, 16 + 219 / 255 * np.array(colours) @ [0.2126, 0.7152, 0.0722], atol=2)


def test_untagged_video_is_bt601_when_small_and_bt709_when_large(tmp_path):
    for name, height in (("small", 64), ("large", 578)):
        image = np.full((height, 640, 3), (200, 60, 40), np.uint8)
        with av.open(str(tmp_path / f"{name}.mkv"), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = 640, height, "yuv420p"
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            matrix = Colorspace.ITU601 if name == "small" else Colorspace.ITU709
            ranges = {"src_color_range": ColorRange.JPEG, "dst_color_range": ColorRange.MPEG}
            frame = frame.reformat(format="yuv420p", dst_colorspace=matrix, **ranges)
            frame.colorspace = 2
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        (read,) = read_frames(tmp_path / f"{name}.mkv")
        np.testing.assert_allclose(read.image[30, 30].astype(int), (200, 60, 40), atol=3)


def test_odd_sizes_grow_by_a_repeated_edge(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 115, 65, 25) as writer:
        writer.write(numbered(3, 65, 115))
    frames = list(read_frames(tmp_path / "a.mp4"))
    assert frames[0].image.shape == (66, 116, 3)
    assert [number(frame.image) for frame in frames] == [0, 1, 2]


def test_an_error_leaves_no_file_and_wrong_frames_are_refused(tmp_path):
    (tmp_path / "a.mp4").write_text("old")

    def interrupted() -> None:
        with VideoWriter(tmp_path / "a.mp4", 112, 64, 25) as writer:
            writer.write(numbered(5))
            writer.write(numbered(5, 64, 128))

    with pytest.raises(ValueError, match="not uint8"):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_text() == "old"


def test_nothing_to_write_and_nowhere_to_write_are_errors(tmp_path):
    with pytest.raises(LipsyncError, match="no frames"):
        VideoWriter(tmp_path / "a.mp4", 112, 64, 25).close()
    with pytest.raises(LipsyncError, match="no such folder"):
        VideoWriter(tmp_path / "b" / "a.mp4", 112, 64, 25)
    assert not list(tmp_path.iterdir())


def test_clip_has_sound_as_long_as_its_video(tmp_path):
    samples = (8000 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)).astype(np.int16)
    write_clip(tmp_path / "a.mp4", numbered(30), 25, samples)
    assert decode_to_wav(tmp_path / "a.mp4", tmp_path / "a.wav") == 0.0
    heard = map_wav(tmp_path / "a.wav")
    assert 0 <= len(heard) - 19_200 <= 1024  # AAC rounds up to 1024 samples
    # No delay: the sine stays in phase.
    correlation = np.corrcoef(heard[1000:18_000], samples[1000:18_000])[0, 1]
    assert correlation > 0.999
    write_clip(tmp_path / "b.mp4", numbered(30), 29.97, None)
    with pytest.raises(LipsyncError, match="no sound"):
        decode_to_wav(tmp_path / "b.mp4", tmp_path / "b.wav")
    assert probe(tmp_path / "b.mp4").fps == pytest.approx(29.97)


def test_grid_takes_the_nearest_frame_and_the_earlier_of_two():
    # 30 fps onto 25: k * 30 / 25 rounded, halves down.
    picked = [int(image) for image in on_grid(times(30, 60), 0.0)]
    assert picked == [int(np.ceil(k * 1.2 - 0.5 - 1e-9)) for k in range(50)]
    # 50 fps onto 25 and back; 10 fps shows every frame for a tenth of a second.
    assert [int(image) for image in on_grid(times(50, 20), 0.0)] == list(range(0, 20, 2))
    assert [int(image) for image in on_grid(times(25, 5), 0.0, 50)] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert len(list(on_grid(times(10, 10), 0.0))) == 25
    # The identity, at a start that floats do not like.
    assert [int(image) for image in on_grid(times(25, 1000, 0.1), 0.1)] == list(range(1000))


def test_grid_repeats_through_gaps_and_starts_where_it_is_told():
    frames = [TimedFrame(time, np.array(k)) for k, time in enumerate([0.0, 0.04, 0.2, 0.24])]
    assert [int(image) for image in on_grid(frames, 0.0)] == [0, 1, 1, 1, 2, 2, 3]
    assert [int(image) for image in on_grid(frames, 0.12)] == [1, 2, 2, 3]
    assert [int(image) for image in on_grid(times(25, 3, 8.0), 8.0)] == [0, 1, 2]
    assert [int(image) for image in on_grid(times(25, 1), 0.0)] == [0]
    assert list(on_grid([], 0.0)) == []


def test_variable_frame_rate_is_read_by_time_stamps(shared):
    frames = list(read_frames(shared / "clips" / "vr_1.mp4"))
    stamps = np.array([frame.time for frame in frames])
    assert len(frames) == 135
    assert set(np.round(np.diff(stamps) * 30).astype(int)) == {1, 2}
    picked = [int(k) for k in on_grid([TimedFrame(t, np.array(k)) for k, t in enumerate(stamps)], stamps[0])]
    grid = stamps[0] + np.arange(len(picked)) / 25
    np.testing.assert_array_equal(picked, np.abs(grid[:, None] - stamps - 1e-7).argmin(1))


def test_rotation_is_applied(shared):
    path = shared / "clips" / "tc_nasa_13013_rotated.mp4"
    assert probe(path)[:2] == (270, 480)
    frames = list(read_frames(path))
    reader = decord.VideoReader(str(path), num_threads=1)  # applies the rotation itself
    assert len(frames) == len(reader) == 17
    for k in (0, 8, 16):
        assert np.abs(frames[k].image.astype(int) - reader[k].asnumpy()).mean() < 1.5


def test_time_stamps_need_not_start_at_zero(shared):
    frames = list(read_frames(shared / "clips" / "tc_test_non_zero_start.mp4"))
    np.testing.assert_allclose([frame.time for frame in frames], 8.333 + np.arange(12) / 30, atol=5e-4)
    hamilton = probe(shared / "clips" / "fr_hamilton_short.mp4")
    assert hamilton.start == pytest.approx(0.852, abs=1e-3)


def test_hevc_with_odd_key_frames_is_complete(shared):
    frames = list(read_frames(shared / "clips" / "tc_h265_video.mp4"))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(10) / 10, atol=1e-9)
    drawn = [frame.image.astype(int) for frame in frames]
    assert all(np.abs(a - b).max() > 60 for a, b in pairwise(drawn))


def test_program_stream_begins_with_its_first_frame(shared):
    path = shared / "clips" / "grid_bbaf2n.mpg"
    frames = list(read_frames(path))
    assert len(frames) == 75
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(75) / 25, atol=1e-6)
    # decord loses twelve frames here; so its first is our thirteenth.
    first = decord.VideoReader(str(path), num_threads=1)[0].asnumpy()
    differences = [np.abs(frame.image.astype(int) - first).mean() for frame in frames[:25]]
    assert np.argmin(differences) == 12
    assert differences[12] < 1.5


def test_frames_that_an_edit_list_hides_stay_hidden(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "25", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 112, 64, "yuv420p"
        for k, image in enumerate(numbered(25)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = k - 5
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    frames = list(read_frames(tmp_path / "a.mp4"))
    assert [number(frame.image) for frame in frames] == list(range(5, 25))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(20) / 25, atol=1e-9)


def test_a_damaged_tail_ends_the_frames(shared, tmp_path):
    whole = (shared / "clips" / "grid_bbaf2n.mpg").read_bytes()
    (tmp_path / "cut.mpg").write_bytes(whole[: len(whole) // 2])
    frames = list(read_frames(tmp_path / "cut.mpg"))
    assert 30 < len(frames) < 45
    original = read_frames(shared / "clips" / "grid_bbaf2n.mpg")
    for frame, expected in zip(frames[:-2], original, strict=False):
        np.testing.assert_array_equal(frame.image, expected.image)
    with VideoWriter(tmp_path / "cut.mp4", 112, 64, 25) as writer:
        writer.write(numbered(50))
    data = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])  # without its index nothing is left
    with pytest.raises(LipsyncError, match="not a media file"):
        next(read_frames(tmp_path / "cut.mp4"))


def test_what_is_not_a_video_is_an_error_that_says_so(tmp_path):
    (tmp_path / "text.mp4").write_text("not a film")
    (tmp_path / "empty.mp4").touch()
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    for name, message in (
        ("missing", "no such file"),
        ("text", "not a media file"),
        ("empty", "not a media"),
        ("sound", "no video"),
    ):
        for use in (probe, lambda path: next(read_frames(path))):
            with pytest.raises(LipsyncError, match=message):
                use(tmp_path / f"{name}.mp4")
