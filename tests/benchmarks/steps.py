"""How near few sampling steps come to 250 of DDIM's, on a trained model and clips that it never saw.

    python -m tests.benchmarks.steps CHECKPOINT CORPUS [--clips 8] [--frames 25] [--device cpu]

CORPUS is a folder of Synthetic's, as `experiments/base.yaml` leaves it in data/synthetic. Against the 250 steps: PSNR
of the painted half, the distance of the face mesh's features, and of mouth openings; and their correlation with the
truth. Each is a mean over clips, driven by another clip's sound, with its standard error.
"""

import argparse

import torch
from torch import Tensor

from lipsync import checkpoints
from lipsync.corpora.synthetic import Synthetic
from lipsync.diff2lip import Diff2Lip
from lipsync.metrics.opening import MouthMeter, correlation
from lipsync.perceptual import MeshDistance
from tests.benchmarks.machine import table

WAYS = (
    ("ddim", 25, "leading"),
    ("ddim", 25, "trailing"),
    ("ddim", 8, "leading"),
    ("dpmpp_2m", 8, "leading"),
    ("fast", 8, ""),
)


def clips(model: Diff2Lip, pairs: dict[str, Tensor], sampler: str, steps: int, spacing: str) -> Tensor:
    """Dubs (B, N, 3, S, S) with the others' sound."""
    model.hparams.spacing = spacing or model.hparams.spacing
    parts = zip(pairs["frames"], pairs["reference"], pairs["driving_mels"], strict=True)
    return torch.stack([model.generate(*part, steps=steps, sampler=sampler) for part in parts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("corpus")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    model = checkpoints.load_diff2lip(arguments.checkpoint, device)
    how = {"size": model.size, "crop_rule": model.crop_rule, "workers": 0}
    data = Synthetic(arguments.corpus, **how, pair_clips=arguments.clips, pair_frames=arguments.frames)
    data.setup("test")
    pairs = data.sample_pairs(arguments.clips, device, "test")
    mesh, meter = MeshDistance().to(device), MouthMeter().to(device)

    def openings(found: Tensor) -> Tensor:
        return meter(found.flatten(0, 1)).view(found.shape[:2])

    goal = clips(model, pairs, "ddim", 250, "leading")
    goal_openings, truth, half = openings(goal), pairs["opening_driving"], model.size // 2

    def shown(values: Tensor, digits: int) -> str:
        return f"{values.mean():.{digits}f} ± {values.std() / len(values) ** 0.5:.{digits}f}"

    rows = [["ddim", 250, "leading", "", "", "", shown(correlation(goal_openings, truth), 3)]]
    for sampler, steps, spacing in WAYS:
        found = clips(model, pairs, sampler, steps, spacing)
        errors = (found - goal)[..., half:, :].square().mean(dim=(1, 2, 3, 4))
        distances = torch.stack([mesh(*both).mean() for both in zip(found, goal, strict=True)])
        opened = openings(found)
        rows.append(
            [
                *(sampler, steps, spacing),
                shown(10 * torch.log10(4 / errors), 1),
                shown(1000 * distances, 2),
                shown(1000 * (opened - goal_openings).abs().mean(dim=1), 2),
                shown(correlation(opened, truth), 3),
            ]
        )
    print(f"{len(goal)} clips of {arguments.frames} frames\n")
    heads = ["sampler", "steps", "spacing", "PSNR, dB", "mesh distance / 1000", "opening / 1000", "opening r"]
    print(table(heads, rows))


if __name__ == "__main__":
    main()
