"""Lists of pairs as other systems write them: by ids, by their ends, with and without endings."""

from pathlib import Path

import numpy as np
import pytest

from lipsync.corpora.pair_list import pair_list, read_pair_list
from lipsync.corpora.pairs import Pairs
from lipsync.corpora.records import build_manifest, load_manifest
from lipsync.errors import LipsyncError


def test_audio_comes_first_and_names_may_be_ends(corpus: Path, tmp_path: Path) -> None:
    manifest, path = load_manifest(corpus), tmp_path / "pairs.txt"
    rows = manifest.rows("val")  # carl/0, dora/0, dora/1 are rows 3, 4, 5
    path.write_text("carl/0 dora/1.mp4\n\n  dora/0.mp4   carl/0 \n1\n")
    assert read_pair_list(path, manifest, rows).tolist() == [[5, 3], [3, 4], [5, 5]]


def test_a_video_of_one_clip_may_be_named_as_the_official_lists_do(corpus: Path, write_clip, tmp_path: Path) -> None:
    write_clip(corpus, 7, "main/6330/00011/0", "zoe", "val", 20)
    build_manifest(corpus)
    manifest, path = load_manifest(corpus), tmp_path / "pairs.txt"
    names = [record.id for record in manifest]
    zoe, carl = names.index("main/6330/00011/0"), names.index("carl/0")
    path.write_text("carl 6330/00011\n6330/00011.mp4 carl/0\nmain/6330/00011\n")
    assert read_pair_list(path, manifest, manifest.rows("val")).tolist() == [[zoe, carl], [carl, zoe], [zoe, zoe]]


def test_what_is_written_is_read_though_one_id_is_the_end_of_another(corpus: Path, write_clip, tmp_path: Path) -> None:
    write_clip(corpus, 7, "more/carl/0", "zoe", "val", 20)
    build_manifest(corpus)
    manifest, path = load_manifest(corpus), tmp_path / "pairs.txt"
    pairs = Pairs(manifest, "val", 10)
    path.write_text(pair_list(manifest, pairs.rows.tolist()))
    assert np.array_equal(Pairs(manifest, "val", 10, listed=str(path)).rows, pairs.rows)


def test_what_is_written_is_read(corpus: Path, tmp_path: Path) -> None:
    manifest, path = load_manifest(corpus), tmp_path / "pairs.txt"
    pairs = Pairs(manifest, "val", 10, seed=2)
    path.write_text(pair_list(manifest, pairs.rows.tolist()))
    assert np.array_equal(Pairs(manifest, "val", 10, seed=7, listed=str(path)).rows, pairs.rows)
    assert pairs.name(0) == "carl/0 < dora/0"
    path.write_text("dora/1")
    assert Pairs(manifest, "val", 10, listed=str(path)).name(0) == "dora/1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("carl/0 dora/0 dora/1", "line 1: 3 words"),
        ("carl/0 dora/0\ncarl/0 zoe/0", "line 2: zoe/0 names no clips"),
        ("0 dora/1", "0 names 2 clips"),
        ("carl/0 dora", "dora names 2 clips"),
        ("anna/0 dora/1", "anna/0 names no clips of the split"),
        ("dora/0 dora/1\ndora/0.mp4 dora/1", "line 2: this pair stands in the list twice"),
        ("\n \n", "no pairs in this list"),
    ],
)
def test_mistakes_are_named(corpus: Path, tmp_path: Path, text: str, told: str) -> None:
    manifest, path = load_manifest(corpus), tmp_path / "pairs.txt"
    path.write_text(text)
    with pytest.raises(LipsyncError, match=told):
        read_pair_list(path, manifest, manifest.rows("val"))
    path.unlink()
    with pytest.raises(LipsyncError, match="no such list"):
        read_pair_list(path, manifest, manifest.rows("val"))


def test_a_pair_that_cannot_be_read_is_a_sample_of_its_own(corpus: Path, tmp_path: Path) -> None:
    (corpus / "dora/1.mp4").write_bytes(b"broken")
    (tmp_path / "pairs.txt").write_text("dora/0 dora/1\ndora/0 carl/0\n")
    listed = {"listed": str(tmp_path / "pairs.txt"), "frames": 22}
    tolerant = Pairs(load_manifest(corpus), "val", **listed, tolerant=True)
    assert tolerant[0] == {"pair": 0, "index": 5, "failed": "dora/1 has 16 frames, fewer than the 22 of pair_frames"}
    listed["frames"] = 12
    failed = Pairs(load_manifest(corpus), "val", **listed, tolerant=True)[0]
    assert failed.keys() == {"pair", "index", "failed"}
    assert "dora/1.mp4" in failed["failed"]
    with pytest.raises(Exception, match=r"dora/1\.mp4"):
        Pairs(load_manifest(corpus), "val", **listed)[0]
