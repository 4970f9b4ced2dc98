"""A training step has the host wait for the device once, where frames are chosen, and sampling never does."""

import traceback
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import default_collate

from lipsync.corpora.synthetic import Synthetic
from lipsync.diff2lip import Diff2Lip
from lipsync.expert import FrozenExpert
from lipsync.networks.syncnet import SyncNet
from lipsync.perceptual import MeshDistance
from lipsync.thinning import thin

VALUES = ("nonzero", "_local_scalar_dense", "masked_select", "unique", "lift_fresh", "equal.default")


class Waits(TorchDispatchMode):
    """Notes the lines that would wait for a GPU: a value or count wanted, a tensor of numbers, a choice by booleans."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def __torch_dispatch__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict[str, object] | None = None
    ) -> object:
        listed = [item for argument in args if isinstance(argument, (list, tuple)) for item in argument]
        chosen = "index" in str(func) and any(isinstance(x, Tensor) and x.dtype == torch.bool for x in listed)
        if chosen or any(name in str(func) for name in VALUES):
            lines = [frame for frame in traceback.extract_stack() if "/lipsync/" in frame.filename]
            self.lines.append(f"{func}: {lines[-1].line if lines else 'elsewhere'}")
        return func(*args, **(kwargs or {}))


def test_it_notices() -> None:
    x = torch.arange(4.0)
    with Waits() as waits:
        x[x > 1]
        x.sum().item()
        torch.tensor(1.0)
        x[torch.arange(2)]
    assert [line.split(":")[0] for line in waits.lines] == [
        "aten.index.Tensor",
        "aten._local_scalar_dense.default",
        "aten.lift_fresh.default",
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    root = str(tmp_path_factory.mktemp("synthetic") / "corpus")
    data = Synthetic(root, speakers=3, clips=1, seconds=2.0, track_size=64, size=32)
    data.prepare_data()
    data.setup("fit")
    return data


WEIGHTS = dict.fromkeys(("simple", "vb", "l2", "sync", "mesh", "gan"), 1.0)


def tiny() -> Diff2Lip:
    unet = {"channels": 8, "channel_mult": [1, 2], "num_res_blocks": 1, "attention_resolutions": [16], "groups": 4}
    unet |= {"head_channels": 8, "audio_channels": [8, 8], "audio_blocks": 1}
    return Diff2Lip(size=32, unet=unet, loss_weights=WEIGHTS | {"lpips": 0.0}, whole_every=2)


def test_from_the_workers_batch_to_the_gradient(data: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny()
    model.expert, model.perceptual["mesh"] = FrozenExpert(SyncNet(width=4, norm="group")), MeshDistance()
    read = default_collate([data.train[place] for place in range(4)])

    def step() -> None:
        batch = data.on_after_batch_transfer(data.transfer_batch_to_device(read, "cpu", 0), 0)
        model.objective(batch, WEIGHTS)["loss"].backward()

    # The choice of frames reads the index, which is the one wait; it is made once a step.
    kept, chosen = thin(read["index"], 5, 2, 0), []
    monkeypatch.setattr("lipsync.objective.thin", lambda *_: chosen.append(1) or kept)
    step()  # after which tables and keys are known
    with Waits() as waits:
        step()
    assert waits.lines == []
    assert len(chosen) == 2


@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 3), ("ddpm", 3), ("fast", None)])
def test_sampling(sampler: str, steps: int | None) -> None:
    model, frames, mels = tiny().eval(), torch.rand(2, 3, 32, 32), torch.randn(2, 80, 16)
    model.generate(frames, frames[:1], mels, sampler=sampler, steps=steps)
    with Waits() as waits:
        model.generate(frames, frames[:1], mels, sampler=sampler, steps=steps)
    assert waits.lines == []
