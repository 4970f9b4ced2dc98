import wave

import av
import numpy as np
import pytest

from lipsync.errors import LipsyncError
from lipsync.sound import decode_to_wav, map_wav, write_wav


def sine(seconds: float, rate: int, frequency: float = 440.0, amplitude: float = 8000.0) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.int16)


def write_any_wav(path, samples, rate):
    """Samples (N,) or (N, channels)."""
    with wave.open(str(path), "wb") as wav:
        wav.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        wav.setsampwidth(2)
        wav.setframerate(rate)
        wav.writeframes(samples.tobytes())


def test_stereo_at_44100_becomes_mono_at_16000_in_its_place(tmp_path):
    left = sine(1.5, 44_100)
    write_any_wav(tmp_path / "in.wav", np.stack([left, left], 1), 44_100)
    assert decode_to_wav(tmp_path / "in.wav", tmp_path / "out.wav") == 0.0
    samples = map_wav(tmp_path / "out.wav")
    assert abs(len(samples) - 24_000) <= 1
    # Frequency, amplitude and phase at once: the resampler must not delay.
    np.testing.assert_allclose(samples[200:-200], sine(1.5, 16_000)[: len(samples)][200:-200], atol=3)
    assert not list(tmp_path.glob("*.part"))


def test_unequal_channels_are_averaged(tmp_path):
    left = sine(0.5, 16_000)
    write_any_wav(tmp_path / "in.wav", np.stack([left, np.zeros_like(left)], 1), 16_000)
    decode_to_wav(tmp_path / "in.wav", tmp_path / "out.wav")
    np.testing.assert_allclose(map_wav(tmp_path / "out.wav"), left / 2, atol=2)


def test_16000_mono_passes_unchanged(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32767, 20_001).astype(np.int16)
    write_wav(tmp_path / "in.wav", samples)
    decode_to_wav(tmp_path / "in.wav", tmp_path / "out.wav")
    np.testing.assert_array_equal(map_wav(tmp_path / "out.wav"), samples)


def test_lost_packets_become_silence_and_the_start_is_kept(tmp_path):
    with av.open(str(tmp_path / "in.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for first in (4000, 8000, 20_000):  # half seconds at 0.5, 1.0 and 2.5 s: one second is missing
            frame = av.AudioFrame.from_ndarray(np.full((1, 4000), 1000, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 8000, first
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert decode_to_wav(tmp_path / "in.mkv", tmp_path / "out.wav") == pytest.approx(0.5, abs=1e-3)
    samples = map_wav(tmp_path / "out.wav")
    assert abs(len(samples) - 40_000) <= 1
    np.testing.assert_allclose(samples[4000::8000], [1000, 1000, 0, 0, 1000], atol=2)


def test_the_sound_of_a_video_starts_on_the_containers_clock(shared, tmp_path):
    start = decode_to_wav(shared / "clips" / "fr_hamilton_short.mp4", tmp_path / "out.wav")
    assert start == pytest.approx(0.008, abs=1e-4)
    assert len(map_wav(tmp_path / "out.wav")) == pytest.approx(160_125, abs=20)


def test_a_file_cut_off_in_the_middle_gives_what_it_has(shared, tmp_path):
    whole = (shared / "clips" / "grid_bbaf2n.mpg").read_bytes()
    (tmp_path / "cut.mpg").write_bytes(whole[: len(whole) // 2])
    decode_to_wav(shared / "clips" / "grid_bbaf2n.mpg", tmp_path / "whole.wav")
    decode_to_wav(tmp_path / "cut.mpg", tmp_path / "cut.wav")
    cut = map_wav(tmp_path / "cut.wav")
    assert 1.0 < len(cut) / 16_000 < 2.0
    np.testing.assert_array_equal(cut[:-500], map_wav(tmp_path / "whole.wav")[: len(cut) - 500])


def test_what_is_not_sound_is_an_error_that_says_so(shared, tmp_path):
    (tmp_path / "text.mp4").write_text("not a film")
    for source, message in (
        (tmp_path / "missing.mp4", "no such file"),
        (tmp_path / "text.mp4", "not a media file"),
        (shared / "clips" / "lp_d13.mp4", "no sound"),
    ):
        with pytest.raises(LipsyncError, match=message):
            decode_to_wav(source, tmp_path / "out.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["text.mp4"]


def test_playlists_reach_nothing_outside_local_files(tmp_path):
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(LipsyncError):
        decode_to_wav(tmp_path / "list.mp4", tmp_path / "out.wav")


def test_wav_round_trip_is_mapped_read_only(tmp_path):
    samples = np.array([0, 1, -1, 32767, -32768], np.int16)
    write_wav(tmp_path / "a.wav", samples)
    mapped = map_wav(tmp_path / "a.wav")
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    np.testing.assert_array_equal(mapped, samples)
    with pytest.raises(ValueError, match="int16"):
        write_wav(tmp_path / "b.wav", samples.astype(np.float32))
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_map_wav_skips_foreign_chunks_and_bears_a_cut_off_file(tmp_path):
    samples = np.arange(1000, dtype=np.int16)
    write_wav(tmp_path / "a.wav", samples)
    data = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "chunk.wav").write_bytes(data[:12] + b"LIST\x04\x00\x00\x00abcd" + data[12:])
    np.testing.assert_array_equal(map_wav(tmp_path / "chunk.wav"), samples)
    (tmp_path / "cut.wav").write_bytes(data[:-100])
    np.testing.assert_array_equal(map_wav(tmp_path / "cut.wav"), samples[:-50])
    (tmp_path / "empty.wav").write_bytes(data[:44])
    assert map_wav(tmp_path / "empty.wav").shape == (0,)


def test_map_wav_refuses_other_formats(tmp_path):
    write_any_wav(tmp_path / "fast.wav", sine(0.1, 44_100), 44_100)
    write_any_wav(tmp_path / "stereo.wav", np.zeros((10, 2), np.int16), 16_000)
    (tmp_path / "text.wav").write_text("hello")
    for name, message in (("fast", "44100 Hz"), ("stereo", "2 channels"), ("text", "not a wav"), ("none", "no such")):
        with pytest.raises(LipsyncError, match=message):
            map_wav(tmp_path / f"{name}.wav")
