import math
import os
import tempfile
from pathlib import Path

import decord
import numpy as np
import pytest
import torch
from red_squares import Found, RedSquares, contents, raw_video
from together import together

from lipsync.corpora.crop import box_in_track
from lipsync.corpora.landmarks import CHIN, LOWER_LIP, NOSE_BASE
from lipsync.corpora.records import load_manifest, read_record
from lipsync.errors import LipsyncError
from lipsync.preparation import ingest
from lipsync.preparation import prepare as module
from lipsync.preparation import sync as listening
from lipsync.preparation.prepare import prepare
from lipsync.sound import map_wav

NOBODY = 65534  # the number of a user who owns nothing
pytestmark = pytest.mark.usefixtures("_red_squares")


def clip(root, id):
    reader = decord.VideoReader(str(root / f"{id}.mp4"), num_threads=1)
    return reader.get_batch(list(range(len(reader)))).asnumpy().astype(int)


def test_a_clip_its_sound_and_its_record(tmp_path):
    raw_video(tmp_path / "raw" / "talk.mkv", speed=0.3)
    report = prepare(str(tmp_path / "raw"), str(tmp_path / "corpus"), size=64, min_face=40)
    assert (report.kept, report.rows[0].seconds, report.splits) == (1, 2.0, {"train": 1})
    record = read_record(tmp_path / "corpus", tmp_path / "corpus" / "talk" / "0.json")
    assert (record.id, record.source, record.speaker, record.split) == ("talk/0", "talk.mkv", "talk", "train")
    assert (record.frames, record.size, record.start, record.crop_rule) == (50, 64, 0.0, "square")
    assert tuple(record.box) == pytest.approx(box_in_track(64))
    np.testing.assert_allclose(record.opening, 0.1, atol=1e-6)
    measured = record.measurements
    assert measured["face"] == pytest.approx(44)
    assert measured["presence"] == pytest.approx(0.9)
    assert [measured["interpolated"], measured["opening_std"]] == pytest.approx([0, 0], abs=1e-6)
    assert measured["sound_db"] == pytest.approx(20 * math.log10(1000 / 32768), abs=0.01)
    np.testing.assert_array_equal(map_wav(tmp_path / "corpus" / "talk" / "0.wav"), np.full(32_000, 1000))
    images = clip(tmp_path / "corpus", "talk/0")
    assert images.shape == (50, 64, 64, 3)
    assert measured["luma"] == pytest.approx((images @ [0.2126, 0.7152, 0.0722]).mean(), abs=2)
    # The wandering square stands still at the centre: 40 of the track's 1.4 * 44 pixels, at 64 pixels a side.
    red = (images[..., 0] > 150) & (images[..., 1] < 100) | (images.max(-1) < 60)
    for axis in (1, 2):
        profile = red.any(axis)
        first, last = profile.argmax(1), 63 - profile[:, ::-1].argmax(1)
        inner = slice(4, -4)  # the smoothed centre lags at the ends of a steady motion
        np.testing.assert_allclose((first + last + 1)[inner] / 2, 32, atol=1)
        np.testing.assert_allclose((last + 1 - first)[inner], 64 * 40 / 61.6, atol=3)
    assert len(load_manifest(tmp_path / "corpus")) == 1


def test_one_long_video_becomes_clips_of_all_splits(tmp_path):
    raw_video(tmp_path / "raw" / "talk.mkv", speed=0.3)
    report = prepare(
        str(tmp_path / "raw"), str(tmp_path / "corpus"), size=64, min_seconds=0.5, max_seconds=0.7, min_face=40
    )
    assert report.splits == {"train": 1, "val": 1, "test": 1}
    records = list(load_manifest(tmp_path / "corpus"))
    assert [(record.frames, record.start, record.split) for record in records] == [
        (16, 0.0, "train"),
        (17, 0.64, "val"),
        (17, 1.32, "test"),
    ]
    for record in records:
        assert len(clip(tmp_path / "corpus", record.id)) == len(record.opening) == record.frames
        assert len(map_wav(tmp_path / "corpus" / record.sound)) == 640 * record.frames
    with pytest.raises(LipsyncError, match="nothing lies between"):
        prepare(str(tmp_path / "raw"), str(tmp_path / "other"), min_seconds=3, max_seconds=2)


