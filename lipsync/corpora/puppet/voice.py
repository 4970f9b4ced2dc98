"""The sound of an articulation: a source-filter voice with formants, harmonics and turbulence."""

from collections.abc import Callable

import numpy as np

from lipsync.corpora.puppet.script import CONTROL_RATE, Articulation
from lipsync.corpora.puppet.speaker import Speaker
from lipsync.sound import SAMPLE_RATE

HOP = SAMPLE_RATE // CONTROL_RATE
BANDWIDTHS = np.array([70.0, 100.0, 150.0, 220.0, 300.0])  # Hz, formants 1 to 5
UPPER_FORMANTS = (3600.0, 4600.0)  # Hz: hardly move with the mouth, so they are the speaker's
PEAK = 0.95  # of full scale: turned down rather than clipped
TOP = 5600.0  # Hz: no harmonic above, well below the Nyquist frequency


def speak(articulation: Articulation, speaker: Speaker, rng: np.random.Generator) -> np.ndarray:
    """Synthesises the articulation in the speaker's voice, (samples,) int16 at 16 kHz, HOP samples a control value."""
    formants = vocal_tract(articulation, speaker)
    pitch = intonation(articulation, speaker, rng)
    voiced = harmonics(pitch, formants, articulation.voice)
    unvoiced = turbulence(articulation, speaker, rng)
    # Air through a wide open voice is slightly noisy too; the room never is quite silent.
    breath = filtered_noise(rng, len(pitch), lambda hz: response(hz, formants) * (hz > 1500))
    breath *= to_samples(articulation.voice) * speaker.breathiness
    room = rng.standard_normal(len(voiced)) * 10 ** (speaker.room_db / 20)
    sound = speaker.loudness * (voiced + unvoiced + breath) + room
    return np.round(sound * min(1, PEAK / np.abs(sound).max()) * 32767).astype(np.int16)


def vocal_tract(articulation: Articulation, speaker: Speaker) -> np.ndarray:
    """The speaker's five formants over time, (N, 5) Hz: the script's, scaled by the length of the vocal tract."""
    upper = np.broadcast_to(UPPER_FORMANTS, (len(articulation.formants), 2))
    return np.concatenate([articulation.formants, upper], 1) * speaker.formant_scale


def intonation(articulation: Articulation, speaker: Speaker, rng: np.random.Generator) -> np.ndarray:
    """Fundamental frequency over time, (N,) Hz: slow wandering, a rise with the stress of each vowel."""
    count = len(articulation.voice)
    knots = np.arange(0, count + CONTROL_RATE, CONTROL_RATE // 4)
    wander = np.interp(np.arange(count), knots, rng.normal(0, 0.06, len(knots)))
    return speaker.pitch * np.exp(wander + 0.1 * (articulation.voice - 0.5))


def to_samples(control: np.ndarray) -> np.ndarray:
    """Linear interpolation from CONTROL_RATE to SAMPLE_RATE, (N,) -> (N * HOP,); value k falls on sample k * HOP."""
    after = np.append(control[1:], control[-1:])
    share = np.arange(HOP) / HOP
    return (control[:, None] * (1 - share) + after[:, None] * share).reshape(-1)


def response(hz: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """Complex response of a cascade of formant resonators (Klatt 1980) behind a glottis, (..., N) for hz (..., N).

    Each resonator is F^2 / (F^2 - f^2 + i f B), 1 at 0 Hz; the glottis falls by 12 dB an octave above 300 Hz, the lips
    radiate 6 dB an octave.
    """
    total = (hz / 300) / (1 + (hz / 300) ** 2) + 0j
    for formant, bandwidth in zip(formants.T, BANDWIDTHS, strict=True):
        total = total * formant**2 / (formant**2 - hz**2 + 1j * hz * bandwidth)
    return total


def harmonics(pitch: np.ndarray, formants: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    """Voiced sound, (N * HOP,): every harmonic k of the pitch, filtered where it lies, H(k f_0) exp(2 pi i k phase)."""
    phase = np.cumsum(to_samples(pitch)) / SAMPLE_RATE
    turn = np.exp(2j * np.pi * phase)
    wave = np.ones_like(turn)
    sound = np.zeros(len(phase))
    for k in range(1, int(TOP / pitch.min()) + 1):
        wave *= turn
        # Fades out below TOP, so that a harmonic that glides past it does not click.
        gain = amplitude * response(k * pitch, formants) * np.clip((TOP - k * pitch) / 500, 0, 1)
        sound += (to_samples(gain) * wave).real
    return sound


def turbulence(articulation: Articulation, speaker: Speaker, rng: np.random.Generator) -> np.ndarray:
    """Unvoiced sound, (N * HOP,): noise in a band about `noise_hz`, as strong as `noise`."""
    centre = articulation.noise_hz * speaker.formant_scale
    sound = filtered_noise(rng, len(centre), lambda hz: np.exp(-0.5 * ((hz - centre) / (300 + 0.2 * centre)) ** 2))
    return sound * to_samples(articulation.noise) * 0.35


def filtered_noise(rng: np.random.Generator, count: int, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """White noise through a gain that changes with time, (count * HOP,); gain(hz (F, 1)) -> (F, count).

    Short-time filtering: square-root Hann windows of four hops, one a control value, whose squares add up to 2.
    """
    width = 4 * HOP
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width))
    white = rng.standard_normal((count + 4) * HOP)
    frames = np.lib.stride_tricks.sliding_window_view(white, width)[::HOP][:count]
    spectrum = np.fft.rfft(frames * window)
    hz = np.fft.rfftfreq(width, 1 / SAMPLE_RATE)[:, None]
    shaped = np.fft.irfft(spectrum * np.abs(gain(hz)).T) * window / 2
    sound = np.zeros((count + 4, HOP))
    for part in range(4):
        sound[part : part + count] += shaped[:, part * HOP : (part + 1) * HOP]
    # Frame k is centred on sample k * HOP.
    return sound[2 : count + 2].reshape(-1)
