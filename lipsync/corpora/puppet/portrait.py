"""What does not move by itself: the head without mouth and eyes, and the backdrop with the shoulders."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lipsync.corpora.puppet.speaker import Speaker

EXTENT = (-3.2, 3.4, -3.0, 3.0)  # y0, y1, x0, x1 of a portrait, in head coordinates
SCENE = (-4.2, 4.2, -4.2, 4.2)  # of a scene, same unit
CHIN = 1.36  # lowest point of the face, below the base of the nose
EYE_X, EYE_Y = 0.62, -0.86


def paint_portrait(speaker: Speaker, density: float) -> Tensor:
    """Paints the head without mouth and eyes at `density` pixels a unit, (4, H, W): RGB times alpha, and alpha."""
    y, x = grid(EXTENT, density)
    pixel = 1 / density
    texture = mottle(y.shape, 0.06 * density, speaker.texture)
    face = face_outline(x, y, speaker)
    colour = skin(x, y, speaker, texture, pixel)
    alpha = soft_step(face, pixel)

    # Ears behind the face, hair behind both, fringe in front.
    ear_x, ear_y = (x.abs() - 1.40 * speaker.width) / 0.17, (y + 0.50) / 0.36
    ears = soft_step(1 - (ear_x**2 + ear_y**2).sqrt(), pixel * 4)
    hollow = torch.exp(-((x.abs() - 1.43 * speaker.width) ** 2 / 0.006 + (y + 0.5) ** 2 / 0.04))
    ear_colour = rgb(speaker.skin) * (0.72 - 0.25 * hollow) * (1 - 0.25 * side_light(x, speaker))
    colour = colour * alpha + ear_colour * (1 - alpha)
    alpha = alpha + (1 - alpha) * ears

    neck_colour, neck = paint_neck(x, y, speaker, pixel)
    colour = colour * alpha + neck_colour * (1 - alpha)
    alpha = alpha + (1 - alpha) * neck * soft_step(2.0 - y, 0.5)  # and further down it belongs to the shoulders
    strands = hair_shade(x, y, speaker, texture)
    back_alpha = soft_step(hair_back(x, y, speaker), 3 * pixel)
    depth = 0.75 - 0.35 * soft_step(y - 0.6, 1.6)
    colour = colour * alpha + rgb(speaker.hair) * strands * depth * (1 - alpha)
    alpha = alpha + (1 - alpha) * back_alpha
    front = soft_step(hair_front(x, y, speaker) + 0.015 * texture, 4 * pixel)
    shadow = soft_step(hair_front(x, y - 0.09, speaker), 0.2) * soft_step(face, pixel)
    colour = colour * (1 - 0.35 * shadow)
    colour = colour * (1 - front) + rgb(speaker.hair) * strands * front
    alpha = torch.maximum(alpha, front * back_alpha)
    return torch.cat([colour.clamp(0, 1) * alpha, alpha[None]])


def paint_scene(speaker: Speaker, density: float) -> Tensor:
    """Paints backdrop, shoulders and neck: (3, H, W) RGB in [0, 1]; scene point = head point of a head at rest."""
    y, x = grid(SCENE, density)
    pixel = 1 / density
    height = ((y + 4) / 8).clamp(0, 1)
    top, bottom = (rgb(colour) for colour in speaker.backdrop)
    blobs = mottle(y.shape, 1.2 * density, speaker.texture + 1)
    picture = (top * (1 - height) + bottom * height) * (1 + 0.10 * blobs) * (1 - 0.12 * side_light(x, speaker))

    shoulder = y - (2.15 + 0.16 * x.abs() ** 1.6)
    folds = 0.06 * torch.sin(5 * x + 2 * y) * torch.exp(-((x.abs() - 1.4) ** 2))
    cloth = rgb(speaker.clothes) * (0.85 + folds - 0.25 * side_light(x, speaker) - 0.08 * (y - 2.2))
    picture = over(picture, cloth, soft_step(shoulder, pixel * 3))
    return over(picture, *paint_neck(x, y, speaker, pixel)).clamp(0, 1)


def paint_neck(x: Tensor, y: Tensor, speaker: Speaker, pixel: float) -> tuple[Tensor, Tensor]:
    """Colour (3, H, W) and coverage (H, W) of the neck, in the shade of the chin."""
    neck_width = 0.80 * speaker.width + 0.10 * ((y - 1.4).clamp(min=0)) ** 2
    neck = torch.minimum(torch.minimum(neck_width - x.abs(), 2.62 - y - 0.9 * x**2), y)
    round_off = 1 - 0.5 * (x / neck_width).abs().clamp(max=1) ** 3
    under_chin = 1 - 0.55 * torch.exp(-((y - 1.25).clamp(min=0) ** 2) / 0.25)
    flesh = rgb(speaker.skin) * 0.92 * round_off * under_chin * (1 - 0.3 * side_light(x, speaker))
    return flesh, soft_step(neck, pixel * 2)


def face_outline(x: Tensor, y: Tensor, speaker: Speaker) -> Tensor:
    """Signed distance (roughly, positive inside) to the outline of skull and jaw."""
    ratio = ((y + 0.55) / torch.where(y > -0.55, CHIN * speaker.chin + 0.55, torch.tensor(1.75))).abs()
    across = (x / (1.38 * speaker.width)).abs()
    power = torch.where(y > -0.55, speaker.jaw, 2.2)
    level = (across**power + ratio**power).clamp(min=1e-6) ** (1 / power)
    return (1 - level) * 1.45


def skin(x: Tensor, y: Tensor, speaker: Speaker, texture: Tensor, pixel: float) -> Tensor:
    """Colour of the bare face, (3, H, W): relief under a light, and what blood, shade and beard do to it."""
    relief = face_relief(x, y, speaker)
    slope_y, slope_x = torch.gradient(relief, spacing=pixel)
    length = (1 + slope_x**2 + slope_y**2).sqrt()
    lx, ly, lz = speaker.light
    lambert = ((-slope_x * lx - slope_y * ly + lz) / length).clamp(min=0)
    gleam = ((-slope_x * lx - slope_y * ly + 1 + lz) / length / (2 + 2 * lz) ** 0.5).clamp(0, 1) ** 24
    shade = speaker.ambient + (1.12 - speaker.ambient) * lambert

    def spot(cx: float, cy: float, rx: float, ry: float) -> Tensor:
        return torch.exp(-(((x.abs() - cx) / rx) ** 2) - ((y - cy) / ry) ** 2)

    nose = speaker.nose_width
    dark = 0.30 * spot(0.36, -0.98, 0.16, 0.16) + 0.20 * spot(
        EYE_X, -1.02, 0.34, 0.09
    )  # corners of the eyes, upper lids
    dark = dark + 0.12 * spot(EYE_X, -0.66, 0.28, 0.07)  # bags
    dark = dark + 0.22 * spot(0.0, 0.03, 0.30 * nose, 0.05)  # under the tip of the nose
    dark = dark + 0.75 * spot(0.15 * nose, -0.045, 0.07, 0.036)  # nostrils
    dark = dark + 0.22 * spot(0.43 * nose, -0.10, 0.05, 0.10)  # behind the wings
    fold = 0.50 + 0.17 * (y - 0.15)
    crease = torch.exp(-(((x.abs() - fold) / 0.055) ** 2)) * soft_step(y + 0.02, 0.3) * soft_step(0.42 - y, 0.3)
    dark = dark + 0.08 * crease + 0.14 * spot(0.0, 0.86, 0.34, 0.07) + 0.08 * spot(0.0, 0.14, 0.045, 0.09)
    blush = 0.5 * spot(0.85, -0.15, 0.38, 0.32) + 0.45 * spot(0.0, -0.25, 0.25, 0.2) + 0.2 * spot(1.4, -0.5, 0.15, 0.4)
    albedo = rgb(speaker.skin) * (1 - blush * rgb((0.0, 0.12, 0.10)))
    jaw_line = soft_step(y - 0.02 - 0.25 * torch.exp(-((x / 0.30) ** 2)) + 0.45 * (x.abs() - 0.8).clamp(min=0), 0.30)
    albedo = albedo * (1 - speaker.stubble * (0.9 + 0.1 * texture) * jaw_line * rgb((0.55, 0.50, 0.42)))
    albedo = albedo * (1 + speaker.freckles * texture)
    brow = brow_mask(x, y, speaker)
    albedo = over(albedo, rgb(speaker.brow).expand_as(albedo), brow * (0.85 + 0.15 * texture))
    return albedo * shade * (1 - dark.clamp(0, 0.9)) + 0.13 * gleam * (1 - brow)


def face_relief(x: Tensor, y: Tensor, speaker: Speaker) -> Tensor:
    """Height of the face above the picture plane, in units of the nose."""

    def bump(cx: float, cy: float, rx: float, ry: float) -> Tensor:
        return torch.exp(-(((x.abs() - cx) / rx) ** 2) - ((y - cy) / ry) ** 2)

    nose = speaker.nose_width
    skull = 1.05 * (1 - (x / 1.62) ** 2 - ((y + 0.35) / 2.25) ** 2).clamp(min=0.02) ** 0.6
    along = ((y + 1.05) / 0.85).clamp(0, 1)
    ridge = (0.10 + 0.38 * along) * torch.exp(-((x / (0.13 + 0.09 * along)) ** 2))
    ridge = ridge * soft_step(y + 1.2, 0.5) * soft_step(-0.02 - y, 0.16)
    tip = 0.16 * bump(0.0, -0.26, 0.17 * nose, 0.16) + 0.16 * bump(0.29 * nose, -0.14, 0.12, 0.11)
    eyes = -0.20 * bump(EYE_X, -0.93, 0.33, 0.17) + 0.14 * bump(EYE_X, -0.84, 0.25, 0.13)
    brows = 0.07 * bump(0.55, -1.22, 0.5, 0.13)
    cheeks = 0.10 * bump(0.82, -0.22, 0.38, 0.34)
    muzzle = 0.08 * bump(0.0, 0.45, 0.55, 0.40) - 0.025 * bump(0.0, 0.17, 0.05, 0.11)
    chin = 0.12 * bump(0.0, 1.12, 0.30, 0.20) - 0.06 * bump(0.0, 0.83, 0.30, 0.09)
    return skull + ridge + tip + eyes + brows + cheeks + muzzle + chin


def brow_mask(x: Tensor, y: Tensor, speaker: Speaker) -> Tensor:
    """Share of brow in each pixel, soft at its lower edge and ends."""
    s = ((x.abs() - 0.24) / 0.82).clamp(-0.2, 1.2)
    middle = -1.21 + speaker.brow_height - 0.13 * torch.sin(s.clamp(0, 1) * 2.3) + 0.10 * s.clamp(0, 1) ** 2
    thick = speaker.brow_thickness * (0.085 - 0.055 * s.clamp(0, 1))
    ends = soft_step(s + 0.02, 0.12) * soft_step(1.0 - s, 0.14)
    return soft_step(thick - (y - middle).abs(), 0.06) * ends * 0.9


def hair_back(x: Tensor, y: Tensor, speaker: Speaker) -> Tensor:
    """Signed distance to the hair's outer outline: a cap, or long hair down to the shoulders."""
    wide = (1.62 if speaker.long_hair else 1.50) * speaker.width
    cap = 1.6 * (1 - ((x / wide) ** 2 + ((y + 0.75) / 1.85) ** 2).sqrt())
    if not speaker.long_hair:
        return torch.minimum(cap, -0.45 - y)
    side = wide - 0.02 + 0.05 * torch.sin(2.4 * y + 1) - 0.5 * ((y - 1.0).clamp(min=0)) ** 2
    throat = torch.maximum(x.abs() - 0.8, 1.8 - y)
    fall = torch.minimum(torch.minimum(side - x.abs(), throat), torch.minimum(y + 0.75, 2.3 - y))
    return torch.maximum(cap, fall)


