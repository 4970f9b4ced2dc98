"""Fixtures of preparation."""

from pathlib import Path
from typing import NamedTuple

import pytest
import trees
from red_squares import RedSquares

from lipsync.preparation import prepare as module
from lipsync.preparation.report import Report


@pytest.fixture
def _red_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Red squares are faces, found in this process."""
    monkeypatch.setattr(module, "FaceFinder", RedSquares)
    monkeypatch.setattr(module, "cores", lambda: 1)  # other processes would see the real one


@pytest.fixture(scope="session")
def all_takes(tmp_path_factory: pytest.TempPathFactory) -> trees.Takes:
    """Four marked talking heads."""
    drawn = trees.takes(tmp_path_factory.mktemp("heads") / "corpus", 4)
    return [trees.mark(take, number) for number, take in enumerate(drawn)]


class Taken(NamedTuple):
    """A published corpus in its own tree, and what was prepared from it."""

    layout: str
    raw: Path
    out: Path
    report: Report


@pytest.fixture(scope="session", params=trees.TREES)
def taken(request: pytest.FixtureRequest, all_takes: trees.Takes, tmp_path_factory: pytest.TempPathFactory) -> Taken:
    """Each published corpus, with two clips that do not keep time."""
    folder, layout = tmp_path_factory.mktemp(request.param), request.param
    write, add_unsteady, _ = trees.TREES[layout]
    raw, out = write(folder / "raw", all_takes), folder / "corpus"
    add_unsteady(raw, all_takes[0])
    return Taken(layout, raw, out, module.prepare(str(raw), str(out), layout=layout, look_every=2, processes=1))
