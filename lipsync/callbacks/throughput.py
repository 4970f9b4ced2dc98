"""How fast training is, and what it waits for."""

import time

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import PassThroughProfiler
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lipsync.networks.unet import UNet

FETCHING = "[_TrainingEpochLoop].train_dataloader_next"  # Lightning's name for it
BACK_AND_FORTH = 3  # a backward pass costs about two forward ones


class Fetching(PassThroughProfiler):
    """Adds up the seconds in which training waited for a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = self.since = 0.0

    def start(self, action_name: str) -> None:
        if action_name == FETCHING:
            self.since = time.perf_counter()

    def stop(self, action_name: str) -> None:
        if action_name == FETCHING:
            self.seconds += time.perf_counter() - self.since


class Throughput(Callback):
    """Logs windows a second, the share of time spent waiting for data, and the UNet's FLOP utilisation.

    Utilisation counts the UNet alone, forward and backward, against what a large matrix product reaches on this device
    in the run's precision when training starts. Validation counts for nothing. The clock is the host's: it waits for
    the device no more than training does (Lightning's ThroughputMonitor does at every step).

    Args:
        every: Steps over which is averaged.
    """

    def __init__(self, every: int = 50) -> None:
        self.every = every
        self.fetching: Fetching | None = None
        self.work = self.ceiling = 0.0
        self._begin()

    def _begin(self) -> None:
        self.since, self.windows, self.steps = time.perf_counter(), 0, 0
        self.elsewhere = 0.0  # seconds since then that are not training's
        self.waited = self.fetching.seconds if self.fetching else 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and type(trainer.profiler) is PassThroughProfiler:  # a profiler of the user's says it itself
            trainer.profiler = self.fetching = Fetching()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if hasattr(pl_module, "unet"):
            self.work = BACK_AND_FORTH * frame_flops(pl_module.unet, pl_module.size)
            with trainer.precision_plugin.forward_context():
                self.ceiling = flops_a_second(pl_module.device)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()  # what came before, the corpus and the expert's examination among it, is not training's

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: dict[str, Tensor], batch_idx: int
    ) -> None:
        self.windows += len(batch["index"])
        self.steps += 1
        if self.steps < self.every:
            return
        seconds = time.perf_counter() - self.since - self.elsewhere
        told = {"throughput/windows": self.windows * trainer.world_size / seconds}
        if self.fetching is not None:
            told["throughput/waiting"] = (self.fetching.seconds - self.waited) / seconds
        if self.ceiling:
            every, frames = pl_module.hparams.whole_every, batch["frames"].shape[1]
            trained = self.windows * (frames + every - 1) / every  # one window of `every` is trained whole
            told["throughput/utilisation"] = self.work * trained / seconds / self.ceiling
        pl_module.log_dict(told)
        self._begin()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.left = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.elsewhere += time.perf_counter() - self.left


@torch.enable_grad()  # as in training: painting may take fewer
def frame_flops(unet: UNet, size: int) -> int:
    """Counts the floating point operations of one frame's way through the UNet."""
    weight = next(unet.parameters())
    picture = weight.new_zeros(1, 3, size, size)
    t = torch.zeros(1, dtype=torch.long, device=weight.device)
    with FlopCounterMode(display=False) as counter:
        unet.forward(picture, t, picture, picture, weight.new_zeros(1, 80, 16))  # called so, it is not compiled
    return counter.get_total_flops()


def flops_a_second(device: torch.device) -> float:
    """Measures what a matrix product reaches here, in the precision that is set: the best of five."""
    autocast = torch.is_autocast_enabled(device.type)
    precision = torch.get_autocast_dtype(device.type) if autocast else torch.get_default_dtype()
    side = 1024 if device.type == "cpu" else 8192
    # Random numbers would move the run's generator.
    matrix = torch.full((side, side), 1e-3, device=device, dtype=precision)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        _ = (matrix @ matrix)[0, 0].item()  # which waits for the device
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds)
