"""Records survive the way to the manifest and back; paths stay inside; mistakes are named."""

import dataclasses
import json
import pickle
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lipsync.corpora import records
from lipsync.corpora.records import (
    MANIFEST,
    MEASUREMENTS,
    Record,
    build_manifest,
    claim,
    inside,
    load_manifest,
    read_record,
    write_record,
)
from lipsync.errors import LipsyncError

RECORD = Record(
    id="talk/0",
    video="talk/0.mp4",
    sound="talk/0.wav",
    source="talk.mov",
    speaker="talk",
    split="train",
    frames=3,
    size=160,
    box=[22.5, 137.5, 22.5, 137.5],
    start=1.25,
    opening=[0.25, 0.5, 0.125],
    measurements={"luma": 110.5},
)


def test_record_survives_json_and_manifest(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    assert read_record(tmp_path, tmp_path / "talk" / "0.json") == RECORD
    assert build_manifest(tmp_path) == 1
    assert load_manifest(tmp_path)[0] == dataclasses.replace(RECORD, measurements={})
    assert not list(tmp_path.rglob("*.part"))


def test_manifest_is_sorted_by_id_and_reads_like_a_list(tmp_path: Path) -> None:
    for name, split in (("b", "val"), ("a/1", "train"), ("c", "train")):
        write_record(tmp_path, dataclasses.replace(RECORD, id=name, split=split))
    assert build_manifest(tmp_path) == 3
    manifest = load_manifest(tmp_path)
    assert [record.id for record in manifest] == ["a/1", "b", "c"]
    assert manifest[-1].id == "c"
    assert manifest.rows("train").tolist() == [0, 2]
    assert manifest.column("frames").tolist() == [3, 3, 3]
    with pytest.raises(IndexError):
        manifest[3]


def test_manifest_pickles_as_its_root(tmp_path: Path) -> None:
    for k in range(200):
        write_record(tmp_path, dataclasses.replace(RECORD, id=f"{k:03}"))
    build_manifest(tmp_path)
    pickled = pickle.dumps(load_manifest(tmp_path))
    assert len(pickled) < 500
    assert pickle.loads(pickled)[17].id == "017"


def test_rebuilding_replaces_the_manifest_under_a_reader(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    build_manifest(tmp_path)
    before = load_manifest(tmp_path)
    write_record(tmp_path, dataclasses.replace(RECORD, id="later"))
    assert build_manifest(tmp_path) == 2
    assert [r.id for r in before] == ["talk/0"]
    assert [r.id for r in load_manifest(tmp_path)] == ["later", "talk/0"]


@pytest.mark.parametrize("path", ["../x.mp4", "a/../../x.mp4", "/etc/passwd", "..", "", "a\\..\\b", "C:/x"])
def test_paths_that_leave_the_root_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(LipsyncError, match=r"leaves .*: use paths relative to it"):
        inside(tmp_path, path)
    with pytest.raises(LipsyncError, match=r"leaves .*: use paths relative to it"):
        write_record(tmp_path, dataclasses.replace(RECORD, video=path))


def test_a_planted_json_cannot_point_outside(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(dataclasses.asdict(RECORD) | {"sound": "../../secret.wav"}))
    with pytest.raises(LipsyncError, match=r"leaves .*: use paths relative to it"):
        build_manifest(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"split": "dev"}, "train, val, test"), ({"box": [1.0, 2.0]}, "2 numbers"), ({"opening": [0.1]}, "1 openings")],
)
def test_wrong_records_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(LipsyncError, match=message):
        write_record(tmp_path, dataclasses.replace(RECORD, **change))
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("text", ["{", "[]", '{"id": "a"}', '"a"'])
def test_damaged_json_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(LipsyncError, match=r"odd\.json is not a clip's record"):
        build_manifest(tmp_path)


def test_missing_empty_and_damaged_corpora_are_named(tmp_path: Path) -> None:
    for action in (build_manifest, load_manifest):
        with pytest.raises(LipsyncError, match=r"no corpus at .*nowhere.*lipsync prepare"):
            action(tmp_path / "nowhere")
    with pytest.raises(LipsyncError, match="has no clips"):
        build_manifest(tmp_path)
    with pytest.raises(LipsyncError, match=r"manifest\.arrow is missing"):
        load_manifest(tmp_path)
    (tmp_path / MANIFEST).write_bytes(b"not an arrow file at all")
    with pytest.raises(LipsyncError, match="is damaged"):
        load_manifest(tmp_path)


