"""What is noted of a run's origin: command, code, corpus, machine; once more when it is resumed."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lipsync import provenance


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A package in a repository, committed."""
    package = tmp_path / "project" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / ".gitignore").write_text("*.pyc\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], cwd=package.parent, check=True)
    return package


def test_the_codes_state_is_its_commit_and_a_hash_of_its_changes(repository: Path) -> None:
    clean = provenance.git_state(repository)
    assert len(clean.pop("commit")) == 40
    assert clean == {"dirty": False}
    (repository / "left.pyc").write_text("ignored")
    assert not provenance.git_state(repository)["dirty"]
    seen = set()
    for name, text in (("__init__.py", "x = 1"), ("__init__.py", "x = 2"), ("new.py", "y = 1"), ("new.py", "y = 2")):
        (repository / name).write_text(text)
        state = provenance.git_state(repository)
        assert state["dirty"]
        seen.add(state["diff"])
    assert len(seen) == 4


def test_installed_code_is_not_of_the_repository_around_it(repository: Path, tmp_path: Path) -> None:
    installed = repository.parent / "venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert provenance.git_state(installed) is None
    (tmp_path / "elsewhere").mkdir()
    assert provenance.git_state(tmp_path / "elsewhere") is None


def test_an_entry_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, corpus = tmp_path / "run", tmp_path / "corpus"
    run.mkdir()
    corpus.mkdir()
    (corpus / "manifest.arrow").write_bytes(b"one")
    monkeypatch.chdir(tmp_path)
    assert provenance.entries(run) == []
    monkeypatch.setattr(sys, "argv", ["/usr/bin/lightning", "fit", "--name=a b"])
    provenance.record(run, corpus, 3)
    (corpus / "manifest.arrow").write_bytes(b"two")
    provenance.record(run, corpus, 3)
    provenance.record(run, None, None)
    first, second, third = provenance.entries(run)
    assert first["command"] == "lightning fit '--name=a b'"
    assert first["directory"] == str(tmp_path)
    assert first["seed"] == 3
    assert torch.__version__.startswith(first["packages"]["torch"])
    assert {"lipsync", "lightning", "wandb"} <= first["packages"].keys()
    assert "pytest" not in first["packages"]
    assert "CPU cores" in first["machine"]
    assert first["corpus"]["root"] == str(corpus)
    assert first["corpus"]["manifest"] != second["corpus"]["manifest"]
    assert (third["corpus"], third["seed"]) == (None, None)
