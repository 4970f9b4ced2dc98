"""How a clip is acted: head, lids and gaze beside what the script says, and the square that training cuts out."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lipsync.corpora import crop
from lipsync.corpora.puppet.portrait import CHIN
from lipsync.corpora.puppet.script import FPS, Articulation
from lipsync.corpora.puppet.speaker import Speaker

MOUTH = ("opening", "spread", "rounding", "press", "tuck", "tongue")


@dataclass(frozen=True)
class Performance:
    """One clip's movement, a value a frame: head point p lies at scene point `place + scale * rotation(roll) p`."""

    place: Tensor  # (T, 2) x, y of the base of the nose, scene units
    scale: Tensor  # (T,)
    roll: Tensor  # (T,) radians, clockwise on the screen
    jaw: Tensor  # (T,) how far the chin has dropped, head units
    mouth: dict[str, Tensor]  # (T,) each of MOUTH
    lids: Tensor  # (T,) 1 = open, 0 = shut
    gaze: Tensor  # (T, 2) of the irises, head units

    def to_scene(self, points: Tensor) -> Tensor:
        """Head points (T, 2) to scene points (T, 2)."""
        turned = torch.stack([torch.cos(self.roll), torch.sin(self.roll)], 1)
        x = points[:, 0] * turned[:, 0] - points[:, 1] * turned[:, 1]
        y = points[:, 0] * turned[:, 1] + points[:, 1] * turned[:, 0]
        return self.place + self.scale[:, None] * torch.stack([x, y], 1)


def perform(articulation: Articulation, rng: np.random.Generator) -> Performance:
    """Reads the mouth at every frame's own time and makes up what the script does not say: head, lids and gaze."""
    track = {name: torch.tensor(articulation.at_frames(name)).float() for name in (*MOUTH, "jaw", "voice")}
    frames = len(track["jaw"])

    def sway(deviation: float, seconds: float) -> Tensor:
        """Smooth random movement: white noise through a Gaussian, brought back to the wanted deviation."""
        width = seconds * FPS
        margin = round(4 * width)
        white = torch.from_numpy(rng.standard_normal((frames + 2 * margin, 1))).float()
        smooth = crop.smooth(white, width)[margin : margin + frames, 0]
        return smooth * deviation * (2 * width * torch.pi**0.5) ** 0.5

    nod = crop.smooth(track["voice"][:, None], 0.1 * FPS)[:, 0]
    lids = torch.ones(frames)
    time = torch.arange(frames) / FPS
    blink = rng.uniform(0.2, 2.5)
    while blink < frames / FPS:
        lids = torch.minimum(lids, ((time - blink).abs() / 0.11).clamp(0, 1) ** 1.5)
        blink += rng.uniform(1.5, 4.0)
    return Performance(
        place=torch.stack([sway(0.12, 0.5), sway(0.07, 0.5) + 0.08 * nod], 1),
        scale=1 + sway(0.012, 0.7),
        roll=sway(0.035, 0.6) + rng.uniform(-0.03, 0.03),
        jaw=track["jaw"],
        mouth={name: track[name] for name in MOUTH},
        lids=lids,
        gaze=torch.stack([sway(0.03, 0.15), sway(0.015, 0.15)], 1),
    )


def track_of(performance: Performance, speaker: Speaker) -> Tensor:
    """The stored square in every frame, (T, 4) in the scene, by the rule of training from the true landmarks."""
    zero = torch.zeros_like(performance.jaw)
    nose_base = performance.to_scene(torch.stack([zero, zero], 1))
    bridge = performance.to_scene(torch.stack([zero, zero - 1], 1))
    chin = performance.to_scene(torch.stack([zero, CHIN * speaker.chin + performance.jaw], 1))
    return crop.track_boxes(crop.square_boxes(nose_base, chin, bridge, fps=FPS))
