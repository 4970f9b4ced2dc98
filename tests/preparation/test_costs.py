import dataclasses
import re

import pytest

from lipsync.corpora.filters import MEASUREMENTS
from lipsync.corpora.records import Record, build_manifest, write_record
from lipsync.errors import LipsyncError
from lipsync.preparation.costs import PICTURE, SUGGESTED, costs

GOOD = dict.fromkeys(MEASUREMENTS, 0.0) | {
    "presence": 1.0,
    "luma": 120.0,
    "sharpness": 200.0,
    "sound_db": -20.0,
    "opening_std": 0.1,
}


def write(root, name, frames, **measured):
    record = Record(name, f"{name}.mp4", f"{name}.wav", name, name, "train", frames, 64, (0, 64, 0, 64))
    write_record(root, dataclasses.replace(record, measurements=GOOD | measured))


def test_each_filter_has_its_price(tmp_path, capsys):
    write(tmp_path, "good", 3600 * 25)
    write(tmp_path, "turned", 1800 * 25, yaw=60.0)
    write(tmp_path, "turned_and_dark", 1800 * 25, yaw=60.0, luma=10.0)
    build_manifest(tmp_path)
    found = costs(str(tmp_path))
    assert (found.clips, found.hours) == (3, pytest.approx(2))
    priced = {name: tuple(cost) for name, cost in found.removed.items() if cost.clips}
    assert priced == {"yaw": (2, 1.0, 1, 0.5), "luma": (1, 0.5, 0, 0.0), "together": (2, 1.0, 2, 1.0)}
    assert set(found.removed) == {*SUGGESTED, "together"}
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if "yaw" in line] == [["yaw", "up", "to", "45", "2", "1", "1", "0.5"]]
    assert "luma from 35 to 220" in "".join(lines)
    picture = (tmp_path / PICTURE).read_text()
    assert (
        re.findall(r"([\d.]+)\" height=\"16\" fill=\"#e5a3a3\"", picture)[list(found.removed).index("yaw")] == "200.0"
    )

    mine = costs(str(tmp_path), {"yaw": [None, 70.0], "seconds": [2000.0, None]})
    assert {name: cost.clips for name, cost in mine.removed.items()} == {"yaw": 0, "seconds": 2, "together": 2}


def test_what_was_not_measured_is_named(tmp_path):
    write(tmp_path, "good", 100)
    build_manifest(tmp_path)
    with pytest.raises(LipsyncError, match=r"sync_confidence of 1 of the 1 clips .*lipsync sync"):
        costs(str(tmp_path), {"sync_confidence": [1.0, None]})
    with pytest.raises(LipsyncError, match="'beauty' is none of face"):
        costs(str(tmp_path), {"beauty": [1.0, None]})
