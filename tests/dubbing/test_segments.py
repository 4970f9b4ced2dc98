"""A dub that is killed, or fails, leaves no half-written file, and goes on from where it was."""

import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from written import dubbed, times_of

from lipsync.dubbing import segments
from lipsync.errors import LipsyncError


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_killed_run_goes_on_to_the_same_bytes(
    make_video: Callable, make_sound: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(segments, "SEGMENT", 4)
    video, sound = make_video(), make_sound(1.0)
    whole, out = tmp_path / f"whole.{suffix}", tmp_path / f"out.{suffix}"
    _, begun = dubbed(whole, video, sound, resume=True)  # nothing to go on from: simply begins
    assert begun == [0]
    with pytest.raises(KeyboardInterrupt):
        dubbed(out, video, sound, stop=9, error=KeyboardInterrupt())
    assert not out.exists()
    assert sorted(p.name for p in (tmp_path / f"out.{suffix}.part").iterdir()) == [
        "000000000.mp4",
        "000000004.mp4",
        "recipe.json",
    ]
    _, begun = dubbed(out, video, sound, resume=True)
    assert begun == [8]
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_a_run_killed_after_its_last_frame_makes_none_again(
    make_video: Callable, make_sound: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, sound, out = make_video(), make_sound(1.0), tmp_path / "out.mp4"
    with monkeypatch.context() as patch:
        patch.setattr("lipsync.dubbing.write.publish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            dubbed(out, video, sound)
    _, begun = dubbed(out, video, sound, resume=True)
    assert begun == []
    assert len(times_of(out)) == 10


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_resume_wants_the_same_recipe(
    make_video: Callable,
    make_sound: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(segments, "SEGMENT", 4)
    video, sound, out = make_video(), make_sound(1.0), tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        dubbed(out, video, sound, stop=5, error=KeyboardInterrupt(), recipe={"face": "largest", "seed": 0})
    with pytest.raises(LipsyncError, match="--resume: face was largest and is 1: run as before"):
        dubbed(out, video, sound, resume=True, recipe={"face": 1, "seed": 0})
    with pytest.raises(LipsyncError, match=r"--resume: sound 1 was .*sound.wav.* and is .*other.wav"):
        dubbed(out, video, make_sound(1.0, "other.wav"), resume=True, recipe={"face": "largest", "seed": 0})
    assert (tmp_path / "out.mp4.part" / "000000000.mp4").exists()
    # Without --resume it starts again, and says what that costs.
    _, begun = dubbed(out, video, sound, recipe={"face": 1, "seed": 0})
    assert begun == [0]
    assert "what an interrupted run left is removed" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.part"))


def test_nothing_is_left_after_an_error(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    video, sound, out = make_video(), make_sound(1.0), tmp_path / "out.mp4"
    out.write_bytes(b"precious")
    with pytest.raises(RuntimeError, match="out of memory"):
        dubbed(out, video, sound, stop=5, error=RuntimeError("out of memory"))
    assert out.read_bytes() == b"precious"
    assert not list(tmp_path.glob("*.part"))


def test_a_video_that_ends_early_is_an_error(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    with pytest.raises(LipsyncError, match="ended after 5 of 10 frames"):
        dubbed(tmp_path / "out.mp4", make_video(), make_sound(1.0), stop=5)
    assert not list(tmp_path.glob("out*"))


def test_a_full_disk_is_one_line(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    video, sound, out = make_video(size=(320, 240)), make_sound(1.0), tmp_path / "out.mp4"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (33_000, limits[1]))
    try:
        with pytest.raises(LipsyncError, match=r"out.mp4: cannot be written \(.*large"):
            dubbed(out, video, sound, quality="lossless")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.glob("out*"))


def test_two_processes_do_not_write_one_file(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    video, sound, out = make_video(), make_sound(1.0), tmp_path / "out.mp4"
    with segments.workplace(out, {}, False) as folder:
        with pytest.raises(LipsyncError, match="another process is writing it"):
            dubbed(out, video, sound)
        assert folder.exists()
    assert not list(tmp_path.glob("out*"))
    dubbed(out, video, sound)
    assert [path.name for path in tmp_path.glob("out*")] == ["out.mp4"]


def test_a_folder_of_somebody_elses_is_not_touched(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    (tmp_path / "out.mp4.part").mkdir()
    (tmp_path / "out.mp4.part" / "thesis.txt").write_text("years")
    with pytest.raises(LipsyncError, match=r"out.mp4.part: is not the work of an earlier run"):
        dubbed(tmp_path / "out.mp4", make_video(), make_sound(1.0))
    assert [path.name for path in (tmp_path / "out.mp4.part").iterdir()] == ["thesis.txt"]


def test_no_place_to_write(make_video: Callable, make_sound: Callable, tmp_path: Path) -> None:
    with pytest.raises(LipsyncError, match="cannot be written"):
        dubbed(tmp_path / "absent" / "out.mp4", make_video(), make_sound(1.0))
