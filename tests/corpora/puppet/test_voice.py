"""The voice says what the script means: formants, noise, silence, and enough to read the mouth from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lipsync.corpora.mel import log_mel
from lipsync.corpora.puppet.script import FPS, PHONES, Segment, articulate, write_script
from lipsync.corpora.puppet.speaker import draw_speaker
from lipsync.corpora.puppet.voice import filtered_noise, response, speak
from lipsync.sound import SAMPLE_RATE


def talk(speaker: int, clip: int, seconds: float = 3.0):
    rng = np.random.default_rng([7, speaker, clip])
    articulation = articulate(write_script(seconds, rng), seconds)
    return articulation, speak(articulation, draw_speaker(np.random.default_rng([7, speaker])), rng)


def steady(symbol: str) -> np.ndarray:
    speaker = replace(draw_speaker(np.random.default_rng(3)), pitch=60.0, formant_scale=1.0, breathiness=0.0)
    samples = speak(articulate([Segment(symbol, 0.0, 1.0, 1.0)], 1.0), speaker, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2  # bins of 1 Hz
    return np.convolve(power, np.ones(120) / 120, mode="same")


@pytest.mark.parametrize("symbol", ["a", "e", "i", "o", "@"])
def test_spectrum_peaks_at_the_scripted_formants(symbol):
    power = steady(symbol)
    for formant in PHONES[symbol].formants[:2]:
        low, high = int(0.8 * formant), int(1.2 * formant)
        assert low + power[low:high].argmax() == pytest.approx(formant, abs=65)


def test_hisses_are_noise_up_high_and_vowels_are_not():
    def centroid(symbol: str) -> float:
        power = steady(symbol)
        return (power * np.arange(len(power))).sum() / power.sum()

    assert centroid("s") > 5000
    assert 2500 < centroid("S") < 3600
    assert centroid("a") < 1200


def test_resonator_peaks_at_its_formant():
    formants = np.array([[500.0, 1500.0, 2500.0, 3600.0, 4600.0]])
    # F^2 / (i F B) = -i F / B at the formant, alone.
    gains = [abs(response(np.array([hz]), formants)[0]) for hz in (400.0, 500.0, 600.0)]
    assert gains[1] > 2 * max(gains[0], gains[2])


def test_filtered_noise_keeps_the_level_of_an_even_gain():
    noise = filtered_noise(np.random.default_rng(0), 400, lambda hz: np.ones((len(hz), 400)))
    assert len(noise) == 32_000
    assert noise.std() == pytest.approx(1.0, abs=0.03)


def test_sound_lasts_exactly_as_long_as_the_video():
    articulation, samples = talk(0, 0)
    assert samples.dtype == np.int16
    assert len(samples) == len(articulation.at_frames("opening")) * SAMPLE_RATE // FPS == 48_000


def test_same_seed_same_samples():
    assert np.array_equal(talk(1, 1)[1], talk(1, 1)[1])


def levels(speakers: range) -> dict[str, float]:
    """Root mean square by kind of phone, over the middle of each."""
    power = {"vowel": [], "closure": [], "pause": []}
    for speaker in speakers:
        articulation, samples = talk(speaker, 0)
        assert np.abs(samples.astype(int)).max() < 32_767
        for symbol, start, end, _ in articulation.segments:
            kind = {"_": "pause", "p": "closure", "b": "closure"}.get(symbol, "vowel" if symbol in "aeiou" else None)
            middle = samples[int((start + 0.02) * SAMPLE_RATE) : int((end - 0.025) * SAMPLE_RATE)].astype(float)
            if kind and len(middle):
                power[kind].append((middle**2).mean())
    return {kind: np.mean(values) ** 0.5 for kind, values in power.items()}


def test_pauses_are_silent_and_closures_quiet():
    level = levels(range(8))
    assert level["vowel"] > 1000
    assert level["closure"] < level["vowel"] / 5
    assert level["pause"] < level["vowel"] / 50


def windows(speaker: int, clip: int) -> tuple[np.ndarray, np.ndarray]:
    articulation, samples = talk(speaker, clip)
    mel = log_mel(torch.from_numpy(samples)[None].float() / 32768)[0].numpy()
    opening = articulation.at_frames("opening")
    first = [int(80 * max(frame - 1, 0) / 25) for frame in range(len(opening))]
    kept = [frame for frame in range(len(opening)) if first[frame] + 16 <= mel.shape[1]]
    return np.stack([mel[:, first[frame] : first[frame] + 16].ravel() for frame in kept]), opening[kept]


def test_a_linear_map_of_the_mel_reads_the_opening_of_unseen_speakers():
    train = [windows(speaker, clip) for speaker in range(20) for clip in range(2)]
    held_out = [windows(speaker, 0) for speaker in range(20, 28)]
    features, opening = (np.concatenate(parts) for parts in zip(*train, strict=True))
    centred = features - features.mean(0)
    weights = np.linalg.solve(centred.T @ centred + 1000 * np.eye(1280), centred.T @ (opening - opening.mean()))
    read = np.concatenate([(mel - features.mean(0)) @ weights for mel, _ in held_out])
    assert np.corrcoef(read, np.concatenate([truth for _, truth in held_out]))[0, 1] > 0.85