@pytest.mark.parametrize("delay", [0.0, 0.9])
def test_sound_and_picture_stay_together_though_the_video_starts_late(tmp_path, delay):
    flashes = [delay + time for time in (0.4, 1.0, 1.6)]
    raw_video(tmp_path / "raw" / "a.mkv", delay=delay, flashes=flashes)
    prepare(str(tmp_path / "raw"), str(tmp_path / "corpus"), size=64, min_face=40)
    record = load_manifest(tmp_path / "corpus")[0]
    # The grid has a point every 40 ms of sound: the first with a picture.
    assert record.start == pytest.approx(math.ceil(delay * 25 - 1e-6) / 25)
    images, samples = clip(tmp_path / "corpus", "a/0"), map_wav(tmp_path / "corpus" / "a" / "0.wav")
    assert len(samples) == 640 * len(images)
    lit = np.flatnonzero(np.diff((images[:, 32, 32].mean(-1) > 128).astype(int)) == 1) + 1
    loud = np.flatnonzero(np.diff((samples > 10_000).astype(int)) == 1) + 1
    assert len(lit) == len(loud) == 3
    # A grid point shows the light from half a source frame (1/60 s) before it, and is at most one grid step late.
    assert ((lit - loud / 640 > -25 / 60 - 0.03) & (lit - loud / 640 < 1 - 25 / 60 + 0.03)).all()


def test_two_faces_are_two_clips_and_every_file_has_its_fate(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "corpus"
    raw_video(raw / "a" / "1.mkv", faces=((40, 60), (120, 60)))
    raw_video(raw / "b" / "1.mkv", seconds=1.2)
    raw_video(raw / "small.mkv", seconds=1.2, side=16)
    raw_video(raw / "short.mkv", seconds=0.8)
    raw_video(raw / "mute.mkv", seconds=0.4, sound=False)
    raw_video(raw / "empty.mkv", seconds=0.4, faces=())
    (raw / "broken.mp4").write_bytes(b"\0" * 1000)
    (raw / "notes.txt").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RedSquares, "faces", shrinking_faces)
        report = prepare(str(raw), str(out), size=64, min_face=40)
    fates = {row.source: (row.kept, row.note) for row in report.rows}
    assert fates.pop("broken.mp4")[1].startswith("not a media file")
    assert fates == {
        "a/1.mkv": (2, ""),
        "b/1.mkv": (1, ""),
        "small.mkv": (0, "1 smaller than 40 px"),
        "short.mkv": (0, "1 shorter than 1 s"),
        "mute.mkv": (0, "no sound"),
        "empty.mkv": (0, "no face found"),
        "notes.txt": (0, "not a video"),
    }
    manifest = load_manifest(out)
    assert [record.id for record in manifest] == ["a/1/0", "a/1/1", "b/1/0"]
    assert manifest[0].split == manifest[1].split
    assert {manifest[0].split, manifest[2].split} == {"train", "val"}
    assert [path.name for path in (out / "mute").iterdir()] == [module.FINISHED]
    assert not list(out.rglob("*.part")) + list(out.rglob("sound.wav"))
    assert "not a video" in (out / "report.txt").read_text()


def shrinking_faces(self, image, faces=RedSquares.faces):
    """Landmarks as large as the square that is seen."""
    found = faces(self, image)
    area = ((image[..., 0] > 150) & (image[..., 1] < 100)).sum() / max(len(found.presence), 1)
    scale = 0.4 if area < 400 else 1.0
    centre = found.landmarks[:, NOSE_BASE : NOSE_BASE + 1]
    return Found(centre + scale * (found.landmarks - centre), found.presence)


