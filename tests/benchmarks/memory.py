"""The peak of memory of a training step and of dubbing, and what fits into 8, 24 and 80 GB.

    python -m tests.benchmarks.memory [--experiments base official official+hires]

Each row is measured in fresh processes on the CPU, with some windows and with twice as many (16 and 32 frames for
dubbing): what grows with them, and what does not, weights, gradients, Adam's averages and libraries. What fits is the
line through both, less 1 GB for a device's own needs. All terms count, the expert's and the mesh's networks included.
Frames are dubbed in bfloat16, as on a GPU all at once: in float32 a CPU takes them a few at a time. An experiment that
comes after others names them: official+hires.
"""

import argparse
import json
import resource
import subprocess
import sys

import torch

from lipsync.dubbing.generate import BATCH
from tests.benchmarks.machine import in_words, table
from tests.benchmarks.training import TERMS, batch_of, model_of

CARDS = (8, 24, 80)
OWN = 1.0  # GB
# Each with its number of windows, in those that one is whole of: enough for activations to be what is large.
WAYS = {
    "training, float32": (1, {"rounded": False, "again": False}),
    "training, bf16": (2, {"rounded": True, "again": False}),
    "training, bf16, checkpointing": (4, {"rounded": True, "again": True}),
}


def train(experiment: str, windows: int, rounded: bool, again: bool) -> None:
    """A step with everything in it."""
    model = model_of(experiment)
    model.unet.checkpointing = again
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-9)
    for weight in model.parameters():  # Adam's averages are there from the second step on
        weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
    optimizer.step()
    with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
        terms = model.objective(batch_of(windows, model.size, torch.device("cpu")), dict.fromkeys(TERMS, 1.0))
    terms["loss"].backward()
    optimizer.step()


def dub(experiment: str, frames: int) -> None:
    """A sampling step of frames at once."""
    model = model_of(experiment).eval()
    pictures = torch.rand(frames, 3, model.size, model.size)
    model.generate(pictures, pictures[:1], torch.randn(frames, 80, 16), steps=1, precision="bfloat16")


def peak(**what: object) -> float:
    """GB at the most, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.memory", "--only", json.dumps(what)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split()[-1])


def row(name: str, few: int, unit: str, **what: object) -> list[object]:
    low, high = (peak(count=count, **what) for count in (few, 2 * few))
    each = (high - low) / few
    fixed = low - few * each
    fitting = [max(0, int((card - OWN - fixed) / each)) for card in CARDS]
    return [name, f"{fixed:.2f}", f"{1000 * each:.0f}", *(f"{count} {unit}" for count in fitting)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", nargs="+", default=["base", "official", "official+hires"])
    parser.add_argument("--only", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        what = arguments.only
        stage, count = {"train": train, "dub": dub}[what.pop("stage")], what.pop("count")
        stage(what.pop("experiment"), count, **what)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
        return
    print(f"{in_words(torch.device('cpu'))}\n")
    rows = []
    for experiment in arguments.experiments:
        every = model_of(experiment).hparams.whole_every
        for name, (times, how) in WAYS.items():
            rows.append(
                row(f"{experiment}: {name}", times * every, "windows", stage="train", experiment=experiment, **how)
            )
        rows.append(row(f"{experiment}: dubbing, bf16", BATCH, "frames", stage="dub", experiment=experiment))
    heads = ["what", "fixed, GB", "each, MB", *(f"fit in {card} GB" for card in CARDS)]
    print(table(heads, rows))


if __name__ == "__main__":
    main()
