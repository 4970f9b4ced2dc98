"""What is painted where, from tracks at known places."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from lipsync.corpora.crop import rule_boxes
from lipsync.dubbing.choose import Part, choose
from lipsync.dubbing.painted import Painted
from lipsync.dubbing.plan import Plan, plan
from lipsync.dubbing.read import Format
from lipsync.dubbing.track import Survey
from lipsync.errors import LipsyncError

PROFILE = np.r_[np.zeros(30), np.full(30, 80.0), np.zeros(30)]  # a head that turns away for a while


@pytest.fixture
def planned(make_survey: Callable, plain_format: Format) -> Callable[..., Plan]:
    """Plans whole tracks of a video, all with the first sound."""

    def make(tracks: list, count: int, cuts=(), voices=None, size: int = 64, rule: str = "square", **how) -> Plan:
        found = make_survey(tracks, count, cuts)
        voices = voices or [0] * len(tracks)
        parts = [Part(k, t.first, t.first + len(t), voices[k]) for k, t in enumerate(tracks)]
        return plan("film.mp4", plain_format, found, parts, rule, size, **how)

    return make


def spans(planned: Plan) -> list[tuple[int, int, int]]:
    return [(face.first, face.last, face.track) for face in planned.faces]


def remarks(planned: Plan) -> list[tuple[int, int, str, int, str]]:
    return [(round(r.start * 25), round(r.end * 25), r.kind, r.track, r.action) for r in planned.remarks]


@pytest.mark.parametrize("rule", ["square", "tight", "voxceleb2"])
def test_a_face_in_every_frame(make_track: Callable, planned: Callable, rule: str) -> None:
    track = make_track(0, 30, x=60, y=50, chin=20)
    found = planned([track], 30, rule=rule, voices=[3])
    (face,) = found.faces
    square = torch.tensor([[28.0, 72.0, 38.0, 82.0]]).expand(30, 4)
    torch.testing.assert_close(face.boxes, rule_boxes(rule, square, 100, 120))
    assert (face.first, face.track, face.voice, face.reference) == (0, 0, 3, 0)
    assert face.outlines.shape == (30, 21, 2)
    assert (face.weights == 1).all()
    assert found.remarks == []


def test_at_tells_the_faces_of_a_frame(make_track: Callable, planned: Callable) -> None:
    found = planned([make_track(0, 30, x=30), make_track(10, 30, x=90), make_track(35, 10, x=30)], 60)
    for number in range(-1, 61):
        expected = [k for k, face in enumerate(found.faces) if face.first <= number < face.last]
        assert found.at(number) == expected
    assert Plan([], []).at(0) == []


def test_at_is_quick_for_thousands_of_tracks() -> None:
    one = torch.ones(20)
    faces = [Painted(10 * k, torch.zeros(20, 4), torch.zeros(20, 21, 2), k, 0, -1, one) for k in range(5000)]
    found = Plan(faces, [])
    assert [found.at(n) for n in (0, 15, 49_995, 50_005)] == [[0], [0, 1], [4998, 4999], [4999]]
    assert sum(len(found.at(n)) for n in range(50_010)) == 100_000


@pytest.mark.parametrize(
    ("missing", "painted", "action"),
    [
        ("keep", [(0, 30), (60, 90)], "left as it is"),
        ("hold", [(0, 90)], "painted even so"),
        ("interpolate", [(0, 90)], "painted even so"),
    ],
)
def test_a_profile(make_track: Callable, planned: Callable, missing: str, painted: list, action: str) -> None:
    found = planned([make_track(0, 90, yaw=PROFILE)], 90, missing=missing)
    # The angle is smoothed, so its steps are passed a frame early or late.
    got = spans(found)
    assert len(got) == len(painted)
    assert np.abs(np.array(got)[:, :2] - painted).max() <= 1
    ((begin, end, kind, track, told),) = remarks(found)
    assert (kind, track, told) == ("profile", 0, action)
    assert abs(begin - 30) <= 1
    assert abs(end - 60) <= 1


@pytest.mark.parametrize(("missing", "painted"), [("keep", 0), ("hold", 30), ("interpolate", 0)])
def test_a_head_that_stays_turned_away(make_track: Callable, planned: Callable, missing: str, painted: int) -> None:
    found = planned([make_track(0, 60, yaw=PROFILE[:60])], 60, missing=missing)
    assert abs(found.faces[0].last - 30 - painted) <= 1
    found = planned([make_track(0, 60, yaw=PROFILE[30:])], 60, missing=missing)
    assert abs(found.faces[0].first - 30) <= 1  # what was never seen cannot be held


@pytest.mark.parametrize(
    ("track", "kind"),
    [
        ({"chin": 14.0}, "tiny"),  # its box has 30.8 pixels
        ({"chin": 15.0}, None),
        ({"y": 83.0}, None),  # the painted half has 22 rows, 5 of them below the picture
        ({"y": 84.0}, "border"),
        ({"x": 12.0}, None),  # 10 of 44 columns
        ({"x": 10.0}, "border"),
        ({"x": 110.0}, "border"),
        ({"y": 0.0}, None),  # the half that is not painted may lie outside
    ],
)
def test_unfit_faces(make_track: Callable, planned: Callable, track: dict, kind: str | None) -> None:
    found = planned([make_track(0, 30, **track)], 30)
    assert spans(found) == ([] if kind else [(0, 30, 0)])
    assert remarks(found) == ([(0, 30, kind, 0, "left as it is")] if kind else [])


def test_a_huge_face(make_track: Callable, planned: Callable) -> None:
    track = make_track(0, 30, chin=20)  # its box has 44 pixels
    assert planned([track], 30, size=22).remarks == []
    (found,) = remarks(planned([track], 30, size=16))
    assert found == (0, 30, "huge", 0, "painted at 16 pixels and stretched to 44: it will look soft")


def test_no_face_is_kept(make_track: Callable, planned: Callable) -> None:
    found = planned([make_track(5, 10), make_track(20, 30)], 60)
    assert spans(found) == [(5, 15, 0), (20, 50, 1)]
    expected = [(0, 5), (15, 20), (50, 60)]
    assert remarks(found) == [(*frames, "no face", -1, "left as it is") for frames in expected]


def test_hold_goes_on_until_the_shot_ends(make_track: Callable, planned: Callable) -> None:
    tracks = [make_track(5, 10, x=40), make_track(40, 10, x=80)]
    found = planned(tracks, 60, cuts=[30], missing="hold")
    assert spans(found) == [(5, 30, 0), (40, 60, 1)]
    held = found.faces[0]
    torch.testing.assert_close(held.boxes, held.boxes[:1].expand(25, 4))
    torch.testing.assert_close(held.outlines, held.outlines[:1].expand(25, 21, 2))
    told = "painted where the face was or would be"
    left = "left as it is"
    assert [(*r[:2], r[4]) for r in remarks(found)] == [(0, 5, left), (15, 30, told), (30, 40, left), (50, 60, told)]


def test_hold_ends_where_the_voice_has_a_face_again(make_track: Callable, planned: Callable) -> None:
    tracks = [make_track(0, 10, x=40), make_track(20, 10, x=80), make_track(0, 30, x=100)]
    found = planned(tracks, 30, voices=[0, 0, 1], missing="hold")
    assert sorted(spans(found)) == [(0, 20, 0), (0, 30, 2), (20, 30, 1)]


def test_interpolate_goes_from_place_to_place(make_track: Callable, planned: Callable) -> None:
    tracks = [make_track(0, 10, x=50, chin=20), make_track(19, 10, x=60, chin=25)]
    found = planned(tracks, 29, missing="interpolate")
    assert spans(found) == [(0, 19, 0), (19, 29, 1)]
    boxes = torch.cat([face.boxes for face in found.faces])[9:20]
    torch.testing.assert_close(boxes.diff(dim=0), ((boxes[-1] - boxes[0]) / 10).expand(10, 4))
    jaws = torch.cat([face.outlines for face in found.faces])[9:20]
    torch.testing.assert_close(jaws.diff(dim=0), ((jaws[-1] - jaws[0]) / 10).expand(10, 21, 2), atol=1e-4, rtol=0)
    assert all((face.weights == 1).all() for face in found.faces)  # no fade where the face goes on


@pytest.mark.parametrize(("second", "cuts"), [({"x": 100}, []), ({"chin": 45}, []), ({}, [10]), ({}, [15]), ({}, [20])])
def test_interpolate_keeps_what_is_another_face_or_shot(
    make_track: Callable, planned: Callable, second: dict, cuts: list[int]
) -> None:
    found = planned([make_track(0, 10), make_track(20, 10, **second)], 30, cuts=cuts, missing="interpolate")
    assert [(face.first, face.last) for face in found.faces if face.track == 0] == [(0, 10)]
    assert (10, 20, "no face", -1, "left as it is") in remarks(found)


def test_a_bridged_profile_is_said_to_be_painted(make_track: Callable, planned: Callable) -> None:
    tracks = [make_track(0, 60, yaw=PROFILE[:60]), make_track(70, 20)]
    found = planned(tracks, 90, missing="interpolate")
    assert sorted(r[2:] for r in remarks(found)) == [
        ("no face", -1, "painted where the face was or would be"),
        ("profile", 0, "painted even so"),
    ]
    assert spans(found) == [(0, 70, 0), (70, 90, 1)]


@pytest.mark.parametrize(
    ("tracks", "message"),
    [
        ([(10, 20, {})], r"film.mp4: no face to paint at 0:00:00.000 \(no face\)"),
        ([(0, 20, {})], r"at 0:00:00.800 \(no face\)"),
        ([(0, 30, {"chin": 5})], r"at 0:00:00.000 \(tiny\)"),
    ],
)
def test_error_names_the_first_moment(make_track: Callable, planned: Callable, tracks: list, message: str) -> None:
    with pytest.raises(LipsyncError, match=message):
        planned([make_track(*where, **how) for *where, how in tracks], 30, missing="error")


def test_error_without_a_reason(make_track: Callable, planned: Callable) -> None:
    found = planned([make_track(0, 30)], 30, size=8, missing="error")  # huge is no reason
    assert spans(found) == [(0, 30, 0)]


def test_unknown_policy(make_track: Callable, planned: Callable) -> None:
    with pytest.raises(LipsyncError, match="'skip' is none of keep, hold, interpolate, error"):
        planned([make_track(0, 30)], 30, missing="skip")


def test_fades_inside_a_shot_only(make_track: Callable, planned: Callable) -> None:
    found = planned([make_track(10, 20), make_track(30, 20), make_track(55, 2)], 60, cuts=[30])
    rise = torch.tensor([0.25, 0.5, 0.75])
    first, second, short = (face.weights for face in found.faces)
    torch.testing.assert_close(first, torch.cat([rise, torch.ones(17)]))
    torch.testing.assert_close(second, torch.cat([torch.ones(17), rise.flip(0)]))
    torch.testing.assert_close(short, torch.tensor([0.25, 0.25]))
    whole = planned([make_track(0, 60)], 60)
    assert (whole.faces[0].weights == 1).all()


def test_reference_is_one_painted_frame_a_track(make_track: Callable, planned: Callable) -> None:
    track = make_track(0, 90, yaw=-PROFILE, opening=np.r_[np.full(40, 5.0), 0.0, np.full(19, 5.0), np.full(30, 4.0)])
    own, first, closed = (planned([track], 90, reference=name) for name in ("self", "first", "closed"))
    assert [face.reference for face in own.faces] == [-1, -1]
    assert [face.reference for face in first.faces] == [0, 0]
    assert [face.reference for face in closed.faces] == [closed.faces[1].first] * 2
    for found in (first, closed):
        assert found.at(found.faces[0].reference)


def test_a_part_of_a_track(make_track: Callable, make_survey: Callable, plain_format: Format) -> None:
    found = make_survey([make_track(5, 50)], 60)
    parts = [Part(0, 10, 20, 0), Part(0, 30, 40, 0)]
    planned = plan("film.mp4", plain_format, found, parts, "square", 64, reference="first")
    assert spans(planned) == [(10, 20, 0), (30, 40, 0)]
    assert [face.reference for face in planned.faces] == [10, 10]
    assert [r[:2] for r in remarks(planned)] == [(0, 10), (20, 30), (40, 60)]


def test_a_real_clip(hamilton: tuple[str, Format, Survey]) -> None:
    video, source, found = hamilton
    parts, _ = choose(video, source, found)
    kept, held = (plan(video, source, found, parts, "square", 64, missing) for missing in ("keep", "hold"))
    assert kept.faces
    frames = range(len(found.pts))
    assert all(len(kept.at(n)) <= 1 for n in frames)
    assert {n for n in frames if kept.at(n)} <= {n for n in frames if held.at(n)}
    left = [r for r in kept.remarks if r.action == "left as it is"]
    seconds = [(found.pts[n] - found.pts[0]) * source.time_base for n in frames]
    for n in frames:  # every frame is painted, or remarked on
        assert bool(kept.at(n)) != any(r.start <= seconds[n] < r.end for r in left)
    with pytest.raises(LipsyncError, match=r"no face to paint at 0:00:\d\d\.\d\d\d"):
        plan(video, source, found, parts, "square", 64, "error")
