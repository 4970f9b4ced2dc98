"""Pairs: who drives whom, which frames, and the sound and mouths that go with them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lipsync.corpora.mel import context
from lipsync.corpora.pairs import Pairs, drivers
from lipsync.corpora.records import build_manifest, load_manifest
from lipsync.errors import LipsyncError


@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=8).filter(lambda s: sum(s) >= 2), seed=st.integers(0, 9))
def test_drivers_are_others(sizes: list[int], seed: int) -> None:
    speakers = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(str)
    driving, own = drivers(speakers, seed), np.arange(len(speakers))
    assert sorted(driving) == own.tolist()
    assert (driving != own).all()
    if 2 * max(sizes) <= sum(sizes):
        assert (speakers[driving] != speakers).all()


def test_drivers_depend_on_the_seed_alone() -> None:
    speakers = np.array([f"s{k % 10}" for k in range(30)])
    assert np.array_equal(drivers(speakers, 1), drivers(speakers, 1))
    assert not np.array_equal(drivers(speakers, 1), drivers(speakers, 2))


def test_who_drives_whom_never_changes(corpus: Path) -> None:
    manifest = load_manifest(corpus)
    assert Pairs(manifest, "train", 10, seed=1).rows.tolist() == [[0, 2], [1, 0], [2, 1]]
    pairs = Pairs(manifest, "val", 10, seed=2)
    assert pairs.rows.tolist() == [[3, 4], [4, 5], [5, 3]]
    assert [pairs[i]["speaker"] for i in range(3)] == [2, 3, 3]


def test_a_pair_is_what_its_records_say(corpus: Path, clips: tuple, sound: Callable) -> None:
    manifest = load_manifest(corpus)
    pairs = Pairs(manifest, "val", frames=12)
    assert len(pairs) == 3
    for i in range(3):
        pair = pairs[i]
        target, driving = pairs.rows[i]
        assert pair["index"] == target == 3 + i != driving
        first, driving_first = clips[target][3] - 12, clips[driving][3] - 12
        assert (pair["first_frame"], pair["driving_first_frame"]) == (first, driving_first)
        green = torch.cat([pair["reference"], pair["frames"]])[:, 1].float().mean((1, 2))
        assert ((green - 40) / 4).round().tolist() == [0, *range(first, first + 12)]
        for name, clip, begin in (("audio", target, first), ("driving_audio", driving, driving_first)):
            start, count = context(begin, 12)
            whole = np.pad(sound(clip), (1000, 8000))
            assert np.array_equal(pair[name], whole[start + 1000 : start + 1000 + count])
        heard = sound(driving)[640 * driving_first :]
        assert np.array_equal(pair["driving_sound"], heard)
        expected = driving + 0.01 * torch.arange(driving_first, driving_first + 12)
        torch.testing.assert_close(pair["opening_driving"], expected)


def test_long_clips_begin_after_a_second(corpus: Path) -> None:
    pairs = Pairs(load_manifest(corpus), "train", frames=10)
    assert [pairs[i]["first_frame"] for i in range(3)] == [25, 20, 10]


def test_pairs_are_spread_over_the_split(corpus: Path) -> None:
    assert Pairs(load_manifest(corpus), "train", 10, count=2).rows[:, 0].tolist() == [0, 1]
    assert Pairs(load_manifest(corpus), "val", 10, count=1).rows[:, 0].tolist() == [3]


def test_a_split_of_one_clip_hears_the_whole_corpus(corpus: Path) -> None:
    pairs = Pairs(load_manifest(corpus), "test", frames=10)
    assert len(pairs) == 1
    assert pairs.rows[0, 0] == 6
    assert pairs.rows[0, 1] in range(6)


def test_too_few_long_clips_are_named(corpus: Path) -> None:
    with pytest.raises(LipsyncError, match=r"0 val clips and 1 in all of more than 30 frames.*pair_frames"):
        Pairs(load_manifest(corpus), "val", frames=30)


def test_missing_openings_are_named(corpus: Path) -> None:
    path = corpus / "dora/1.json"
    text = path.read_text()
    path.write_text(text[: text.index('"opening"')] + '"opening": [], "crop_rule": "square", "measurements": {}}')
    build_manifest(corpus)
    manifest, listed = load_manifest(corpus), corpus / "pairs.txt"
    listed.write_text("dora/1 carl/0\n")
    for by in (None, str(listed)):
        with pytest.raises(LipsyncError, match=r"clip dora/1 .* has no mouth opening"):
            Pairs(manifest, "val", frames=10, listed=by)
    pair = Pairs(manifest, "val", frames=10, listed=str(listed), tolerant=True)[0]
    assert pair["opening_driving"].isnan().all()
    assert pair["opening"].isfinite().all()