def test_an_interrupted_run_goes_on_and_ends_like_an_uninterrupted_one(tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    for name in ("a", "b", "c"):
        raw_video(raw / f"{name}.mkv", seconds=1.2, faces=((40, 60), (120, 60)))
    settings = {"size": 64, "min_face": 40}
    prepare(str(raw), str(tmp_path / "whole"), **settings)

    written = []

    def interrupt(path, samples, write=ingest.write_wav):
        written.append(path)
        if len(written) == 4:  # the second clip of the second video
            raise KeyboardInterrupt
        write(path, samples)

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "write_wav", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(str(raw), str(tmp_path / "cut"), **settings)
    assert (tmp_path / "cut" / "b" / "0.wav").is_file()
    assert not list((tmp_path / "cut" / "b").glob("*.json"))
    (tmp_path / "cut" / "b" / "7.mp4").touch()  # of some earlier attempt

    searched = []
    monkeypatch.setattr(ingest, "find_tracks", lambda *a, find=ingest.find_tracks: searched.append(1) or find(*a))
    resumed = prepare(str(raw), str(tmp_path / "cut"), **settings)
    assert len(searched) == 2
    assert [row.kept for row in resumed.rows] == [2, 2, 2]
    whole, cut = contents(tmp_path / "whole"), contents(tmp_path / "cut")
    assert whole == cut
    assert {record.split for record in load_manifest(tmp_path / "cut")} == {"train", "val", "test"}

    # Once more: nothing to do. A changed file is prepared again. Other settings need another folder.
    prepare(str(raw), str(tmp_path / "cut"), **settings)
    assert len(searched) == 2
    raw_video(raw / "b.mkv", seconds=1.6)
    assert [row.kept for row in prepare(str(raw), str(tmp_path / "cut"), **settings).rows] == [2, 1, 2]
    assert len(searched) == 3
    assert not (tmp_path / "cut" / "b" / "1.mp4").exists()
    with pytest.raises(LipsyncError, match="another folder"):
        prepare(str(raw), str(tmp_path / "cut"), size=96, min_face=40)


def test_two_at_once_write_nothing_twice_and_what_one_would_have(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "both"
    for name in "abcdef":
        raw_video(raw / f"{name}.mkv", seconds=1.2, faces=((40, 60), (120, 60))[: 1 + (name > "c")])
    settings = {"size": 64, "min_face": 40}
    prepare(str(raw), str(tmp_path / "one"), **settings)
    written = together(lambda: prepare(str(raw), str(out), **settings), tmp_path / "notes")
    assert contents(out) == contents(tmp_path / "one")
    assert all(written)
    first, second = ({path for path in paths if Path(path).suffix in (".mp4", ".wav")} for paths in written)
    assert len(first) + len(second) == 2 * 9 + 6  # of each clip, and each source's whole sound
    assert not first & second
    every = [path for paths in written for path in paths]
    assert not [path for path in every if every.count(path) > 1 and path.endswith((".wav", ".mp4", ".finished"))]


def test_an_expert_hears_every_clip_once_however_it_is_run(tmp_path, monkeypatch):
    raw, one, parts = tmp_path / "raw", tmp_path / "one", tmp_path / "parts"
    for name in "abc":
        raw_video(raw / f"{name}.mkv", seconds=1.4, flashes=(0.4, 0.9))
    settings = {"size": 64, "min_face": 40, "expert": "synthetic_eval", "device": "cpu"}
    heard = []
    monkeypatch.setattr(listening, "measure", lambda *a, measure=listening.measure: heard.append(1) or measure(*a))
    prepare(str(raw), str(one), **settings)
    assert len(heard) == 3
    for shard in ("2/2", "1/2", "1/2"):
        prepare(str(raw), str(parts), **settings, shard=shard)
    assert len(heard) == 3 + 3
    assert contents(parts) == contents(one)
    assert not np.isnan(load_manifest(one).column("sync_confidence")).any()
    with pytest.raises(LipsyncError, match="nobody"):
        prepare(str(raw), str(tmp_path / "other"), expert="nobody")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("out", [".", "..", "../raw", "link"])
def test_the_folder_of_the_videos_is_no_place_for_the_corpus(tmp_path, out):
    raw = tmp_path / "raw"
    raw_video(raw / "talk" / "a.mkv", seconds=0.4)
    (raw / "talk" / "1.wav").touch()
    (raw / "link").symlink_to(raw)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LipsyncError, match="holds the videos themselves"):
        prepare(str(raw), str(raw / out))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def bounded():
    """A folder, and this process without root's right to read whatever there is."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        Path(folder).chmod(0o777)
        before = os.geteuid()
        try:
            os.seteuid(before or NOBODY)
        except OSError:
            pytest.skip("root stays root here")
        try:
            yield Path(folder)
        finally:
            os.seteuid(before)


def test_what_may_not_be_read_is_named_and_taken_when_it_may(bounded):
    raw, out = bounded / "raw", bounded / "corpus"
    for name in ("a", "locked", "closed/b"):
        raw_video(raw / f"{name}.mkv", seconds=1.2)
    locked = (raw / "locked.mkv", raw / "closed")
    for path in locked:
        path.chmod(0)
    report = prepare(str(raw), str(out), size=64, min_face=40)
    fates = {row.source: (row.kept, row.note) for row in report.rows}
    assert fates["a.mkv"] == (1, "")
    assert fates["closed"] == (0, "cannot be listed: Permission denied")
    assert fates["locked.mkv"][0] == 0
    assert "Permission denied" in fates["locked.mkv"][1]
    for path in locked:
        path.chmod(0o700)
    report = prepare(str(raw), str(out), size=64, min_face=40)
    assert {row.source: (row.kept, row.note) for row in report.rows} == {
        f"{name}.mkv": (1, "") for name in ("a", "closed/b", "locked")
    }


def test_a_clip_that_lost_a_file_is_prepared_again_and_one_left_out_stays_out(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "corpus"
    for name in ("a", "b"):
        raw_video(raw / f"{name}.mkv", seconds=1.2, faces=((40, 60), (120, 60)))
    prepare(str(raw), str(out), size=64, min_face=40)
    whole = contents(out)
    for lost in ("a/1.mp4", "b/0.wav"):
        (out / lost).unlink()
        prepare(str(raw), str(out), size=64, min_face=40)
        assert contents(out) == whole
    (out / "a" / "1.json").unlink()
    (out / "manifest.arrow").unlink()
    prepare(str(raw), str(out), size=64, min_face=40)
    assert [record.id for record in load_manifest(out)] == ["a/0", "b/0", "b/1"]


def test_nothing_is_deleted_from_a_folder_of_something_else(tmp_path):
    raw_video(tmp_path / "raw" / "a.mkv", seconds=0.4)
    mine = tmp_path / "films" / "a" / "holiday.mp4"
    mine.parent.mkdir(parents=True)
    mine.touch()
    for out in (tmp_path / "films", mine):
        with pytest.raises(LipsyncError, match=r"is not empty and has no prepare\.settings"):
            prepare(str(tmp_path / "raw"), str(out))
    assert [path.name for path in (tmp_path / "films").rglob("*")] == ["a", "holiday.mp4"]


def test_a_corpus_among_the_videos_is_not_searched(tmp_path):
    raw_video(tmp_path / "a.mkv", seconds=1.2)
    for _ in range(2):
        report = prepare(str(tmp_path), str(tmp_path / "corpus"), size=64, min_face=40)
        assert [row.source for row in report.rows] == ["a.mkv"]


def test_a_device_that_is_not_there_leaves_no_corpus(tmp_path):
    raw_video(tmp_path / "raw" / "a.mkv", seconds=0.4)
    with pytest.raises(LipsyncError, match="device nowhere: "):
        prepare(str(tmp_path / "raw"), str(tmp_path / "corpus"), device="nowhere")
    assert not (tmp_path / "corpus").exists()


def test_nothing_kept_is_an_error_after_the_report(tmp_path):
    raw_video(tmp_path / "raw" / "a.mkv", seconds=0.4, faces=())
    with pytest.raises(LipsyncError, match="no face track was kept"):
        prepare(str(tmp_path / "raw"), str(tmp_path / "corpus"))
    assert "no face found" in (tmp_path / "corpus" / "report.txt").read_text()
    with pytest.raises(LipsyncError, match="no such folder"):
        prepare(str(tmp_path / "none"), str(tmp_path / "corpus"))
    with pytest.raises(LipsyncError, match="even"):
        prepare(str(tmp_path / "raw"), str(tmp_path / "corpus"), size=95)


def test_the_last_line_names_the_corpus(tmp_path, capsys):
    raw_video(tmp_path / "raw" / "a.mkv", seconds=1.2)
    prepare(str(tmp_path / "raw"), str(tmp_path / "corpus"), size=64, min_face=40)
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "corpus")


def test_a_real_face_is_upright_with_the_mouth_in_the_lower_half(shared, tmp_path, monkeypatch):
    from lipsync.preparation.faces import FaceFinder

    monkeypatch.setattr(module, "FaceFinder", FaceFinder)
    whole = (shared / "clips" / "grid_bbaf2n.mpg").read_bytes()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "grid.mpg").write_bytes(whole[: len(whole) // 2])
    report = prepare(str(tmp_path / "raw"), str(tmp_path / "corpus"), size=96)
    assert report.kept == 1
    record = load_manifest(tmp_path / "corpus")[0]
    assert 30 < record.frames < 45
    images = torch.from_numpy(clip(tmp_path / "corpus", "grid/0")[::10]).byte()
    for faces in FaceFinder().detect(
        torch.nn.functional.interpolate(images.permute(0, 3, 1, 2), scale_factor=3).permute(0, 2, 3, 1)
    ):
        mouth, nose, chin = (faces.landmarks[0, point, 1] / 3 for point in (LOWER_LIP, NOSE_BASE, CHIN))
        y0, y1, _, _ = record.box
        assert nose == pytest.approx((y0 + y1) / 2, abs=3)
        assert (y0 + y1) / 2 < mouth < chin < y1
