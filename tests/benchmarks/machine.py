"""What benchmarks share: the machine in words, its measured ceilings, and variants timed in turn."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrices
FRAMES = {"cpu": 4, "cuda": 64}  # of the convolution, 256 channels at 64 px
COPIED = {"cpu": 2**26, "cuda": 2**30}  # numbers, far more than any cache holds


class Ceiling(NamedTuple):
    """What this device reaches, the best of several: TFLOP/s of a large product and convolution, GB/s of a copy."""

    product: float
    convolution: float
    copy: float

    def __str__(self) -> str:
        return (
            f"ceiling: matrix product {1000 * self.product:.0f} GFLOP/s, 3x3 convolution "
            f"{1000 * self.convolution:.0f} GFLOP/s, copy {self.copy:.1f} GB/s"
        )

    @property
    def flops(self) -> float:
        """FLOP/s of the faster of the two."""
        return 1e12 * max(self.product, self.convolution)


class Spread(NamedTuple):
    """Seconds: the median of the rounds, the least and the most."""

    median: float
    least: float
    most: float


def in_words(device: torch.device) -> str:
    """Says what a benchmark ran on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    host = f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB, torch {torch.__version__}"
    if device.type == "cpu":
        return f"{host}, {torch.get_num_threads()} threads"
    return f"{torch.cuda.get_device_name(device)}; {host}"


def ceiling(device: torch.device, dtype: torch.dtype = torch.float32) -> Ceiling:
    """Times a large product, a large convolution and a copy."""
    side, frames, copied = (sizes[device.type] for sizes in (SIDE, FRAMES, COPIED))
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    pictures = torch.randn(frames, 256, 64, 64, device=device, dtype=dtype)
    convolution = torch.nn.Conv2d(256, 256, 3, padding=1, device=device, dtype=dtype)
    if device.type == "cuda":
        pictures, convolution = (x.to(memory_format=torch.channels_last) for x in (pictures, convolution))
    numbers, target = (torch.ones(copied, device=device) for _ in range(2))
    with torch.inference_mode():
        found = in_turn(
            {
                "product": lambda: matrix @ matrix,
                "convolution": lambda: convolution(pictures),
                "copy": lambda: target.copy_(numbers),
            },
            rounds=7,
            device=device,
        )
    return Ceiling(
        2 * side**3 / found["product"].least / 1e12,
        2 * 9 * 256**2 * pictures[:, 0].numel() / found["convolution"].least / 1e12,
        2 * 4 * copied / found["copy"].least / 1e9,
    )


def in_turn(
    variants: dict[str, Callable[[], object]], rounds: int, device: torch.device, warm: bool = True
) -> dict[str, Spread]:
    """Runs all variants in turn, round by round, and times each run; `warm` runs each once before."""
    for run in variants.values() if warm else ():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            _wait(device)
            start = time.perf_counter()
            run()
            _wait(device)
            seconds[name].append(time.perf_counter() - start)
    return {name: Spread(statistics.median(times), min(times), max(times)) for name, times in seconds.items()}


def table(heads: list[str], rows: list[list[object]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
