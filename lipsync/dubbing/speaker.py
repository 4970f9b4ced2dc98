"""Whose mouth moves with the video's own sound: ridge regression tells the opening from the mel."""

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lipsync.corpora.crop import smooth
from lipsync.corpora.mel import BINS, HOP, log_mel
from lipsync.dubbing.read import Format
from lipsync.dubbing.track import Survey
from lipsync.errors import LipsyncError
from lipsync.sound import SAMPLE_RATE, decode_to_wav, map_wav

BANDS = 16  # of the mel's 80
AROUND = (-0.06, 0.0, 0.06)  # seconds from a frame at which it hears
LAGS = np.linspace(-0.4, 0.4, 11)  # seconds by which the sound may be late
RIDGE = 1.0  # of the penalty, a frame
FOLDS = 5
SHORTEST = 1.0  # seconds of a face of which something can be said
LOCAL = 1.5  # seconds (sigma): slower changes of an opening are a turning head's; movement is averaged over as much
# Correlation times the root of the seconds. Of six real clips of 3 to 8 s in which one face speaks five are above, the
# sixth being out of sync; of 24 pairs of such a face and a stranger's speech, each at its best lag, the median has .70.
SURE = 0.85


class Heard(NamedTuple):
    """A video's own sound: `mel` (BANDS, C), 80 columns a second, the first at `start` on the container's clock."""

    mel: np.ndarray
    start: float


class Following(NamedTuple):
    """How N mouths move with the sound.

    Attributes:
        lag: Seconds by which the sound is late, as suits all faces best together.
        r: (N,) correlation of the opening with what the sound says of it; 0 for a face that is seen too shortly.
        sure: (N,) whether that is more than strangers reach.
    """

    lag: float
    r: np.ndarray
    sure: np.ndarray


def listen(video: str | Path, chunk: int = 4800) -> Heard | None:
    """Hears a video's sound, so many columns at a time; None where it has none."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            start = decode_to_wav(video, f"{folder}/sound.wav")
        except LipsyncError:
            return None
        samples, parts = map_wav(f"{folder}/sound.wav"), []
        for column in range(0, len(samples) // HOP + 1, chunk):
            before = min(column, 4)  # columns whose windows reach across the cut
            part = samples[(column - before) * HOP : (column + chunk + 4) * HOP]
            mel = log_mel(torch.from_numpy(part.astype(np.float32) / 32768)[None])[0, :, before : before + chunk]
            parts.append(mel.unflatten(0, (BANDS, BINS // BANDS)).mean(1).numpy())
    return Heard(np.concatenate(parts, 1), start)


def follow(survey: Survey, source: Format, heard: Heard) -> Following:
    """Correlates every mouth's opening with the sound, which may be a little early or late."""
    seconds = np.array([len(track) for track in survey.tracks]) / float(source.rate)
    r = np.zeros((len(seconds), len(LAGS)))
    for number in np.flatnonzero(seconds >= SHORTEST):
        opening = _moves(survey.tracks[number].opening(), source)
        told = np.stack([_told(opening, _features(survey, source, heard, number, lag)) for lag in LAGS])
        opening, told = opening - opening.mean(), told - told.mean(1, keepdims=True)
        r[number] = told @ opening / np.maximum(np.linalg.norm(told, axis=1) * np.linalg.norm(opening), 1e-6)
    best = int((r * seconds[:, None]).sum(0).argmax())
    return Following(float(LAGS[best]), r[:, best], r[:, best] * np.sqrt(seconds) > SURE)


def movement(survey: Survey, source: Format, heard: Heard, number: int, lag: float) -> np.ndarray:
    """How far a mouth opens with the sound around each frame of its track, (T,): their local covariance."""
    opening = _moves(survey.tracks[number].opening(), source)
    shared = opening * _told(opening, _features(survey, source, heard, number, lag))
    return shared - _moves(shared, source)


def _moves(values: np.ndarray, source: Format) -> np.ndarray:
    """(T,) without what changes slowly."""
    values = torch.from_numpy(values).double()[:, None]
    return (values - smooth(values, LOCAL * float(source.rate)))[:, 0].numpy()


def _features(survey: Survey, source: Format, heard: Heard, number: int, lag: float) -> np.ndarray:
    """What is heard in each frame of a track, (T, 3 BANDS), centred and of about unit spread."""
    track = survey.tracks[number]
    times = survey.pts[track.first : track.first + len(track)] * float(source.time_base) + lag - heard.start
    places = (times[:, None] + AROUND).ravel() * SAMPLE_RATE / HOP
    columns = np.arange(heard.mel.shape[1])
    mel = np.stack([np.interp(places, columns, band, left=-4, right=-4) for band in heard.mel], 1)
    mel = mel.reshape(len(track), -1)
    return (mel - mel.mean(0)) / (mel.std(0) + 0.1)


def _told(opening: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The opening (T,) as a linear map of the features tells it that has not seen this fifth of the track."""
    told, edges = np.zeros(len(opening)), np.linspace(0, len(opening), FOLDS + 1).astype(int)
    for begin, end in pairwise(edges):
        seen = np.r_[0:begin, end : len(opening)]
        mean, known = features[seen].mean(0), opening[seen].astype(np.float64)
        centred = features[seen] - mean
        penalty = RIDGE * len(seen) * np.eye(features.shape[1])
        weights = np.linalg.solve(centred.T @ centred + penalty, centred.T @ (known - known.mean()))
        told[begin:end] = (features[begin:end] - mean) @ weights
    return told
