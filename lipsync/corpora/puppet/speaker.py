"""Who talks: looks and voice of a seeded speaker."""

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

# Albedo in linear RGB-like units [0, 1], from fair to dark.
SKINS = (
    (0.93, 0.78, 0.69),
    (0.90, 0.72, 0.61),
    (0.85, 0.66, 0.54),
    (0.80, 0.61, 0.49),
    (0.71, 0.53, 0.42),
    (0.58, 0.43, 0.34),
)
HAIRS = (
    (0.07, 0.06, 0.06),
    (0.15, 0.10, 0.07),
    (0.28, 0.18, 0.10),
    (0.42, 0.26, 0.13),
    (0.62, 0.48, 0.28),
    (0.55, 0.54, 0.53),
)
IRISES = ((0.22, 0.13, 0.07), (0.33, 0.22, 0.10), (0.30, 0.36, 0.22), (0.32, 0.44, 0.55), (0.40, 0.46, 0.48))


@dataclass(frozen=True)
class Speaker:
    """Looks and voice; lengths in units of the nose (bridge to base), factors about 1."""

    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    brow: Colour
    backdrop: tuple[Colour, Colour]
    clothes: Colour
    light: tuple[float, float, float]  # unit vector towards the light: x right, y down, z to the viewer
    ambient: float
    width: float
    jaw: float
    chin: float
    nose_width: float
    eye_size: float
    eye_distance: float
    brow_height: float
    brow_thickness: float
    lip_thickness: float
    mouth_width: float
    smile: float
    hairline: float
    long_hair: float
    parting: float
    stubble: float
    freckles: float
    texture: int  # seed of blotches and strands
    pitch: float
    formant_scale: float
    loudness: float
    breathiness: float
    room_db: float


def draw_speaker(rng: np.random.Generator) -> Speaker:
    """Draws a speaker; pitch and formants go together, as in people."""
    tone = rng.uniform(0, len(SKINS) - 1)
    skin = between(SKINS, tone) * rng.uniform(0.98, 1.02, 3)
    # Hair as dark as the skin suggests, most of the time.
    hair = between(HAIRS, rng.uniform(0, max(1.0, len(HAIRS) - 1 - tone))) * rng.uniform(0.6, 0.9)
    redness = rng.uniform(0.65, 0.85)
    lips = skin * (1 - redness * np.array([0.14, 0.40, 0.34]))
    low_voice = rng.random() < 0.5
    size = rng.uniform(0, 1)
    side = rng.uniform(-0.5, 0.5)
    light = np.array([side, rng.uniform(-0.7, -0.35), 1.0])
    backdrop = rng.uniform(0.3, 0.85) + rng.uniform(-0.09, 0.09, 3)
    return Speaker(
        skin=colour(skin),
        hair=colour(hair),
        iris=colour(IRISES[rng.integers(len(IRISES))]),
        lips=colour(lips),
        brow=colour(hair * 0.5),
        backdrop=(colour(backdrop), colour(backdrop * rng.uniform(0.5, 0.9))),
        clothes=colour(rng.uniform(0.08, 0.7) + rng.uniform(-0.14, 0.14, 3)),
        light=tuple(map(float, light / np.linalg.norm(light))),
        ambient=float(rng.uniform(0.5, 0.65)),
        width=float(rng.uniform(0.95, 1.06)),
        jaw=float(rng.uniform(1.95, 2.25)),
        chin=float(rng.uniform(0.97, 1.05)),
        nose_width=float(rng.uniform(0.88, 1.15)),
        eye_size=float(rng.uniform(0.92, 1.1)),
        eye_distance=float(rng.uniform(0.96, 1.05)),
        brow_height=float(rng.uniform(-0.05, 0.05)),
        brow_thickness=float(rng.uniform(0.7, 1.1)),
        lip_thickness=float(rng.uniform(0.94, 1.08)),
        mouth_width=float(rng.uniform(0.94, 1.07)),
        smile=float(rng.uniform(-0.01, 0.04)),
        hairline=float(rng.uniform(-0.12, 0.12)),
        long_hair=float(not low_voice and rng.random() < 0.7),
        parting=float(rng.uniform(-0.7, 0.7)),
        stubble=float(low_voice and rng.random() < 0.5) * rng.uniform(0.15, 0.4),
        freckles=float(rng.uniform(0, 0.02)),
        pitch=float(110 + 45 * (size - 0.5) if low_voice else 200 + 70 * (size - 0.5)),
        formant_scale=float(0.95 + 0.08 * size if low_voice else 1.08 + 0.10 * size),
        loudness=float(rng.uniform(0.04, 0.065)),
        breathiness=float(rng.uniform(0.05, 0.2)),
        room_db=float(rng.uniform(-85, -62)),
        texture=int(rng.integers(2**31)),
    )


def between(palette: tuple[Colour, ...], place: float) -> np.ndarray:
    """The palette's colour at a fractional `place`, mixed from its two neighbours."""
    first = min(int(place), len(palette) - 2)
    return np.array(palette[first]) * (first + 1 - place) + np.array(palette[first + 1]) * (place - first)


def colour(rgb: np.ndarray) -> Colour:
    """Three plain floats, kept within [0.02, 0.98]."""
    red, green, blue = np.clip(rgb, 0.02, 0.98)
    return float(red), float(green), float(blue)
