"""Clips on disk: what is written is read, a killed evaluation is gone on with, other rules are refused."""

from pathlib import Path

import pytest
import torch

from lipsync.errors import LipsyncError
from lipsync.evaluation.clips import Clip, Folder, is_unfinished, plain


def test_what_is_written_is_read(tmp_path: Path) -> None:
    about = {"frames": 25, "protocols": ("cross",)}
    seen = torch.rand(3, 4)
    # Two rows may show the same pictures.
    clip = Clip("a/0 < b/1", {"truth": {"lse_d": 0.1 + 0.2}}, {"truth": seen, "copy": seen}, None, {"x": "films/x.mp4"})
    failed = Clip("ü", {}, {}, "broken")
    store = Folder(tmp_path / "test", about)
    assert not store.has(7)
    store.write(7, clip)
    store.write(8, failed)
    again = Folder(tmp_path / "test", about)  # a tuple is a list in a file, and no other rule
    assert again.has(7)
    assert is_unfinished(tmp_path / "test")
    first, second = again.read([7, 8])
    assert (first.name, first.scores, first.films) == (clip.name, clip.scores, clip.films)
    assert all(torch.equal(first.features[row], seen) for row in ("truth", "copy"))
    assert (second.name, second.failed, second.features) == ("ü", "broken", {})


def test_other_rules_are_refused(tmp_path: Path) -> None:
    Folder(tmp_path, {"steps": 8, "seed": 0})
    with pytest.raises(LipsyncError, match=r"unfinished evaluation by other rules \(steps 8 there, 25 asked\)"):
        Folder(tmp_path, {"steps": 25, "seed": 0})


def test_undefined_scores_are_left_out() -> None:
    assert plain({"a": torch.tensor(1.5), "b": torch.tensor(torch.nan)}) == {"a": 1.5}
