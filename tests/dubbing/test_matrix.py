"""Every real clip dubbed with every real sound and with its own: length, time stamps, sound to the sample, remarks.

What is expected is read from the clips with PyAV, not with our reader. A toy model paints mouths white.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lipsync.dubbing.dub import dub_with
from lipsync.dubbing.report import DubReport
from lipsync.errors import LipsyncError
from lipsync.preparation.faces import FaceFinder

FACELESS = ("tc_nasa_13013_rotated.mp4", "tc_h265_video.mp4", "tc_test_non_zero_start.mp4")
MUTE = ("mt_sun.mp4", "lp_d13.mp4")
STILLS = ("images/st_people_0.png", "images/fr_obama_and_biden.jpg")
CLIPS = (
    *("grid_bbaf2n.mpg", "grid_brbk7n.mpg", "grid_lbax4n.mpg", "grid_lbbc2a.mpg", "grid_id2_swwp2s.mpg"),
    *("grid_pwij3p.mpg", "vr_1.mp4", "vr_3.mp4", "vr_4.mp4", "ls_demo1.mp4", "ls_demo3.mp4", "ed_obama.mp4"),
    *("st_aoc.mp4", "fr_hamilton_short.mp4", "lp_d20.mp4", "lp_s32.mp4", *MUTE, *STILLS),
)
SOUNDS = ("ls_demo1", "ls_demo3", "mt_sun", "st_RD_Radio36_000", "st_chinese_news", "st_deyu")
Dub = Callable[..., tuple[DubReport, Path]]


@pytest.fixture
def dub(shared: Path, tmp_path: Path, white: type, monkeypatch: pytest.MonkeyPatch) -> Dub:
    """Dubs a clip with a sound, each by its name; faces are looked for once a test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    finder = FaceFinder()

    def run(clip: str, sound: str, length: str = "video") -> tuple[DubReport, Path]:
        out = tmp_path / "out.mp4"
        out.unlink(missing_ok=True)
        clips = shared / "clips"
        report = dub_with(white(), finder, str(clips / clip), str(clips / sound), str(out), length=length)
        assert {path.name for path in tmp_path.iterdir()} == {"cache", "out.mp4"}
        return report, out

    return run


def picture(path: Path) -> tuple[np.ndarray, float, Fraction]:
    """Every frame's time since the first and the last one's end, in seconds, and the first one's time."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [(frame.pts, frame.duration) for frame in container.decode(stream)]
        start, (last, duration), base = frames[0][0], frames[-1], stream.time_base
        end = last + duration
        if path.suffix == ".mp4":  # which has its durations in the order of decoding
            end = stream.start_time + stream.duration
    times = np.array([float((pts - start) * base) for pts, _ in frames])
    return times, float((end - start) * base), start * base


def sound(path: Path, rate: int) -> tuple[np.ndarray, float]:
    """(samples,) of all channels' mean at a rate, and the first one's time on the container's clock."""
    resampler = av.AudioResampler("flt", "mono", rate)
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    start, parts = frames[0].time, []
    for frame in [*frames, None]:
        if frame is not None:
            frame.pts = None
        parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    return np.concatenate(parts), start


