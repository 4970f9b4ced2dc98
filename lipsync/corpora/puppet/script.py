"""What a talking head says: a seeded script of phones, and the articulation (mouth and voice over time) it implies."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

FPS = 25
CONTROL_RATE = 200  # articulation values a second; 8 a frame, so that frame f is exactly value 8 f


class Phone(NamedTuple):
    """Targets of one speech sound, for a mouth and a vocal tract of average size."""

    opening: float  # gap between the inner lips over the length of the nose
    spread: float  # 1 = smile of an "i"
    rounding: float  # 1 = pucker of a "u"
    tongue: float  # 1 = its tip behind the upper teeth
    formants: tuple[float, float, float]  # Hz
    voice: float  # voiced amplitude before the opening scales it
    noise: float = 0.0  # turbulence, relative to a vowel
    noise_hz: float = 4000.0  # centre of the turbulence
    labial: bool = False  # lips meet
    tuck: float = 0.0  # lower lip under the upper teeth
    burst: float = 0.0  # stops: silence, then a burst this strong
    grip: float = 1.0  # how strongly the mouth insists on this shape against its neighbours


VOWELS = {
    "a": Phone(0.46, 0.25, 0.0, 0.0, (780, 1250, 2550), 1.0),
    "e": Phone(0.30, 0.65, 0.0, 0.2, (520, 1850, 2550), 1.0),
    "i": Phone(0.16, 1.0, 0.0, 0.3, (300, 2250, 3000), 0.95),
    "o": Phone(0.32, 0.0, 0.7, 0.0, (480, 880, 2450), 1.0),
    "u": Phone(0.15, 0.0, 1.0, 0.0, (320, 720, 2300), 0.95),
    "@": Phone(0.22, 0.3, 0.1, 0.1, (520, 1450, 2500), 0.9, grip=0.6),
}
CONSONANTS = {
    "p": Phone(0.0, 0.2, 0.1, 0.0, (350, 900, 2300), 0.0, noise_hz=900, labial=True, burst=0.5, grip=2.0),
    "b": Phone(0.0, 0.2, 0.1, 0.0, (280, 900, 2300), 0.25, noise_hz=700, labial=True, burst=0.25, grip=2.0),
    "m": Phone(0.0, 0.2, 0.1, 0.0, (260, 1000, 2200), 0.55, labial=True, grip=2.0),
    "f": Phone(0.05, 0.3, 0.0, 0.0, (350, 1150, 2300), 0.0, 0.30, 6500, tuck=1.0, grip=1.5),
    "v": Phone(0.05, 0.3, 0.0, 0.0, (320, 1150, 2300), 0.55, 0.15, 6000, tuck=1.0, grip=1.5),
    "s": Phone(0.07, 0.7, 0.0, 0.5, (350, 1700, 2600), 0.0, 0.80, 5800, grip=1.0),
    "z": Phone(0.07, 0.7, 0.0, 0.5, (320, 1700, 2600), 0.45, 0.45, 5600, grip=1.0),
    "S": Phone(0.11, 0.0, 0.6, 0.3, (350, 1650, 2400), 0.0, 0.80, 3000, grip=1.0),
    "t": Phone(0.10, 0.4, 0.0, 1.0, (400, 1700, 2700), 0.0, noise_hz=4500, burst=0.7, grip=0.7),
    "d": Phone(0.10, 0.4, 0.0, 1.0, (320, 1700, 2700), 0.25, noise_hz=3800, burst=0.35, grip=0.7),
    "n": Phone(0.10, 0.4, 0.0, 1.0, (280, 1600, 2600), 0.6, grip=0.7),
    "l": Phone(0.14, 0.4, 0.0, 1.0, (360, 1250, 2750), 0.75, grip=0.6),
    "k": Phone(0.13, 0.3, 0.0, 0.0, (380, 1850, 2300), 0.0, noise_hz=2000, burst=0.6, grip=0.5),
    "g": Phone(0.13, 0.3, 0.0, 0.0, (320, 1850, 2300), 0.25, noise_hz=1700, burst=0.3, grip=0.5),
    "r": Phone(0.13, 0.1, 0.4, 0.4, (380, 1150, 1650), 0.8, grip=0.8),
    "w": Phone(0.08, 0.0, 1.0, 0.0, (310, 650, 2200), 0.8, grip=1.3),
}
PAUSE = Phone(0.0, 0.25, 0.05, 0.0, (450, 1450, 2500), 0.0, grip=2.0)
PHONES = VOWELS | CONSONANTS | {"_": PAUSE}


class Segment(NamedTuple):
    """One phone of a script: its symbol, its start and end in seconds, and its stress (1 = normal)."""

    symbol: str
    start: float
    end: float
    stress: float


@dataclass(frozen=True)
class Articulation:
    """Mouth and vocal tract at CONTROL_RATE; every array is (N,) but formants (N, 3), in Hz."""

    segments: list[Segment]
    opening: np.ndarray
    jaw: np.ndarray
    spread: np.ndarray
    rounding: np.ndarray
    press: np.ndarray
    tuck: np.ndarray
    tongue: np.ndarray
    formants: np.ndarray
    voice: np.ndarray
    noise: np.ndarray
    noise_hz: np.ndarray

    def at_frames(self, name: str) -> np.ndarray:
        """Values of one trajectory at the video's own times f / FPS, (frames,)."""
        return getattr(self, name)[:: CONTROL_RATE // FPS]


def write_script(seconds: float, rng: np.random.Generator) -> list[Segment]:
    """Draws phrases of consonant-vowel syllables between pauses, with the durations of speech, for `seconds`."""
    segments, time = [], 0.0
    vowels, consonants = list(VOWELS), list(CONSONANTS)
    # Labials are what an eye checks first: they are drawn more often than their number among the consonants.
    weights = np.array([2.0 if CONSONANTS[c].labial else 1.0 for c in consonants])

    def say(symbol: str, low: float, high: float, stress: float = 1.0) -> None:
        nonlocal time
        duration = round(rng.uniform(low, high) * CONTROL_RATE) / CONTROL_RATE
        segments.append(Segment(symbol, time, time + duration, stress))
        time += duration

    say("_", 0.15, 0.35)
    while time < seconds:
        for _ in range(rng.integers(3, 8)):
            stress = rng.uniform(0.8, 1.1)
            for consonant in rng.choice(consonants, rng.choice([1, 2], p=[0.8, 0.2]), False, weights / weights.sum()):
                say(str(consonant), *((0.09, 0.12) if PHONES[consonant].labial else (0.06, 0.11)))
            say(str(rng.choice(vowels)), 0.09, 0.16, stress)
        say("_", 0.15, 0.60)
    return segments


def articulate(segments: list[Segment], seconds: float) -> Articulation:
    """Turns a script into smooth trajectories: targets blended by Gaussians, closures and pauses kept shut.

    A trajectory is the normalised convolution G * (grip target) / G * grip, so that neighbours share a moment by how
    strongly each insists (dominance functions, after Cohen and Massaro 1993).
    """
    count = round(seconds * CONTROL_RATE)
    time = np.arange(count) / CONTROL_RATE
    ends = np.array([segment.end for segment in segments])
    which = np.minimum(np.searchsorted(ends, time + 1e-9, side="right"), len(segments) - 1)
    phones = [PHONES[segment.symbol] for segment in segments]
    grip = np.array([phone.grip for phone in phones])[which]
    stress = np.array([segment.stress for segment in segments])[which]

    def target(name: str) -> np.ndarray:
        return np.array([getattr(phone, name) for phone in phones], float)[which]

    opening_target = target("opening") * stress
    gate = closures(segments, time)
    opening = blend(opening_target, grip, 0.028) * (1 - gate)
    formants = np.stack([blend(hz, grip, 0.018) for hz in target("formants").T], 1)
    # A mouth less open than its vowel wants has a lower first formant.
    formants[:, 0] *= 1 + 0.5 * np.clip(blend(stress, grip, 0.03) - 1, -0.3, 0.2)
    voice, noise = sources(segments, time)
    return Articulation(
        segments,
        opening=opening,
        jaw=blend(0.8 * opening_target, grip, 0.035) * (1 - 0.75 * gate),
        spread=blend(target("spread"), grip, 0.035),
        rounding=blend(target("rounding"), grip, 0.035),
        press=gate * blend(target("labial"), grip, 0.02),
        tuck=blend(target("tuck"), grip, 0.02),
        tongue=blend(target("tongue"), grip, 0.025),
        formants=formants,
        # The wider the mouth, the louder: what a listener can hear of the opening besides the formants.
        voice=voice * (0.3 + 1.6 * np.maximum(opening, 0.04)),
        noise=noise,
        noise_hz=blend(target("noise_hz"), grip, 0.012),
    )


def blend(target: np.ndarray, grip: np.ndarray, sigma: float) -> np.ndarray:
    """Smooths `target` (N,) over `sigma` seconds, each value weighing by `grip` (N,)."""
    reach = int(np.ceil(3 * sigma * CONTROL_RATE))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (sigma * CONTROL_RATE)) ** 2)

    def smooth(values: np.ndarray) -> np.ndarray:
        return np.convolve(np.pad(values, reach, mode="edge"), kernel, mode="valid")

    return smooth(target * grip) / smooth(grip)


