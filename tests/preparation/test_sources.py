import os

import pytest

from lipsync.errors import LipsyncError
from lipsync.preparation.sources import find_sources, split_sources


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_videos_are_found_everywhere_but_in_the_corpus(tmp_path):
    make(tmp_path, "b.MP4", "a/c.mkv", "a/notes.txt", "corpus/b/0.mp4", "a/deep/d.webm", "cover.png")
    sources, others = find_sources(tmp_path, tmp_path / "corpus")
    assert [(source.name, source.id) for source in sources] == [
        ("a/c.mkv", "a/c"),
        ("a/deep/d.webm", "a/deep/d"),
        ("b.MP4", "b"),
    ]
    assert all(source.path.is_file() for source in sources)
    assert others == {"a/notes.txt": "not a video", "cover.png": "not a video"}


def test_ids_stay_in_the_corpus_and_never_collide(tmp_path):
    make(tmp_path, "x/1.mp4", "y/1.mp4", "z.mp4", "z.avi", "a b.mp4", "a:b.mp4", "...mp4", "q/...mp4", "été.json.mp4")
    ids = {source.name: source.id for source in find_sources(tmp_path, tmp_path / "out")[0]}
    assert len(set(ids.values())) == 9
    assert (ids["x/1.mp4"], ids["y/1.mp4"], ids["été.json.mp4"]) == ("x/1", "y/1", "été_json")
    assert (ids["...mp4"], ids["q/...mp4"]) == ("__", "q/__")
    assert ids["z.mp4"].startswith("z-")
    assert ids["a b.mp4"].startswith("a_b-")
    # A namesake elsewhere changes nothing.
    make(tmp_path, "new/z.mp4")
    assert ids.items() < {source.name: source.id for source in find_sources(tmp_path, tmp_path / "out")[0]}.items()


@pytest.mark.skipif(os.name != "posix", reason="names are Unicode elsewhere")
def test_names_that_are_not_unicode_can_be_reported(tmp_path):
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.mp4", os.O_CREAT))
    ((source,), _) = find_sources(tmp_path, tmp_path / "out")
    assert source.path.is_file()
    assert (source.name, source.id) == ("?.mp4", "_")


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(LipsyncError, match="no such folder"):
        find_sources(tmp_path / "none", tmp_path)
    make(tmp_path, "a.txt")
    with pytest.raises(LipsyncError, match="no videos in this folder"):
        find_sources(tmp_path, tmp_path / "out")


def test_shares_are_about_right_and_depend_on_the_name_alone():
    names = [f"{k}.mp4" for k in range(4000)]
    splits = split_sources(names, 0.1)
    counts = {split: list(splits.values()).count(split) for split in ("train", "val", "test")}
    assert abs(counts["val"] - 400) < 60
    assert abs(counts["test"] - 400) < 60
    assert split_sources(reversed(names), 0.1) == splits
    more = split_sources([*names, *(f"new/{k}.mp4" for k in range(1000))], 0.1)
    assert all(more[name] == split for name, split in splits.items())


def test_few_sources_still_serve_every_split():
    assert split_sources([], 0.1) == {}
    assert split_sources(["a"], 0.1) == {"a": "train"}
    for fraction in (0.0, 0.1, 0.5, 1.0):
        for count in range(2, 8):
            used = set(split_sources([f"clip{k}" for k in range(count)], fraction).values())
            assert {"train", "val"} <= used
            assert count < 3 or used == {"train", "val", "test"}