def delay(out: Path, original: Path) -> tuple[float, float, float]:
    """Samples by which the output's sound is late beside its picture, how alike the two are, and its seconds."""
    with av.open(str(out)) as container:
        rate = container.streams.audio[0].rate
    (ours, begin), (theirs, start) = sound(out, rate), sound(original, rate)
    end = begin + len(ours) / rate
    if not theirs.any():  # lp_s32.mp4 is silent
        return 0, float(not ours.any()), end
    begin -= float(picture(out)[2])
    if original.suffix != ".wav":
        start -= float(picture(original)[2])
    expected = round((start - begin) * rate)  # the place in ours of their first sample
    size = 2 * max(len(ours), len(theirs))
    product = np.fft.rfft(ours, size) * np.fft.rfft(theirs, size).conj()
    peak = int(np.fft.irfft(product, size).argmax())
    found = peak - size * (peak > size // 2)
    first, last = max(found, 0), min(len(ours), found + len(theirs))
    alike = np.corrcoef(ours[first:last], theirs[first - found : last - found])[0, 1]
    return found - expected, alike, end


def seconds(path: Path) -> float:
    with av.open(str(path)) as container:
        return float(container.streams.audio[0].duration * container.streams.audio[0].time_base)


def check(report: DubReport, out: Path, clip: Path, original: Path, faces: bool = True) -> None:
    """A dub of all of the video, or of a picture that is held; without faces nothing is painted."""
    times, end, _ = picture(clip)
    longest = seconds(original)
    if len(times) == 1:
        times, end = np.arange(round(25 * longest)) / 25, longest  # a picture's clock ticks once a frame
    written, written_end, _ = picture(out)
    frame = end / len(times)
    assert len(written) == len(times) == report.frames
    assert np.abs(written - times).max() < 1e-4  # a tick of the output's clock
    assert abs(written_end - end) <= frame / 2
    assert report.seconds == pytest.approx(written_end, abs=1e-4)

    late, alike, heard = delay(out, original)
    assert abs(late) <= 1
    assert alike > 0.95
    assert heard >= min(longest, written_end) - frame / 2

    assert (report.painted > 0) == faces
    assert all(0 <= remark.start < remark.end <= end + frame for remark in report.remarks)
    kept = {
        n
        for r in report.remarks
        for n, t in enumerate(times)
        if r.kind != "huge" and -1e-6 <= t - r.start < r.end - r.start - 1e-6
    }
    assert report.painted >= report.frames - len(kept), report.remarks


def test_one_clip(shared: Path, dub: Dub) -> None:
    clip, wav = "grid_pwij3p.mpg", "audio/st_RD_Radio36_000.wav"
    check(*dub(clip, wav), shared / "clips" / clip, shared / "clips" / wav)


@pytest.mark.parametrize("clip", FACELESS)
def test_a_clip_without_a_face_gets_the_sound_alone(shared: Path, clip: str, dub: Dub) -> None:
    wav = "audio/st_RD_Radio36_000.wav"
    report, out = dub(clip, wav)
    check(report, out, shared / "clips" / clip, shared / "clips" / wav, faces=False)
    assert [(remark.kind, remark.start) for remark in report.remarks] == [("no face", 0)]


@pytest.mark.slow
@pytest.mark.parametrize("clip", CLIPS)
def test_every_clip_with_every_sound(clip: str, shared: Path, dub: Dub) -> None:
    own = [] if clip in MUTE + STILLS else [clip]
    painted = set()
    for name in [f"audio/{name}.wav" for name in SOUNDS] + own:
        report, out = dub(clip, name, "hold" if clip in STILLS else "video")
        check(report, out, shared / "clips" / clip, shared / "clips" / name)
        painted.add(report.painted == report.frames if clip in STILLS else report.painted)
    assert len(painted) == 1


@pytest.mark.slow
@pytest.mark.parametrize("length", ["audio", "loop", "bounce", "hold"])
@pytest.mark.parametrize(
    ("clip", "name"),
    [
        ("grid_bbaf2n.mpg", "st_deyu"),
        ("vr_1.mp4", "ls_demo1"),
        ("lp_d20.mp4", "st_chinese_news"),
        (STILLS[0], "mt_sun"),
    ],
)
def test_as_long_as_the_sound(clip: str, name: str, length: str, shared: Path, dub: Dub) -> None:
    """Longer and shorter than the video; a video that is too short is looped, turned or held, or refused."""
    original = shared / "clips" / "audio" / f"{name}.wav"
    end, (times, whole, _) = seconds(original), picture(shared / "clips" / clip)
    if length == "audio" and end > whole:
        with pytest.raises(LipsyncError, match="choose loop, bounce or hold"):
            dub(clip, f"audio/{name}.wav", length)
        return
    _, out = dub(clip, f"audio/{name}.wav", length)
    written, written_end, _ = picture(out)
    assert abs(written_end - end) <= whole / len(times) / 2
    common = min(len(written), len(times))
    assert np.abs(written[:common] - times[:common]).max() < 1e-4
    late, alike, heard = delay(out, original)
    assert abs(late) <= 1
    assert alike > 0.95
    assert heard >= end - 0.001
