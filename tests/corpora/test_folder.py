"""Folder takes a whole corpus, or names what is wrong with it."""

import os
from pathlib import Path

import pytest

from lipsync.corpora.folder import Folder
from lipsync.corpora.records import build_manifest
from lipsync.errors import LipsyncError


def test_folder_reads_a_prepared_corpus(corpus: Path) -> None:
    manifest = corpus / "manifest.arrow"
    os.utime(manifest, (1, 1))
    folder = Folder(str(corpus), workers=0)
    folder.prepare_data()
    folder.setup("fit")
    assert manifest.stat().st_mtime == 1  # not built again
    assert [len(folder.train.rows), len(folder.val.rows)] == [3, 3]


def test_an_interrupted_preparation_is_named(corpus: Path) -> None:
    (corpus / "manifest.arrow").unlink()
    with pytest.raises(LipsyncError, match=r"no finished corpus: run `lipsync prepare VIDEOS --out .*as often"):
        Folder(str(corpus)).prepare_data()


def test_no_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(LipsyncError, match=r"no corpus at .*absent.*lipsync prepare"):
        Folder(str(tmp_path / "absent")).setup("fit")


def test_a_corpus_without_validation_clips_is_named(corpus: Path) -> None:
    for path in corpus.glob("*/*.json"):
        path.write_text(path.read_text().replace('"val"', '"train"'))
    build_manifest(corpus)
    folder = Folder(str(corpus))
    with pytest.raises(LipsyncError, match="has no val clips: prepare more videos, or a larger val_fraction"):
        folder.setup("fit")
