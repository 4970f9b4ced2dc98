import json
import math
from typing import NamedTuple

import av
import decord
import numpy as np
import pytest
import torch

from lipsync.corpora.crop import box_in_track
from lipsync.corpora.landmarks import BRIDGE, CHIN, LOWER_LIP, NOSE_BASE, UPPER_LIP
from lipsync.corpora.records import load_manifest, read_record
from lipsync.errors import LipsyncError
from lipsync.preparation import ingest
from lipsync.preparation import prepare as module
from lipsync.preparation.prepare import prepare
from lipsync.sound import map_wav

HEIGHT, WIDTH, SIDE = 120, 160, 40
FPS = 30


class Found(NamedTuple):
    landmarks: torch.Tensor
    presence: torch.Tensor


class RedSquares:
    """A finder that takes every red square of SIDE x SIDE pixels for a face, in the left and the right half."""

    def __init__(self, device):
        pass

    def detect(self, images):
        return [self.faces(image.float()) for image in images]

    def faces(self, image):
        red = (image[..., 0] > 150) & (image[..., 1] < 100)
        found = []
        for left in (0, WIDTH // 2):
            rows, columns = torch.nonzero(red[:, left : left + WIDTH // 2], as_tuple=True)
            if len(rows) > 100:
                x, y = left + columns.float().mean() + 0.5, rows.float().mean() + 0.5
                points = torch.rand(468, 3, generator=torch.Generator().manual_seed(0)) * SIDE - SIDE / 2
                # Half side of the box: max(1.1 * 20, 1.85 * 10) = 22 pixels.
                for point, down in ((NOSE_BASE, 0), (CHIN, 20), (BRIDGE, -10), (UPPER_LIP, 5), (LOWER_LIP, 6)):
                    points[point] = torch.tensor([0.0, down, 0.0])
                found.append(points + torch.stack([x, y, torch.zeros(())]))
        return Found(torch.stack(found) if found else torch.zeros(0, 468, 3), torch.full((len(found),), 0.9))


@pytest.fixture(autouse=True)
def _red_squares(monkeypatch):
    monkeypatch.setattr(module, "FaceFinder", RedSquares)
    monkeypatch.setattr(module, "cores", lambda: 1)  # other processes would see the real one


def raw_video(path, seconds=2.0, faces=((40, 60),), sound=True, delay=0.0, flashes=(), speed=0.0, side=SIDE):
    """A lossless film at 30 fps; the squares move by `speed` px a frame, light up and click at `flashes` (s)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="matroska") as container:
        video = container.add_stream("ffv1", rate=FPS)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "bgr0"
        audio = container.add_stream("pcm_s16le", rate=16_000, layout="mono") if sound else None
        for k in range(round(seconds * FPS)):
            image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            lit = any(-1e-6 < delay + k / FPS - flash < 0.1 for flash in flashes)
            for x, y in faces:
                left, top = round(x + speed * k) - side // 2, y - side // 2
                image[top : top + side, left : left + side] = (220, 40, 40)
                image[top + 15 : top + 25, left + 15 : left + 25] = 255 if lit else 0
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="bgr0")
            frame.pts = k + round(delay * FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound:
            samples = np.full(round((seconds + delay) * 16_000), 1000, np.int16)
            for flash in flashes:
                samples[round(flash * 16_000) : round(flash * 16_000) + 100] = 20_000
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate = 16_000
            container.mux([*audio.encode(frame), *audio.encode(None)])


def clip(root, id):
    reader = decord.VideoReader(str(root / f"{id}.mp4"), num_threads=1)
    return reader.get_batch(list(range(len(reader)))).asnumpy().astype(int)


def contents(root):
    """Every file's bytes by its name; the time stamps of finished sources left out."""
    found = {}
    for path in root.rglob("*"):
        if path.is_file():
            found[path.relative_to(root).as_posix()] = path.read_bytes()
            if path.name == module.FINISHED:
                state = json.loads(path.read_text())
                state.pop("modified")
                found[path.relative_to(root).as_posix()] = state
    return found


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
