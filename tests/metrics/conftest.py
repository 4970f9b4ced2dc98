"""Talking heads whose mouths move, as the judges see them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lipsync.corpora.clips import read_pictures
from lipsync.corpora.crop import crop
from lipsync.corpora.puppet.write import write_corpus
from lipsync.corpora.records import load_manifest
from lipsync.metrics.views import View, Viewer


@pytest.fixture(scope="session")
def viewer() -> Viewer:
    return Viewer()


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Tensor, Tensor]]:
    """Three Synthetic speakers: pictures (25, 3, 128, 128) in [-1, 1], and the openings (25,) they were drawn with."""
    root = Path(tmp_path_factory.mktemp("heads"))
    write_corpus(root, speakers=3, clips=1, seconds=1.0, seed=4, size=180)
    found = []
    for record in load_manifest(root):
        pictures = read_pictures(root, record, range(record.frames))
        found.append((crop(pictures, torch.tensor(record.box), 128) / 127.5 - 1, torch.tensor(record.opening)))
    return found


@pytest.fixture(scope="session")
def views(viewer: Viewer, heads: list[tuple[Tensor, Tensor]]) -> list[View]:
    return [viewer(pictures) for pictures, _ in heads]


@pytest.fixture(scope="session")
def copies(viewer: Viewer, heads: list[tuple[Tensor, Tensor]]) -> list[View]:
    """The heads, each with the lower half of its first frame in all frames."""
    found = []
    for pictures, _ in heads:
        copied = pictures.clone()
        copied[:, :, 64:] = pictures[:1, :, 64:]
        found.append(viewer(copied))
    return found


@pytest.fixture
def face() -> View:
    """Two frames of a flat mesh whose eyes are 0.5 apart and whose mouth is shut, and grey pictures."""
    landmarks = torch.full((2, 468, 2), 0.5)
    landmarks[:, 33], landmarks[:, 263] = torch.tensor([0.25, 0.3]), torch.tensor([0.75, 0.3])
    landmarks[:, 78], landmarks[:, 308] = torch.tensor([0.4, 0.7]), torch.tensor([0.6, 0.7])
    landmarks[:, 13] = landmarks[:, 14] = torch.tensor([0.5, 0.7])
    landmarks[:, 168], landmarks[:, 2] = torch.tensor([0.5, 0.3]), torch.tensor([0.5, 0.5])
    return View(torch.zeros(2, 3, 16, 16), landmarks, torch.zeros(2, 128))
