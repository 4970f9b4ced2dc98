"""Sampling: 25 DDIM steps of a clip, and the preset `fast`, against the plain port's 25 steps.

    python -m tests.benchmarks.sampling [CHECKPOINT] [--device cpu] [--frames 50] [--rounds 3]

Without a checkpoint, a network of the official size with drawn weights: on two cores a round of 50 frames then takes 45
minutes. It predicts the picture: noise from drawn weights, and its rounding too, would be multiplied by sigma / alpha,
107 at the first step, and no later step would put that right, as those of a trained network do. Frames go through BATCH
at a time, as dubbing hands them over. Each way is reported as its median (least to most) of milliseconds a frame, and
by what it paints: its largest difference from the plain port's 25 steps.
"""

import argparse
from functools import partial

import torch
from torch import Tensor

from lipsync import checkpoints, samplers
from lipsync.diff2lip import Diff2Lip
from lipsync.dubbing.generate import BATCH
from tests.benchmarks.machine import in_turn, in_words, table
from tests.benchmarks.plain import drawn, plainly


def plain_clip(model: Diff2Lip, frames: Tensor, reference: Tensor, mels: Tensor) -> Tensor:
    """`Diff2Lip.generate` of 25 DDIM steps through the plain port."""
    noise = model.noise("sampling", 0).expand_as(frames)
    reference = reference.expand_as(frames)
    masked = torch.where(model.mask > 0, noise, frames)

    def denoise(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        output, interpolation = plainly(model.unet, x_t, t, masked, reference, mels).chunk(2, dim=1)
        return model.diffusion.x_0(output, x_t, t, model.prediction), interpolation

    painted = samplers.ddim(denoise, noise, model.diffusion, 25, spacing=model.hparams.spacing)
    return torch.where(model.mask > 0, painted.clamp(-1, 1), frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="?")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.manual_seed(0)
    if arguments.checkpoint is None:
        model = Diff2Lip(prediction="x_0")
        drawn(model.unet)
    else:
        model = checkpoints.load_diff2lip(arguments.checkpoint)
    model = model.to(device).eval()
    frames = torch.rand(arguments.frames, 3, model.size, model.size, device=device) * 2 - 1
    mels = torch.randn(arguments.frames, 80, 16, device=device)

    @torch.no_grad()
    def clip(way: partial) -> Tensor:
        return torch.cat(
            [way(*part) for part in zip(frames.split(BATCH), frames.split(BATCH), mels.split(BATCH), strict=True)]
        )

    ways = {
        "plain port, 25 steps": partial(plain_clip, model),
        "ours, 25 steps": partial(model.generate, steps=25),
        "ours, fast": partial(model.generate, sampler="fast"),
    }
    painted: dict[str, Tensor] = {}

    def run(name: str) -> None:
        painted[name] = clip(ways[name])

    times = in_turn({name: partial(run, name) for name in ways}, arguments.rounds, device, warm=False)
    plain = times["plain port, 25 steps"].median
    rows = []
    for name, spent in times.items():
        ms = [1000 * seconds / arguments.frames for seconds in spent]
        error = (painted[name] - painted["plain port, 25 steps"]).abs().max().item()
        rows.append([name, f"{ms[0]:.1f} ({ms[1]:.1f} to {ms[2]:.1f})", f"{plain / spent.median:.2f}", f"{error:.1e}"])
    print(f"{in_words(device)}; {arguments.frames} frames of {model.size} px\n")
    print(table(["way", "ms a frame, median (least to most)", "times the plain port", "largest difference"], rows))


if __name__ == "__main__":
    main()
