"""The first pass, and that a second one needs no pass."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lipsync.corpora.landmarks import JAW, NOSE_BASE, TRACKED
from lipsync.dubbing import track as module
from lipsync.dubbing.choose import largest
from lipsync.dubbing.read import Format, read_format, to_image
from lipsync.dubbing.track import VERSION, Survey, folder, last_end, load, prune, reaching, save, survey
from lipsync.preparation.faces import FaceFinder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


class Count:
    """Counts the frames that pass."""

    def __init__(self) -> None:
        self.frames = 0

    def __call__(self, frames):
        for frame in frames:
            self.frames += 1
            yield frame


def same(a: Survey, b: Survey) -> bool:
    """Whether two surveys are equal to the bit."""
    arrays = [(a.pts, b.pts), (a.cuts, b.cuts)]
    for one, other in zip(a.tracks, b.tracks, strict=True):
        arrays += [(one.points[point], other.points[point]) for point in TRACKED]
        arrays += [(one.presence, other.presence), (one.pose, other.pose), (one.company, other.company)]
    firsts = [track.first for track in a.tracks] == [track.first for track in b.tracks]
    return (
        a.end == b.end
        and firsts
        and all(x.dtype == y.dtype and np.array_equal(x, y, equal_nan=x.dtype.kind == "f") for x, y in arrays)
    )


def test_jaw_is_tracked_once_from_ear_to_ear(finder: FaceFinder) -> None:
    assert len(JAW) == len(set(JAW)) == 21
    assert len(TRACKED) == len(set(TRACKED))
    assert set(JAW) < set(TRACKED)


def test_survey_knows_every_frame_and_face(make_video: Callable, still_face: type) -> None:
    pts = [0, 512, 1100, 1536, 2048, 2600, 3072, 3584, 4096, 4608, 5120, 5632]
    video = make_video(pts=pts, dark=[0, 1])
    found = survey(video, read_format(video), still_face(x=40.5, y=30.25, chin=20.0))
    assert found.pts.tolist() == pts
    assert found.end == 5632 + 512
    # Of 25 frames a second every other is looked at: 0, 2, ..., and nothing is known of frame 1.
    assert [(track.first, len(track)) for track in found.tracks] == [(1, 11)]
    assert np.flatnonzero(found.tracks[0].presence).tolist() == [1, 3, 5, 7, 9]
    np.testing.assert_allclose(found.tracks[0].points[NOSE_BASE], np.full((11, 2), [40.5, 30.25]))
    assert not folder().exists()  # a foreign finder's tracks are not kept


def test_a_track_reaches_the_ends_of_its_shot_and_no_further(make_track: Callable) -> None:
    edges = np.array([0, 10, 21, 40])
    for first, count, most, expected in (
        (10, 11, 3, (10, 11)),
        (12, 7, 3, (10, 11)),
        (14, 4, 3, (11, 10)),
        (14, 3, 3, (11, 6)),
        (1, 8, 0, (1, 8)),
    ):
        track = make_track(first, count, opening=np.arange(count))
        longer = reaching(track, edges, most)
        assert (longer.first, len(longer)) == expected
        inside = slice(first - longer.first, first - longer.first + count)
        for known, found in ((track.presence, longer.presence), (track.points[14], longer.points[14])):
            assert np.array_equal(known, found[inside])
        assert (longer.points[14][-1] == track.points[14][-1]).all()
        assert longer.presence.sum() == count
        assert np.isnan(longer.pose[:, 0]).sum() == len(longer) - count


def test_a_track_does_not_run_into_the_next(make_track: Callable, make_survey: Callable) -> None:
    """A face that jumps between two looks is two tracks, both of them chosen: no frame is both's, and none nobody's."""
    tracks = [reaching(make_track(*span), np.array([0, 40]), 4) for span in ((2, 9), (15, 21))]
    assert [(track.first, len(track)) for track in tracks] == [(0, 11), (11, 29)]
    assert largest(make_survey(tracks, 40), 25.0, range(2)) == [0, 1]


def test_cuts(make_video: Callable, still_face: type) -> None:
    video = make_video(dark=range(6))
    assert survey(video, read_format(video), still_face()).cuts.tolist() == [6]


def test_only_what_is_looked_at_is_changed_to_rgb(
    make_video: Callable, still_face: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = []
    monkeypatch.setattr(module, "to_image", lambda frame, *how: changed.append(frame.number) or to_image(frame, *how))
    video = make_video(dark=range(6))
    survey(video, read_format(video), still_face())
    assert changed == [0, 2, 4, 6, 8]


def test_second_survey_does_not_decode(make_video: Callable, finder: FaceFinder) -> None:
    video, first, second, third = make_video(), Count(), Count(), Count()
    found = survey(video, read_format(video), finder, first)
    again = survey(video, read_format(video), finder, second)
    assert (first.frames, second.frames) == (10, 0)
    assert same(found, again)
    os.utime(video, ns=(1, 1))  # another file for all one knows
    survey(video, read_format(video), finder, third)
    assert third.frames == 10


def test_other_weights_find_anew(make_video: Callable, finder: FaceFinder, monkeypatch: pytest.MonkeyPatch) -> None:
    video, other, counts = make_video(), FaceFinder(), [Count() for _ in range(3)]
    survey(video, read_format(video), finder, counts[0])
    with torch.no_grad():
        next(other.mesh.parameters()).mul_(1.001)
    survey(video, read_format(video), other, counts[1])
    monkeypatch.setattr(module, "VERSION", VERSION + 1)
    survey(video, read_format(video), finder, counts[2])
    assert [count.frames for count in counts] == [10, 10, 10]


@pytest.mark.parametrize("tracks", [0, 2])
def test_kept_as_it_was(make_track: Callable, make_survey: Callable, tmp_path: Path, tracks: int) -> None:
    rng = np.random.default_rng(0)
    parts = [make_track(3 * k, 5 + k, opening=rng.uniform(0, 5, 5 + k), unseen=[2]) for k in range(tracks)]
    found = make_survey(parts, 20, cuts=[4, 9])
    save(tmp_path / "kept", found)
    assert same(found, load(tmp_path / "kept"))
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_damage_is_found(make_track: Callable, make_survey: Callable, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    save(kept, make_survey([make_track(0, 5)], 5))
    content = kept.read_bytes()
    assert load(tmp_path / "absent") is None
    for place in range(0, len(content), 97):
        kept.write_bytes(content[:place])
        assert load(kept) is None
        kept.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert load(kept) is None


def test_damaged_file_is_replaced(make_video: Callable, finder: FaceFinder) -> None:
    video, count = make_video(), Count()
    found = survey(video, read_format(video), finder)
    (kept,) = folder().iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    assert same(found, survey(video, read_format(video), finder, count))
    assert count.frames == 10
    assert same(found, load(kept))


def test_a_folder_that_cannot_be_written_is_said_once(
    make_video: Callable, finder: FaceFinder, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    video = make_video()
    found = [survey(video, read_format(video), finder) for _ in range(2)]
    assert same(*found)
    assert capsys.readouterr().out.count("tracks cannot be kept") == 1


def test_oldest_are_pruned(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        path = tmp_path / f"{number}.tracks"
        path.write_bytes(bytes(100))
        os.utime(path, ns=(number, number))
    (tmp_path / "4.tracks.part").write_bytes(bytes(1000))  # being written
    prune(tmp_path, most=250)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2.tracks", "3.tracks", "4.tracks.part"]


def test_what_is_read_counts_as_new(make_track: Callable, make_survey: Callable, tmp_path: Path) -> None:
    for name in ("a.tracks", "b.tracks"):
        save(tmp_path / name, make_survey([make_track(0, 5)], 5))
        os.utime(tmp_path / name, ns=(1, 1))
    load(tmp_path / "a.tracks")
    prune(tmp_path, most=(tmp_path / "a.tracks").stat().st_size)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tracks"]


def test_several_faces_and_cuts(hamilton: tuple[str, Format, Survey]) -> None:
    _, _, found = hamilton
    assert len(found.pts) == 275
    assert (np.diff(found.pts) > 0).all()
    assert found.cuts.tolist() == [20, 82, 211]
    assert len(found.tracks) >= 5
    for track in found.tracks:  # none goes across a cut
        assert not ((track.first < found.cuts) & (found.cuts < track.first + len(track))).any()


@pytest.mark.parametrize(
    ("pts", "duration", "header", "expected"),
    [
        (100, 2, 101, 101),  # of another frame: the header knows better
        (100, 1, 102, 102),
        (100, 1, None, 101),
        (100, 1, 100, 101),  # the header ends before the frame begins
        (100, 1, 200, 101),  # the file was cut off
    ],
)
def test_last_end(plain_format: Format, pts: int, duration: int, header: int | None, expected: int) -> None:
    assert last_end(pts, duration, plain_format._replace(end=header)) == expected
