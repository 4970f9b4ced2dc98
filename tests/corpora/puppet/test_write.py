"""A corpus of talking heads is written once, whole, and the same every time."""

import json
from pathlib import Path

import decord
import numpy as np
import pytest

from lipsync.corpora.puppet.script import FPS
from lipsync.corpora.puppet.write import RECIPE, Clip, splits, write_clip, write_corpus
from lipsync.corpora.records import load_manifest
from lipsync.errors import LipsyncError
from lipsync.sound import map_wav

SMALL = {"speakers": 3, "clips": 2, "seconds": 1.0, "seed": 4, "size": 64}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("puppets") / "corpus"
    write_corpus(root, **SMALL)
    return root


def test_corpus_is_complete_and_readable(corpus):
    manifest = load_manifest(corpus)
    assert [record.id for record in manifest] == [f"s00{s}/c{c}" for s in range(3) for c in range(2)]
    for record in manifest:
        assert record.frames == len(record.opening) == 25
        assert record.box == pytest.approx([64 / 7, 64 - 64 / 7, 64 / 7, 64 - 64 / 7])
        reader = decord.VideoReader(str(corpus / record.video))
        assert len(reader) == 25
        assert reader.get_avg_fps() == FPS
        assert reader[24].shape == (64, 64, 3)
        assert len(map_wav(corpus / record.sound)) == 16_000


def test_nobody_is_in_two_splits(corpus):
    manifest = load_manifest(corpus)
    assert {(record.speaker, record.split) for record in manifest} == {
        ("s000", "train"),
        ("s001", "val"),
        ("s002", "test"),
    }
    everyone = splits(54)
    assert [everyone.count(split) for split in ("train", "val", "test")] == [40, 4, 10]


def test_interrupted_corpus_is_completed_and_finished_clips_are_kept(corpus):
    finished, lost = corpus / "s000/c0.mp4", corpus / "s001/c1.json"
    before, record = finished.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    (corpus / "s001/c1.mp4").write_bytes(b"half a vid")
    (corpus / "manifest.arrow").unlink()
    write_corpus(corpus, **SMALL)
    assert finished.stat().st_mtime_ns == before
    assert lost.read_bytes() == record
    assert len(decord.VideoReader(str(corpus / "s001/c1.mp4"))) == 25
    assert len(load_manifest(corpus)) == 6


def test_finished_corpus_is_left_alone(corpus):
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    write_corpus(corpus, **SMALL)
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before


def test_another_recipe_is_refused(corpus):
    with pytest.raises(LipsyncError, match="seed 4 there, 5 asked"):
        write_corpus(corpus, **SMALL | {"seed": 5})
    assert json.loads((corpus / RECIPE).read_text())["seed"] == 4


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(LipsyncError, match=r"not empty and has no synthetic\.recipe"):
        write_corpus(tmp_path, **SMALL)


def test_two_speakers_are_too_few(tmp_path):
    with pytest.raises(LipsyncError, match="3 speakers"):
        write_corpus(tmp_path / "corpus", speakers=2)
    assert not (tmp_path / "corpus").exists()


def test_same_seed_same_bytes_and_voices_move_with_their_mouths(tmp_path):
    correlations = []
    for speaker in range(4):
        for root in ("one", "other"):
            write_clip(Clip(str(tmp_path / root), speaker, 0, "train", 3.0, 0, 32))
        for ending in ("mp4", "wav", "json"):
            name = f"s00{speaker}/c0.{ending}"
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
        samples = map_wav(tmp_path / f"one/s00{speaker}/c0.wav").astype(float)
        opening = np.array(json.loads((tmp_path / f"one/s00{speaker}/c0.json").read_text())["opening"])
        # Loudness in 40 ms about every frame's own time f / 25.
        around = np.pad(samples, 320)[: len(opening) * 640].reshape(-1, 640)
        loudness = np.log(100 + np.sqrt((around**2).mean(1)))
        correlations.append([np.corrcoef(opening[5:-5], np.roll(loudness, lag)[5:-5])[0, 1] for lag in range(-4, 5)])
    assert np.mean(correlations, 0).argmax() == 4  # lag 0
