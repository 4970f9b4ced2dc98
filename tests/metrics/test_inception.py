"""The FID's network sees what the package's own does, and has the weights that were asked for or none at all."""

import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lipsync.errors import LipsyncError
from lipsync.evaluation.judges import Judges
from lipsync.metrics.inception import Inception
from lipsync.metrics.views import Viewer

PACKAGE = "torch_fidelity.feature_extractor_inceptionv3"


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """The package's network, with drawn weights that keep a picture's contrast through all layers."""
    package = pytest.importorskip(PACKAGE, reason="torch-fidelity is not installed")
    with pytest.MonkeyPatch.context() as bare:
        bare.setattr(package, "load_state_dict_from_url", lambda *_, **__: {})
        bare.setattr(package.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = package.FeatureExtractorInceptionV3("bare", ["2048"])
    draw = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        if weight.ndim > 1:
            weight.normal_(std=(2 / weight[0].numel()) ** 0.5, generator=draw)
    return network


@pytest.fixture(scope="module")
def weights(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("hub") / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    path.parent.mkdir()
    torch.save(network.state_dict(), path)
    yield str(path)
    path.unlink()  # 95 MB


@pytest.fixture(scope="module")
def judges(weights: str) -> Judges:
    return Judges(None, fid_weights=weights)


def test_features_are_those_of_the_package(network: nn.Module, judges: Judges, viewer: Viewer) -> None:
    draw = torch.Generator().manual_seed(0)
    pictures = (torch.randn(3, 3, 40, 40, generator=draw) * torch.tensor([0.1, 0.5, 1.0])[:, None, None, None]) + 0.2
    levels = np.rint(np.clip(pictures.numpy() + 1, 0, 2) * 127.5).astype(np.uint8)
    expected = network(torch.from_numpy(levels))[0]
    assert expected.std(dim=0).mean() > 0.1 * expected.mean() > 0  # it tells pictures apart
    seen = judges.viewer(pictures)
    torch.testing.assert_close(seen.features, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert seen.features.shape == (3, judges.viewer.dimensions)
    assert torch.equal(seen.landmarks, viewer(pictures).landmarks)
    assert (judges.viewer.frechet, viewer.frechet) == ("fid", "fd_mesh")
    assert not any(weight.requires_grad for weight in judges.viewer.inception.parameters())


def test_what_was_downloaded_before_is_taken(weights: str, judges: Judges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(Path(weights).parents[1]))
    given, taken = judges.viewer.inception.state_dict(), Inception("download").state_dict()
    assert all(torch.equal(taken[name], weight) for name, weight in given.items())


def test_a_download_that_fails_is_named(network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(urllib.request, "_opener", None)  # it would remember another way out
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody answers
    with pytest.raises(LipsyncError, match=r"inception-.*\.pth: cannot be had"):
        Inception("download")


class Command:
    """What a pickle must not be able to do."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("touched"),)


@pytest.mark.parametrize("content", ["text", "code", "list", "others"])
def test_a_file_of_something_else_is_named(
    content: str, network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    if content == "text":
        path.write_text("<html>")
    else:
        torch.save({"code": Command(), "list": [1, 2], "others": {"fc.bias": torch.zeros(8)}}[content], path)
    with pytest.raises(LipsyncError, match=r"weights\.pth: not the FID's weights") as refused:
        Inception(str(path))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "touched").exists()


def test_a_missing_package_or_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(LipsyncError, match=r"none\.pth: no weights for the FID: set fid_weights to") as told:
        Inception(str(tmp_path / "none.pth"))
    assert "\n" not in str(told.value)
    (tmp_path / "empty.pth").touch()
    for weights in (str(tmp_path / "empty.pth"), "download"):
        with pytest.raises(LipsyncError, match=r"torch-fidelity, .* pip install -e '\.\[fid\]'$") as told:
            Viewer(weights)
        assert "\n" not in str(told.value)