def hair_front(x: Tensor, y: Tensor, speaker: Speaker) -> Tensor:
    """Signed distance to the hair in front of the face: above the hairline, and down the temples."""
    line = -1.78 + speaker.hairline + 0.10 * (x - speaker.parting).abs() ** 0.8 + 0.42 * (x.abs() / 1.2) ** 4
    temples = x.abs() - (1.25 if speaker.long_hair else 1.30) * speaker.width
    side = torch.minimum(temples, (1.6 if speaker.long_hair else -0.62) - y)
    return torch.maximum(line - y, torch.minimum(side, y + 2.5))


def hair_shade(x: Tensor, y: Tensor, speaker: Speaker, texture: Tensor) -> Tensor:
    """Brightness of the hair: strands fanning out from the parting, and a sheen on the crown."""
    angle = torch.atan2(x - speaker.parting, y + 3.2)
    strands = 0.10 * torch.sin(46 * angle + 0.8 * texture) + 0.06 * torch.sin(97 * angle - texture)
    sheen = 0.5 * torch.exp(-(((x + 0.6 * speaker.light[0]) / 0.9) ** 2) - ((y + 2.1) / 0.18) ** 2)
    return (0.8 + strands + sheen + 0.03 * texture - 0.25 * side_light(x, speaker)).clamp(min=0.2)