def closures(segments: list[Segment], time: np.ndarray) -> np.ndarray:
    """1 where the lips must be shut, 0 where they are free, with raised-cosine ramps of 40 ms, (N,).

    A labial stays shut for at least 50 ms: longer than a frame lasts, so that at least one frame shows it.
    """
    gate = np.zeros_like(time)
    for symbol, start, end, _ in segments:
        if symbol == "_":
            gate = np.maximum(gate, plateau(time, start + 0.015, end - 0.015, 0.04))
        elif PHONES[symbol].labial:
            rest = (end - start - 0.05) / 2
            gate = np.maximum(gate, plateau(time, start + min(0.015, rest), end - min(0.02, rest), 0.04))
    return gate


def plateau(time: np.ndarray, start: float, end: float, ramp: float) -> np.ndarray:
    """1 between `start` and `end`, falling to 0 as a raised cosine within `ramp` seconds on either side, (N,)."""
    outside = np.maximum(start - time, time - end) - 1e-9
    return 0.5 + 0.5 * np.cos(np.pi * np.clip(outside / ramp, 0, 1))


def sources(segments: list[Segment], time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes of voicing and of turbulence before the mouth shapes them, (N,) each; pauses are silent."""
    voice, noise = np.zeros_like(time), np.zeros_like(time)
    for symbol, start, end, stress in segments:
        phone = PHONES[symbol]
        if symbol == "_":
            continue
        edge = plateau(time, start + 0.006, end - 0.006, 0.012)
        voice = np.maximum(voice, phone.voice * stress**2 * edge)
        noise = np.maximum(noise, phone.noise * edge)
        if phone.burst:
            noise = np.maximum(noise, phone.burst * plateau(time, end - 0.012, end - 0.002, 0.008))
    return voice, noise
