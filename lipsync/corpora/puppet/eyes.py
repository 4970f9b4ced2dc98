"""The eyes of a frame: white, iris, lids and lashes, in head coordinates."""

import torch
from torch import Tensor

from lipsync.corpora.puppet.portrait import EYE_X, EYE_Y, over, rgb, soft_step
from lipsync.corpora.puppet.speaker import Speaker

# y0, y1, x0, x1 of everything painted here, left and right.
EYE_REACHES = ((EYE_Y - 0.24, EYE_Y + 0.2, -1.02, -0.24), (EYE_Y - 0.24, EYE_Y + 0.2, 0.24, 1.02))


def paint_eyes(
    skin: Tensor, x: Tensor, y: Tensor, lids: Tensor, gaze: Tensor, speaker: Speaker, pixel: float
) -> Tensor:
    """Paints the eyes that lie in the picture over `skin`.

    Args:
        skin: (3, T, h, w) colours in [0, 1].
        x, y: (T, h, w) head coordinates.
        lids: (T,) 1 = open, 0 = shut.
        gaze: (T, 2) shift of the irises.
        pixel: size of a pixel in head coordinates.

    Returns:
        (3, T, h, w).
    """
    lids = lids[:, None, None]
    across = (x.abs() - EYE_X * speaker.eye_distance) / (0.285 * speaker.eye_size)
    arch = (1 - across.clamp(-1, 1) ** 2) ** 0.8
    # The outer corner lies a little higher than the inner one.
    line = EYE_Y + 0.015 - 0.012 * across
    top = line + (0.055 - 0.150 * lids) * arch * speaker.eye_size
    bottom = line + 0.060 * arch * speaker.eye_size
    eye = soft_step(y - top, pixel) * soft_step(bottom - y, pixel) * soft_step(1 - across.abs(), 0.08)

    white = rgb((0.90, 0.88, 0.86))[..., None] * (1 - 0.28 * across**2 - 1.6 * (top + 0.07 - y).clamp(0, 0.07))
    centre = torch.sign(x) * EYE_X * speaker.eye_distance + gaze[:, 0, None, None]
    ball_x, ball_y = x - centre, y - (EYE_Y - 0.010) - gaze[:, 1, None, None]
    radius = (ball_x**2 + ball_y**2).sqrt()
    iris = rgb(speaker.iris)[..., None] * (0.75 + 3.0 * (radius - 0.05).clamp(0, 0.08))
    ball = over(white, iris, soft_step(0.118 - radius, 1.2 * pixel))
    ball = over(ball, torch.zeros(3, 1, 1, 1) + 0.03, soft_step(0.052 - radius, pixel))
    glint = ((ball_x - 0.045 * speaker.light[0] - 0.01) ** 2 + (ball_y + 0.045) ** 2).sqrt()
    ball = over(ball, torch.ones(3, 1, 1, 1), 0.9 * soft_step(0.024 - glint, pixel))
    picture = over(skin, ball, eye)

    lash = soft_step(0.026 - (y - top + 0.006).abs(), pixel) * soft_step(1.06 - across.abs(), 0.1)
    lower_lash = 0.35 * soft_step(0.014 - (y - bottom).abs(), pixel) * soft_step(1 - across.abs(), 0.1)
    crease = 0.35 * soft_step(0.018 - (y - top + 0.075 * arch).abs(), 0.05) * soft_step(1.05 - across.abs(), 0.3)
    dark = rgb(speaker.brow)[..., None] * 0.6
    return over(picture, dark, 0.85 * lash) * (1 - lower_lash) * (1 - crease * (0.4 + 0.6 * lids))
