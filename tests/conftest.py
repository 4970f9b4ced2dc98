"""Fixtures that every test may use."""

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from lipsync.networks.syncnet_v2 import SyncNetV2
from lipsync.networks.unet import UNet

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where what is remembered of videos goes: not the user's own folder."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with reference numbers, models and real clips ($LIPSYNC_SHARED, default `../shared`); skips without it."""
    folder = Path(os.environ.get("LIPSYNC_SHARED", ROOT.parent / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"no reference material at {folder}")
    return folder


@pytest.fixture(scope="session")
def reference(shared: Path) -> Callable[[str], dict[str, Tensor | str]]:
    """Reads the arrays of reference/NAME.npz; a text stays one."""

    def read(name: str) -> dict[str, Tensor | str]:
        with np.load(shared / "reference" / f"{name}.npz", allow_pickle=False) as arrays:
            texts = {key for key in arrays.files if arrays[key].dtype.kind == "U"}
            return {key: str(arrays[key]) if key in texts else torch.from_numpy(arrays[key]) for key in arrays.files}

    return read


@pytest.fixture(scope="session")
def fill(shared: Path) -> ModuleType:
    """The reference's own fill.py, which draws weights and inputs from their names."""
    spec = importlib.util.spec_from_file_location("fill", shared / "reference" / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def weights(shared: Path, fill: ModuleType) -> Callable[[str], dict[str, Tensor]]:
    """Rebuilds the parameters that reference/NAME.npz was computed with."""

    def rebuild(name: str) -> dict[str, Tensor]:
        rows = fill.load_keys(shared / "reference" / f"{name}_keys.json")
        state = fill.fill(rows)
        for key, _, _, crc in rows[:8]:
            assert fill.crc(state[key]) == crc, "numpy draws other numbers than the reference was made with"
        return {key: torch.from_numpy(array) for key, array in state.items()}

    return rebuild


@pytest.fixture(scope="session")
def unet_64(weights: Callable[[str], dict[str, Tensor]]) -> UNet:
    """The small network of the reference."""
    unet = UNet(64, 32, (1, 2, 3, 4), num_res_blocks=1, head_channels=16)
    unet.load_state_dict(weights("tfg_64"))
    return unet.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def syncnet_v2(weights: Callable[[str], dict[str, Tensor]]) -> SyncNetV2:
    """SyncNet-v2 with the weights of the reference."""
    syncnet = SyncNetV2()
    syncnet.load_state_dict(weights("syncnet_v2"))
    return syncnet.eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