def side_light(x: Tensor, speaker: Speaker) -> Tensor:
    """How much a point lies on the side away from the light, in about [-1, 1]."""
    return torch.tanh(-x * speaker.light[0] * 1.5)


def grid(extent: tuple[float, float, float, float], density: float) -> tuple[Tensor, Tensor]:
    """Coordinates y and x, (H, W) each, of the pixel centres of a picture of `extent`."""
    y0, y1, x0, x1 = extent
    rows, columns = round((y1 - y0) * density), round((x1 - x0) * density)
    y = y0 + (torch.arange(rows) + 0.5) * (y1 - y0) / rows
    x = x0 + (torch.arange(columns) + 0.5) * (x1 - x0) / columns
    return torch.meshgrid(y, x, indexing="ij")


def mottle(shape: torch.Size, blotch: float, seed: int) -> Tensor:
    """Blotchy texture with standard deviation 1; a blotch is about so many pixels wide."""
    generator = torch.Generator().manual_seed(seed)
    cells = [max(2, round(side / max(blotch, 1))) for side in shape]
    noise = torch.randn(1, 1, *cells, generator=generator)
    blotches = F.interpolate(noise, shape, mode="bicubic", align_corners=False)[0, 0]
    return blotches / blotches.std()


def soft_step(distance: Tensor, width: float) -> Tensor:
    """0 outside, 1 inside, a smooth edge `width` wide."""
    s = (distance / width + 0.5).clamp(0, 1)
    return s * s * (3 - 2 * s)


def over(below: Tensor, above: Tensor, alpha: Tensor) -> Tensor:
    """`above` painted over `below` with coverage `alpha`."""
    return below + (above - below) * alpha


def rgb(colour: tuple[float, float, float]) -> Tensor:
    """A colour as (3, 1, 1)."""
    return torch.tensor(colour)[:, None, None]
