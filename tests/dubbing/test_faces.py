"""The list of a video's faces."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lipsync.dubbing.faces import ROW, TILE, contact_sheet, describe, faces
from lipsync.dubbing.read import Format, read_format
from lipsync.dubbing.track import Survey
from lipsync.errors import LipsyncError


def test_described(make_video: Callable, make_track: Callable, make_survey: Callable, plain_format: Format) -> None:
    tracks = [make_track(0, 30, x=30, y=40, chin=20, yaw=-7.0), make_track(10, 15, x=90, y=60, chin=30, unseen=[4])]
    first, second = describe(make_video(), plain_format, make_survey(tracks, 50))
    assert first[:5] == (0, 0.0, 1.2, (40.0, 30.0), pytest.approx(44, abs=1e-3))
    assert second[:5] == (1, 0.4, 1.0, (60.0, 90.0), pytest.approx(66, abs=1e-3))
    assert (first.yaw, second.yaw) == (-7, 0)
    assert np.isnan(first.sync)
    assert not first.speaks


def test_sheet_shows_each_face(make_video: Callable, make_track: Callable, make_survey: Callable) -> None:
    video = make_video(size=(120, 100))
    source = read_format(video)
    found = make_survey([make_track(k, 3, x=60 + k, y=50, chin=10) for k in range(ROW + 1)], 10)
    found = found._replace(pts=np.arange(0, 10 * 512, 512))
    sheet = contact_sheet(video, source, found)
    assert sheet.shape == (3, 2 * (TILE + 2) + 2, ROW * (TILE + 2) + 2)
    tiles = [sheet[:, 2 : 2 + TILE, 2 + k * (TILE + 2) :][:, :, :TILE].float() for k in range(ROW)]
    assert all((tile.std((1, 2)) > 10).all() for tile in tiles)
    assert (sheet[:, TILE + 4 : -2, TILE + 4 :] == 0).all()  # no eighth


def test_of_a_real_clip(hamilton: tuple[str, Format, Survey], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    sheet, (video, _, known) = tmp_path / "sheet.png", hamilton
    found = faces(video, str(sheet), device="cpu")
    assert [face.number for face in found] == list(range(len(known.tracks)))
    for face in found:
        assert 0 <= face.start < face.end <= 9.3
        assert 0 < face.place[0] < 360
        assert 0 < face.place[1] < 640
    rows = -(-len(found) // ROW)
    with Image.open(sheet) as picture:
        assert picture.height == rows * (TILE + 2) + 2
    told = capsys.readouterr().out
    assert "0:00:0" in told
    assert told.splitlines()[-1] == f"{sheet}: a picture of each, row by row"


def test_mistakes(make_video: Callable, tmp_path: Path) -> None:
    with pytest.raises(LipsyncError, match=r"sheet.jpg: the sheet's name must end in .png"):
        faces(make_video(), "sheet.jpg")
    with pytest.raises(LipsyncError, match="no face in any of its 10 frames"):
        faces(make_video(), str(tmp_path / "sheet.png"), device="cpu")
    assert not (tmp_path / "sheet.png").exists()
    with pytest.raises(LipsyncError, match="no such file"):
        faces(str(tmp_path / "none.mp4"))
