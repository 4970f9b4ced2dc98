"""Shifts of known size are found, written down and made up for; what is doubtful stays where it is."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from together import together

from lipsync import LipsyncError
from lipsync.corpora.clips import read_sound
from lipsync.corpora.puppet.write import write_corpus
from lipsync.corpora.records import MANIFEST, load_manifest
from lipsync.corpora.windows import Windows
from lipsync.preparation import sync as module
from lipsync.preparation.sync import sync
from lipsync.sound import map_wav, write_wav


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """Held-out speakers; every clip's sound is late by another number of frames."""
    root = tmp_path_factory.mktemp("corpus") / "synthetic"
    write_corpus(root, speakers=6, clips=1, seconds=3.0, size=112, seed=77)
    truth = {}
    for late, record in zip((-7, -2, 0, 1, 5, 11), load_manifest(root), strict=True):
        sound = np.array(map_wav(str(root / record.sound)))
        write_wav(root / record.sound, np.roll(sound, 640 * late))
        truth[record.id] = late
    return root, truth


def test_known_shifts_are_found_to_the_frame_and_corrected_at_reading(shifted: tuple, tmp_path: Path) -> None:
    root, truth = shutil.copytree(shifted[0], tmp_path / "corpus"), shifted[1]
    before = {path: path.read_bytes() for path in root.rglob("*.wav")}
    assert sync(str(root), "synthetic_eval", device="cpu") == truth
    assert before == {path: path.read_bytes() for path in root.rglob("*.wav")}
    for record in load_manifest(root):
        assert record.sync_offset == truth[record.id]
        assert record.sync_confidence > 0.05
        stored = np.array(map_wav(str(root / record.sound)))
        late = 640 * record.sync_offset
        assert np.array_equal(read_sound(root, record, 20_000, 3000), stored[20_000 + late : 23_000 + late])
    # Measured again, it starts from the sound as it is stored.
    assert sync(str(root), "synthetic_eval", device="cpu") == truth


def test_filters_use_the_confidence(shifted: tuple, tmp_path: Path) -> None:
    root = shutil.copytree(shifted[0], tmp_path / "corpus")
    with pytest.raises(LipsyncError, match="run `lipsync sync`"):
        Windows(load_manifest(root, {"sync_confidence": [0.1, None]}), "train")
    sync(str(root), "synthetic_eval", device="cpu")
    confidence = load_manifest(root).column("sync_confidence")
    train = load_manifest(root).column("split") == "train"
    bar = float(np.median(confidence[train]))
    kept = Windows(load_manifest(root, {"sync_confidence": [bar, None]}), "train").rows
    assert len(kept) == (confidence[train] >= bar).sum() < train.sum()
    with pytest.raises(LipsyncError, match="ask for less"):
        Windows(load_manifest(root, {"sync_confidence": [2.0, None]}), "train")


def test_what_is_doubtful_stays(shifted: tuple, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = shutil.copytree(shifted[0], tmp_path / "corpus")
    record = load_manifest(root)[0]
    (root / load_manifest(root)[1].video).write_bytes(b"broken")
    sync(str(root), "synthetic_eval", min_confidence=5.0, device="cpu")
    assert "5 doubtful, 1 unreadable" in capsys.readouterr().out
    again = load_manifest(root)[0]
    assert dataclasses.replace(again, sync_confidence=None) == record


def said(root: Path) -> dict[str, bytes]:
    """Records and manifest."""
    files = [*root.rglob("*.json"), root / MANIFEST]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_no_clip_is_measured_twice_by_one_expert(
    shifted: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = (shutil.copytree(shifted[0], tmp_path / name) for name in ("whole", "cut"))
    truth = shifted[1]
    sync(str(whole), "synthetic_eval", device="cpu")
    heard: list[int] = []

    def measure(*arguments: object, measure: Callable = module.measure) -> tuple[int, float]:
        heard.append(1)
        if len(heard) == 4:
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(module, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        sync(str(cut), "synthetic_eval", device="cpu")
    assert sync(str(cut), "synthetic_eval", device="cpu") == truth
    assert len(heard) == 4 + 3
    assert said(cut) == said(whole)
    # What is believed is decided anew, from what was measured.
    assert sync(str(cut), "synthetic_eval", min_confidence=5.0, device="cpu") == truth
    assert {record.sync_offset for record in load_manifest(cut)} == {0}
    assert sync(str(cut), "synthetic_eval", device="cpu") == truth
    assert said(cut) == said(whole)
    assert len(heard) == 7
    sync(str(cut), "synthetic", device="cpu")
    assert len(heard) == 7 + 6


def test_two_at_once_measure_every_clip_once(shifted: tuple, tmp_path: Path) -> None:
    whole, both = (shutil.copytree(shifted[0], tmp_path / name) for name in ("whole", "both"))
    sync(str(whole), "synthetic_eval", device="cpu")
    written = together(lambda: sync(str(both), "synthetic_eval", device="cpu"), tmp_path / "notes")
    records = sorted(path for paths in written for path in paths if path.endswith(".json"))
    assert records == sorted(str(path) for path in both.rglob("*.json"))
    assert said(both) == said(whole)
