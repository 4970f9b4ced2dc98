"""A training step, term by term: what each adds to the time of forward and backward pass, and what the whole takes.

    python -m tests.benchmarks.training [--experiment base] [--windows 14] [--device cpu] [--rounds 7] [--compiled]

Terms are added in the order of eq. 9, all of them at their full weight; expert and discriminator see whole windows
only. Each row is the median (least to most) in one run in which the ways take turns; the last adds AdamW's step. With
--compiled, one more has all terms again, the UNet through torch.compile. The share of the ceiling counts the UNet's
FLOPs alone. Data are noise of the experiment's sizes.
"""

import argparse
import copy
from functools import partial
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import Tensor

from lipsync import checkpoints
from lipsync.callbacks.throughput import BACK_AND_FORTH, frame_flops
from lipsync.diff2lip import Diff2Lip
from lipsync.expert import FrozenExpert
from lipsync.perceptual import MeshDistance
from tests.benchmarks.machine import ceiling, in_turn, in_words, table

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
TERMS = ("simple", "vb", "l2", "sync", "mesh", "gan")
FRAMES = 5


def model_of(experiment: str) -> Diff2Lip:
    """The experiment's model, as training starts with it, the mesh's features for LPIPS and Synthetic's expert.

    Several experiments, each after the one before, are joined by a +.
    """
    files = [EXPERIMENTS / f"{name}.yaml" for name in dict.fromkeys(["base", *experiment.split("+")])]
    config = OmegaConf.merge(*map(OmegaConf.load, files)).model.init_args
    arguments = OmegaConf.to_container(OmegaConf.merge(config, {"seed": 0}), resolve=True)
    model = Diff2Lip(**arguments)
    model.expert = FrozenExpert(checkpoints.load_expert("synthetic").syncnet)
    model.perceptual["mesh"] = MeshDistance()
    return model.train()


def batch_of(windows: int, size: int, device: torch.device) -> dict[str, Tensor]:
    """Noise in the shape of a batch."""
    return {
        "frames": torch.rand(windows, FRAMES, 3, size, size, device=device) * 2 - 1,
        "reference": torch.rand(windows, 1, 3, size, size, device=device) * 2 - 1,
        "frame_mels": torch.randn(windows, FRAMES, 80, 16, device=device),
        "mel": torch.randn(windows, 1, 80, 16, device=device),
        "index": torch.arange(windows, device=device),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiment", default="base")
    parser.add_argument("--windows", type=int, default=14)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compiled", action="store_true")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.manual_seed(0)
    model = model_of(arguments.experiment).to(device)
    batch = batch_of(arguments.windows, model.size, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)

    def step(model: Diff2Lip, weights: dict[str, float], moves: bool = False) -> None:
        model.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = model.objective(batch, weights)["loss"]
        loss.backward()
        if moves:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    ways, weights = {}, {}
    for name in TERMS:
        weights = weights | {name: 1.0}
        ways[f"+ {name}" if name != "simple" else "L_simple"] = partial(step, model, weights)
    ways["+ AdamW, clipping"] = partial(step, model, weights, True)
    if arguments.compiled:
        compiled = copy.deepcopy(model)
        compiled.unet.compile()
        ways["the UNet compiled"] = partial(step, compiled, weights)
    top = ceiling(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    times = in_turn(ways, arguments.rounds, device)

    frames = len(model.guess(batch).t)
    flops = BACK_AND_FORTH * frame_flops(model.unet, model.size) * frames
    print(f"{in_words(device)}; {top}\n{arguments.experiment}: {arguments.windows} windows, {frames} frames trained\n")
    rows, before, whole = [], 0.0, 1000 * times[f"+ {TERMS[-1]}"].median
    for name, spent in times.items():
        ms = [1000 * seconds for seconds in spent]
        before = whole if "compiled" in name else before
        share = flops / spent.median / top.flops
        rows.append([name, f"{ms[0]:.0f} ({ms[1]:.0f} to {ms[2]:.0f})", f"{ms[0] - before:+.0f}", f"{share:.0%}"])
        before = ms[0]
    print(table(["terms", "ms a step, median (least to most)", "added", "of the ceiling"], rows))


if __name__ == "__main__":
    main()