def test_a_split_without_clips_is_named(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    build_manifest(tmp_path)
    with pytest.raises(LipsyncError, match="no val clips"):
        load_manifest(tmp_path).rows("val")


@pytest.mark.parametrize("name", ["deep/new", "."])
def test_a_new_or_empty_folder_is_claimed_once(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    for _ in range(2):
        claim(root, "a.settings", {"size": 96, "seed": 1})
    assert json.loads((root / "a.settings").read_text()) == {"size": 96, "seed": 1}
    with pytest.raises(LipsyncError, match=r"other settings \(size 96 there, 64 asked\)"):
        claim(root, "a.settings", {"size": 64, "seed": 1})
    with pytest.raises(LipsyncError, match=r"is not empty and has no b\.settings"):
        claim(root, "b.settings", {"size": 96})


def test_a_file_is_no_folder_to_claim(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LipsyncError, match="name another folder"):
        claim(tmp_path / "file", "a.settings", {"size": 96})


def test_a_claim_that_was_killed_or_is_made_at_the_same_moment_is_no_corpus_yet(tmp_path: Path) -> None:
    (tmp_path / "a.settings.0f3a.part").write_text("{")
    claim(tmp_path, "a.settings", {"size": 96})
    claim(tmp_path, "a.settings", {"size": 96})
    with pytest.raises(LipsyncError, match="96 there, 64 asked"):
        claim(tmp_path, "a.settings", {"size": 64})


def test_a_manifest_of_another_version_is_built_anew(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_record(tmp_path, dataclasses.replace(RECORD, id=name))
    build_manifest(tmp_path)
    table = pa.ipc.open_file(pa.memory_map(str(tmp_path / MANIFEST))).read_all().drop_columns(["sync_offset"])
    with pa.OSFile(str(tmp_path / "old"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    # A clip that an unfinished preparation added meanwhile has no split yet: it stays out.
    write_record(tmp_path, dataclasses.replace(RECORD, id="c"))
    (tmp_path / "old").rename(tmp_path / MANIFEST)
    assert [record.id for record in load_manifest(tmp_path)] == ["a", "b"]
    assert not list(tmp_path.rglob("*.part"))


def test_clips_that_fail_a_filter_are_in_no_split(tmp_path: Path) -> None:
    for name, confidence, yaw in (("a", 0.4, 10.0), ("b", 0.0, 10.0), ("c", 0.2, 10.0), ("d", 0.4, 40.0)):
        measured = {"yaw": yaw, "luma": 0.1}
        record = dataclasses.replace(RECORD, id=name, sync_offset=3, sync_confidence=confidence, measurements=measured)
        write_record(tmp_path, record)
    build_manifest(tmp_path)
    filters = {"sync_confidence": [0.2, None], "yaw": [None, 30], "luma": [0.1, 0.1], "seconds": [0.12, 0.12]}
    manifest = pickle.loads(pickle.dumps(load_manifest(tmp_path, filters)))
    assert manifest.rows("train").tolist() == [0, 2]
    assert (manifest[2].sync_offset, manifest[2].sync_confidence) == (3, 0.2)
    assert load_manifest(tmp_path).rows("train").tolist() == [0, 1, 2, 3]
    with pytest.raises(LipsyncError, match=r"no train clips that pass the filters yaw \[50, None\]: ask for less"):
        load_manifest(tmp_path, {"yaw": [50, None]}).rows("train")
    with pytest.raises(LipsyncError, match="'age' is none of face"):
        load_manifest(tmp_path, {"age": [None, 30]})


def test_measurements_are_columns_and_nan_where_unknown(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    write_record(tmp_path, dataclasses.replace(RECORD, id="bare", measurements={}))
    build_manifest(tmp_path)
    manifest = load_manifest(tmp_path)
    assert [manifest.column(name).dtype for name in MEASUREMENTS] == [np.float32] * len(MEASUREMENTS)
    assert np.array_equal(manifest.column("luma"), [np.nan, 110.5], equal_nan=True)
    assert np.isnan(manifest.column("yaw")).all()
    assert manifest.column("seconds").tolist() == [0.12, 0.12]


def test_names_stay_right_over_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "BATCH", 2)
    speakers = ["zoe", "bob", "zoe", "ann", "bob", "ann", "carl"]
    for k, speaker in enumerate(speakers):
        split = ("train", "test", "val")[k // 3]
        write_record(tmp_path, dataclasses.replace(RECORD, id=str(k), speaker=speaker, split=split))
    assert build_manifest(tmp_path) == 7
    manifest = load_manifest(tmp_path)
    assert [record.speaker for record in manifest] == manifest.column("speaker").tolist() == speakers
    assert [record.split for record in manifest] == ["train"] * 3 + ["test"] * 3 + ["val"]
    assert manifest.codes("speaker").tolist() == [3, 1, 3, 0, 1, 0, 2]
    assert [manifest.rows(split).tolist() for split in ("train", "val", "test")] == [[0, 1, 2], [6], [3, 4, 5]]


def test_a_table_is_written_a_batch_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "BATCH", 5)
    alive, most = [], 0

    def many() -> Iterator[Record]:
        nonlocal most
        for k in range(60):
            record = dataclasses.replace(RECORD, id=f"{k:02}")
            alive.append(weakref.ref(record))
            most = max(most, sum(reference() is not None for reference in alive))
            yield record

    assert records.write_table(tmp_path / MANIFEST, many()) == 60
    assert 5 <= most <= 11  # the batch being read, the one just written, and the loop's own
    assert [record.id for record in load_manifest(tmp_path)] == [f"{k:02}" for k in range(60)]


def test_the_same_records_give_the_same_manifest(tmp_path: Path) -> None:
    ids = ["a.b", "a", "a/0", "a-b/0", "a/B", "a0/1", "a/b/c", "Z"]
    for id in ids:
        write_record(tmp_path, dataclasses.replace(RECORD, id=id))
    build_manifest(tmp_path)
    assert [record.id for record in load_manifest(tmp_path)] == sorted(ids)
    first = (tmp_path / MANIFEST).read_bytes()
    build_manifest(tmp_path)
    assert (tmp_path / MANIFEST).read_bytes() == first


def test_a_record_that_was_moved_is_named(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    (tmp_path / "talk/0.json").rename(tmp_path / "talk/1.json")
    with pytest.raises(LipsyncError, match=r"1\.json calls itself talk/0"):
        build_manifest(tmp_path)
