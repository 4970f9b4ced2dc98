"""The mouth of a frame: lips, the dark behind them, teeth and tongue, in head coordinates."""

import torch
from torch import Tensor

from lipsync.corpora.puppet.portrait import over, rgb, soft_step
from lipsync.corpora.puppet.speaker import Speaker

LIP_LINE = 0.47  # where closed lips meet, below the base of the nose
MOUTH_REACH = (0.10, 1.40, -0.85, 0.85)  # y0, y1, x0, x1 of everything painted here
UPPER_SHARE = 0.18  # of the gap that the upper lip makes by rising; the rest is the lower lip with the jaw


def paint_mouth(skin: Tensor, x: Tensor, y: Tensor, shape: dict[str, Tensor], speaker: Speaker, pixel: float) -> Tensor:
    """Paints mouths over `skin`.

    Args:
        skin: (3, T, h, w) colours in [0, 1] of the pixels about the mouth.
        x, y: (T, h, w) their head coordinates.
        shape: trajectories of the articulation by name, (T,) each.
        pixel: size of a pixel in head coordinates.

    Returns:
        (3, T, h, w). The gap between the inner lips at x = 0 is shape["opening"].
    """
    s = {name: values[:, None, None] for name, values in shape.items()}
    gap, press = s["opening"], s["press"]
    inner = speaker.mouth_width * (0.43 + 0.035 * s["spread"] - 0.12 * s["rounding"] + 0.04 * (1 - s["rounding"]) * gap)
    outer = inner + 0.105 - 0.01 * s["spread"]
    u, v = (x / inner).abs(), (x / outer).abs()
    arch = (1 - u.clamp(max=1) ** 2) ** 0.75
    rim = (1 - v.clamp(max=1) ** 2.2) ** 0.8

    line = LIP_LINE - speaker.smile * 1.5 * v**2 + 0.012 * s["rounding"]
    upper = line - UPPER_SHARE * gap * arch
    lower = line + (1 - UPPER_SHARE) * gap * arch
    full = speaker.lip_thickness * (1 - 0.30 * press) * (1 + 0.15 * s["rounding"] - 0.12 * s["spread"] - 0.15 * gap)
    bow = 1 - 0.16 * torch.exp(-((x / 0.07) ** 2)) + 0.06 * torch.exp(-(((x.abs() - 0.15) / 0.08) ** 2))
    thick_up = 0.165 * full * rim * bow
    # A lip under the teeth shows less of itself.
    thick_low = 0.215 * full * rim * (1 - 0.35 * s["tuck"])

    within = soft_step(1 - v, 0.05)
    lip_up = soft_step(upper - y, pixel) * soft_step(y - upper + thick_up, 1.5 * pixel) * within
    lip_low = soft_step(y - lower, pixel) * soft_step(lower + thick_low - y, 1.8 * pixel) * within
    cavity = soft_step(y - upper, pixel) * soft_step(lower - y, pixel) * soft_step(1 - u, 0.04)

    light = 1 - 0.18 * torch.tanh(-1.5 * x * speaker.light[0]) - 0.10 * v**2
    height_up = ((upper - y) / thick_up.clamp(min=0.02)).clamp(0, 1)
    height_low = ((y - lower) / thick_low.clamp(min=0.02)).clamp(0, 1)
    shade_up = light * (0.66 + 0.22 * height_up)  # faces down, away from the light
    gleam = torch.exp(-(((height_low - 0.35) / 0.22) ** 2) - ((x + 0.12 * speaker.light[0]) / 0.22) ** 2)
    shade_low = light * (0.98 - 0.35 * (height_low - 0.3).clamp(min=0))
    lips = rgb(speaker.lips)[..., None]

    # The lower lip throws a soft shadow on the chin; the skin above the upper lip catches the light.
    below = (y - lower - thick_low).clamp(min=0)
    skin = skin * (1 - 0.26 * torch.exp(-((below / 0.07) ** 2)) * soft_step(y - lower, 0.05) * (1 - v**2).clamp(min=0))
    corner = torch.exp(-(((x.abs() - outer) / 0.06) ** 2) - ((y - line) / 0.06) ** 2)
    skin = skin * (1 - 0.22 * corner)
    picture = over(skin, lips * shade_up, lip_up)
    picture = over(picture, lips * shade_low + 0.16 * gleam, lip_low)
    seam = torch.exp(-(((y - line) / 0.022) ** 2)) * soft_step(1 - u * 0.93, 0.08)
    picture = picture * (1 - 0.60 * seam * soft_step(0.03 - gap, 0.05))
    return over(picture, paint_cavity(x, y, upper, lower, u, s, pixel), cavity)


def paint_cavity(
    x: Tensor, y: Tensor, upper: Tensor, lower: Tensor, u: Tensor, s: dict[str, Tensor], pixel: float
) -> Tensor:
    """Colours behind the lips, (3, T, h, w): dark flesh, the tongue, lower and upper teeth."""
    flesh = rgb((0.13, 0.03, 0.03))[..., None].expand(3, *y.shape)
    # The tongue lies low for open vowels and rises behind the teeth for t, d, n, l.
    tongue_top = lower - (0.07 + 0.20 * s["opening"] + 0.20 * s["tongue"] * s["opening"]) * (1 - (x / 0.34) ** 2)
    tongue_light = 0.62 + 0.5 * (lower - y).clamp(0, 0.25)
    flesh = over(flesh, rgb((0.44, 0.17, 0.17))[..., None] * tongue_light, soft_step(y - tongue_top, 0.05) * 0.85)
    enamel = rgb((0.86, 0.82, 0.75))[..., None]
    side = (1 - 0.55 * u**2).clamp(min=0.2)
    # Teeth belong to the skull and the jaw: lips uncover them, more so when spread.
    low_edge = lower - 0.025 * (s["opening"] / 0.2).clamp(0, 1) * s["spread"] * (1 - u**2)
    flesh = over(flesh, enamel * 0.45 * side, soft_step(y - low_edge, 2 * pixel) * 0.8)
    bottom = torch.maximum(LIP_LINE - 0.025 + 0.025 * s["spread"] - 0.02 * s["rounding"] + 0 * x, upper)
    shadow = 0.45 + 0.5 * ((y - upper) / 0.08).clamp(0, 1)  # of the upper lip
    return over(flesh, enamel * side * shadow, soft_step(bottom - y, 1.5 * pixel))
