"""The picture of an articulation: a portrait whose jaw, mouth and eyes move, seen through the crop of training.

Head coordinates: origin at the base of the nose, x right, y down, unit = the bridge of the nose to its base.
Proportions are those that FaceMesh finds on people, so that its landmarks mean the same on these faces.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lipsync.corpora.puppet.eyes import EYE_REACHES, paint_eyes
from lipsync.corpora.puppet.mouth import MOUTH_REACH, paint_mouth
from lipsync.corpora.puppet.performance import Performance
from lipsync.corpora.puppet.portrait import CHIN, EXTENT, SCENE, paint_portrait, paint_scene
from lipsync.corpora.puppet.speaker import Speaker


def render(performance: Performance, speaker: Speaker, views: Tensor, size: int) -> Tensor:
    """Renders every frame's view, a scene box of `views` (T, 4), as a picture: (T, size, size, 3) uint8.

    The views are sampled where they look, instead of rendering a scene and cutting it: a change of coordinates only.
    """
    unit = float(size / (views[:, 1] - views[:, 0]).median())  # pixels a scene unit
    density = 1.5 * unit
    scene = paint_scene(speaker, density)
    portrait = paint_portrait(speaker, density)
    steps = (torch.arange(size) + 0.5) / size
    y0, y1, x0, x1 = views[:, :, None].unbind(1)
    scene_y = (y0 + (y1 - y0) * steps)[:, :, None].expand(-1, -1, size)
    scene_x = (x0 + (x1 - x0) * steps)[:, None, :].expand(-1, size, -1)
    x, y = to_head(performance, scene_x, scene_y)

    # The shoulders follow the head, but not all the way.
    drift = 0.6 * performance.place[:, :, None, None]
    backdrop = look_up(scene, SCENE, scene_x - drift[:, 0], scene_y - drift[:, 1])
    head = look_up(portrait, EXTENT, x, y - jaw_drop(x, y, performance.jaw[:, None, None], speaker))
    picture = head[:3] + backdrop * (1 - head[3:])

    pixel = 1 / unit
    part = window(MOUTH_REACH, x, y)
    picture[part] = paint_mouth(picture[part], x[part[1:]], y[part[1:]], performance.mouth, speaker, pixel)
    for reach in EYE_REACHES:
        part = window(reach, x, y)
        lids, gaze = performance.lids, performance.gaze
        picture[part] = paint_eyes(picture[part], x[part[1:]], y[part[1:]], lids, gaze, speaker, pixel)
    picture = picture * (1.4 - 0.4 * picture)  # lifts the shadows, as a camera does
    return (picture.permute(1, 2, 3, 0) * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def to_head(performance: Performance, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Scene coordinates (T, H, W) to head coordinates x, y: the inverse of `Performance.to_scene`."""
    place, scale, roll = performance.place, performance.scale, performance.roll
    cos, sin = ((f(roll) / scale)[:, None, None] for f in (torch.cos, torch.sin))
    x, y = x - place[:, 0, None, None], y - place[:, 1, None, None]
    return x * cos + y * sin, y * cos - x * sin


def jaw_drop(x: Tensor, y: Tensor, drop: Tensor, speaker: Speaker) -> Tensor:
    """How far the jaw has pulled down the skin now at a point: all the way at the chin, not at all at the nose."""
    chin = CHIN * speaker.chin
    down = ((y - 0.15) / (0.72 * chin)).clamp(0, 1)
    neck = ((y - chin - 0.5) / 1.1).clamp(0, 1)
    side = ((x.abs() - 0.75) / 0.9).clamp(0, 1)
    return drop * (down * down * (3 - 2 * down)) * (1 - neck * neck * (3 - 2 * neck)) * (1 - 0.8 * side * side)


def look_up(picture: Tensor, extent: tuple[float, float, float, float], x: Tensor, y: Tensor) -> Tensor:
    """Samples a picture (C, H, W) of `extent` at (T, h, w) coordinates, bilinearly: (C, T, h, w)."""
    y0, y1, x0, x1 = extent
    places = torch.stack([2 * (x - x0) / (x1 - x0) - 1, 2 * (y - y0) / (y1 - y0) - 1], -1)
    flat = places.reshape(1, -1, places.shape[2], 2)
    sampled = F.grid_sample(picture[None], flat, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.reshape(len(picture), *x.shape)


def window(reach: tuple[float, float, float, float], x: Tensor, y: Tensor) -> tuple[slice, slice, slice, slice]:
    """The smallest part of a picture (C, T, H, W), as an index, that holds `reach` in every frame; it may be empty."""
    y0, y1, x0, x1 = reach
    inside = ((x > x0) & (x < x1) & (y > y0) & (y < y1)).any(0)

    def span(hit: Tensor) -> slice:
        places = hit.nonzero()[:, 0].tolist()
        return slice(places[0], places[-1] + 1) if places else slice(0)

    return slice(None), slice(None), span(inside.any(1)), span(inside.any(0))
