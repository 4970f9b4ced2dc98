"""The UNet's forward and backward pass at the official size, against the plain port and this machine's ceiling.

    python -m tests.benchmarks.network [--device cpu] [--batch 4] [--rounds 5] [--size 128]

Variants run in turn; each is reported as its median (least to most), its share of the measured ceiling (of a large
product or convolution in the same precision, whichever is faster; FLOPs as the direct algorithm needs them, so that
Winograd's convolutions may exceed it), its ratio to the plain port, the largest difference from that, and the memory
that it takes beyond the weights.
"""

import argparse
import resource
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from lipsync.callbacks.throughput import BACK_AND_FORTH, frame_flops
from lipsync.networks.unet import UNet
from lipsync.side_by_side import side_by_side
from tests.benchmarks.machine import Spread, ceiling, in_turn, in_words, table
from tests.benchmarks.plain import drawn, plainly

Inputs = tuple[Tensor, ...]


def inputs(batch: int, size: int, device: torch.device) -> Inputs:
    pictures = torch.randn(3, batch, 3, size, size, device=device)
    return (
        pictures[0],
        torch.randint(0, 1000, (batch,), device=device),
        *pictures[1:],
        torch.randn(batch, 80, 16, device=device),
    )


def forwards(network: UNet, given: Inputs, device: torch.device) -> dict[str, Callable[[], Tensor]]:
    """Ways through the network without gradients."""
    x_t, t, masked, reference, mels = given
    audio = network.embed_audio(mels)

    def denoise() -> Tensor:
        return network.denoise(x_t, t, masked, reference, audio)

    def rounded() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return denoise()

    found = {"plain port": partial(plainly, network, *given), "ours": denoise, "ours, bf16": rounded}
    if device.type == "cpu":
        found["ours, a core a frame"] = partial(side_by_side, network.denoise, x_t, t, masked, reference, audio)
    if device.type == "cuda":
        compiled = torch.compile(network.denoise)

        def both() -> Tensor:
            with torch.autocast(device.type, torch.bfloat16):
                return compiled(x_t, t, masked, reference, audio)

        found["ours, bf16, compiled"] = both
    return found


def backwards(network: UNet, given: Inputs, device: torch.device) -> dict[str, Callable[[], Tensor]]:
    """Ways there and back."""

    def learn(forward: Callable[..., Tensor], rounded: bool = False) -> Tensor:
        network.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=rounded):
            output = forward(*given)
        output.square().mean().backward()
        return network.out[-1].weight.grad

    return {
        "plain port": partial(learn, partial(plainly, network)),
        "ours": partial(learn, network),
        "ours, bf16": partial(learn, network, True),
    }


def report(
    title: str, variants: dict[str, Callable[[], Tensor]], flops: float, rounds: int, device: torch.device
) -> None:
    """Times variants and prints their table."""
    tops = {dtype: ceiling(device, dtype) for dtype in (torch.float32, torch.bfloat16)}
    print(f"\n{title}; float32 {tops[torch.float32]}; bf16 {tops[torch.bfloat16]}\n")
    wanted = variants["plain port"]().clone()
    errors = {name: (run() - wanted).abs().max().item() for name, run in variants.items()}
    times = in_turn(variants, rounds, device)
    rows = []
    for name, spent in times.items():
        top = tops[torch.bfloat16 if "bf16" in name else torch.float32].flops
        share, ratio = flops / spent.median / top, times["plain port"].median / spent.median
        rows.append([name, shown(spent), f"{share:.0%}", f"{ratio:.2f}", f"{errors[name]:.1e}"])
    print(table(["variant", "ms, median (least to most)", "of the ceiling", "times the plain port", "error"], rows))


def shown(spent: Spread) -> str:
    return f"{1000 * spent.median:.0f} ({1000 * spent.least:.0f} to {1000 * spent.most:.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=128)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    print(in_words(device))
    torch.manual_seed(0)
    network = drawn(UNet(arguments.size)).to(device)
    given, work = inputs(arguments.batch, arguments.size, device), frame_flops(network, arguments.size)
    what = f"{arguments.batch} frames of {arguments.size} px, {work / 1e9:.1f} GFLOP each"
    flops = arguments.batch * work
    with torch.no_grad():
        report(f"Forward: {what}", forwards(network, given, device), flops, arguments.rounds, device)
    there_and_back = backwards(network, given, device)
    report(f"Forward and backward: {what}", there_and_back, BACK_AND_FORTH * flops, arguments.rounds, device)
    peak = (
        torch.cuda.max_memory_allocated(device) / 2**20
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )
    print(f"\npeak of memory: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
