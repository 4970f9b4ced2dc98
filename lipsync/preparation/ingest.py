"""One raw video into the finished clips of a corpus: used where it lies, or cut out and encoded anew."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lipsync.corpora.crop import box_in_track, rule_boxes, track_boxes
from lipsync.corpora.records import FPS, SAMPLES_A_FRAME, Record, write_record
from lipsync.preparation.conforming import Witness
from lipsync.preparation.cutting import write_videos
from lipsync.preparation.measuring import look_at, measure_face, measure_sound
from lipsync.preparation.report import Row
from lipsync.preparation.sources import Source
from lipsync.preparation.tracks import CutDetector, Finder, Track, find_tracks
from lipsync.sound import SAMPLE_RATE, decode_to_wav, map_wav, write_wav
from lipsync.video import on_grid, probe, read_frames

LINK = "raw"  # in the corpus: a link to the folder whose clips are used where they lie
IN_PLACE = "in place"  # what the report says of them
MISSED = 5  # frames at a clip's ends in which the face need not have been seen
WANDERS = 0.12  # of its side: how far the face may be from a box that stands still
LOOKED_AT = 5  # every so many frames of a clip in place are measured for luma and sharpness


class Settings(NamedTuple):
    """What all clips of a corpus have in common; `prepare` documents them. `look_every` is 1 outside of layouts."""

    size: int
    crop_rule: str
    min_seconds: float
    max_seconds: float
    min_face: int
    look_every: int
    layout: str


class Piece(NamedTuple):
    """A clip to be cut out.

    Attributes:
        first: Number of its first frame on the grid.
        stored: Region that is stored, (T, 4), one a frame.
        box: Crop box in the stored picture.
        side: Of the crop box in pixels of the source.
        track: The face, if there is one.
    """

    first: int
    stored: Tensor
    box: tuple[float, float, float, float]
    side: float
    track: Track | None

    def __len__(self) -> int:
        return len(self.stored)


def ingest(source: Source, root: Path, settings: Settings, finder: Finder) -> Row:
    """Writes a source's clips, their sound and last their records; returns its row of the report.

    Raises:
        LipsyncError: No sound, no picture, or nothing that can be decoded.
        OSError: The files cannot be written.
    """
    wav = root / source.id / "sound.wav"
    probe(source.path)  # a file that is no video is called that, whatever its sound
    sound_start = decode_to_wav(source.sound or source.path, wav)
    samples = map_wav(wav)
    try:
        objection = ""
        if settings.layout:
            record, objection = _in_place(source, root, settings, finder, samples, sound_start)
            if record is not None:
                write_record(root, record)
                return Row(source.name, 1, record.frames / FPS, IN_PLACE)
        row = _cut_out(source, root, settings, finder, samples, sound_start)
        note = "; ".join(part for part in (f"encoded anew: {objection}" if objection else "", row.note) if part)
        return dataclasses.replace(row, note=note)
    finally:
        del samples
        wav.unlink()


def _in_place(
    source: Source, root: Path, settings: Settings, finder: Finder, samples: np.ndarray, sound_start: float
) -> tuple[Record | None, str]:
    """The record of a clip that is used where it lies, or why it cannot be."""
    # Who is tested on, or watched, is measured in every frame.
    every = settings.look_every if source.split == "train" else 1
    witness = Witness(read_frames(source.path))
    looks: list[Tensor] = []
    tracks = find_tracks(_watched(witness, looks), finder, FPS, every=every)
    count, begin = len(witness.times), round((witness.times[0] - sound_start) * SAMPLE_RATE)
    if objection := witness.objection(source.path, settings.size, len(samples) - begin):
        return None, objection
    track = max(tracks, key=lambda found: (len(found), -found.first), default=None)
    if settings.crop_rule == "square":
        if track is None or track.first > MISSED or track.first + len(track) < count - MISSED - every + 1:
            return None, "the face is not there throughout"
        boxes = track.boxes(FPS)
        box = boxes.mean(0)
        if float((boxes - box).abs().max()) > WANDERS * float(box[1] - box[0]):
            return None, "the face wanders"
    else:
        box = rule_boxes(settings.crop_rule, torch.zeros(1, 4), settings.size, settings.size)[0]
    if count < settings.min_seconds * FPS:
        return None, ""  # cutting says so
    id = f"{source.id}/0"
    sound = _stretch(samples, begin, count * SAMPLES_A_FRAME)
    write_wav(root / f"{id}.wav", sound)
    luma, sharpness = torch.cat(looks).mean(0).tolist()
    opening = []
    if track is not None and every == 1 and len(track) >= count - 2 * MISSED:
        opening = np.pad(track.opening(), (track.first, count - track.first - len(track)), mode="edge").tolist()
    measurements = measure_face(track, float(box[1] - box[0]), count, every) | measure_sound(sound)
    return Record(
        id=id,
        video=f"{LINK}/{source.name}",
        sound=f"{id}.wav",
        source=source.name,
        speaker=source.speaker or source.id,
        split=source.split or "train",
        frames=count,
        size=settings.size,
        box=box.tolist(),
        start=witness.times[0],
        crop_rule=settings.crop_rule,
        opening=opening,
        measurements=measurements | {"luma": luma, "sharpness": sharpness},
    ), ""


def _watched(images: Witness, looks: list[Tensor]) -> Iterator[np.ndarray]:
    """Measures some of the pictures that pass by."""
    for number, image in enumerate(images):
        if number % LOOKED_AT == 0:
            looks.append(look_at(torch.from_numpy(image).permute(2, 0, 1)[None]))
        yield image


def _cut_out(
    source: Source, root: Path, settings: Settings, finder: Finder, samples: np.ndarray, sound_start: float
) -> Row:
    """Writes clips at 25 frames a second: pass one finds faces, pass two cuts them out, the records come last."""
    info = probe(source.path)
    # The grid counts from the first sample; frames from before it, and after the last one, have no sound.
    skipped = max(0, math.ceil((info.start - sound_start) * FPS - 1e-6))
    start = sound_start + skipped / FPS
    length = max(0, math.ceil(len(samples) / SAMPLES_A_FRAME) - skipped)

    def images() -> Iterator[np.ndarray]:
        return islice(on_grid(read_frames(source.path), start, FPS), length)

    if settings.crop_rule == "square":
        found = find_tracks(images(), finder, FPS)
        pieces = [
            _of_track(part, settings) for part in chain.from_iterable(t.pieces(_longest(settings)) for t in found)
        ]
        missing = "" if found else "no face found"
    else:
        pieces = list(_of_shots(images(), finder, settings, info.height, info.width))
        missing = "" if pieces else "no picture with sound"
    kept, note = _select(pieces, settings)
    ids = [f"{source.id}/{k}" for k in range(len(kept))]
    paths = [root / f"{id}.mp4" for id in ids]
    looks = write_videos(images(), [p.first for p in kept], [p.stored for p in kept], paths, settings.size)
    records = []
    for id, piece, (luma, sharpness) in zip(ids, kept, looks, strict=True):
        sound = _stretch(samples, (skipped + piece.first) * SAMPLES_A_FRAME, len(piece) * SAMPLES_A_FRAME)
        write_wav(root / f"{id}.wav", sound)
        measurements = measure_face(piece.track, piece.side, len(piece)) | measure_sound(sound)
        whole = piece.track is not None and len(piece.track) == len(piece)
        records.append(
            Record(
                id=id,
                video=f"{id}.mp4",
                sound=f"{id}.wav",
                source=source.name,
                speaker=source.speaker or source.id,
                split=source.split or "train",  # until all sources are known
                frames=len(piece),
                size=settings.size,
                box=piece.box,
                start=start + piece.first / FPS,
                opening=piece.track.opening().tolist() if whole else [],
                crop_rule=settings.crop_rule,
                measurements=measurements | {"luma": luma, "sharpness": sharpness},
            )
        )
    for record in records:
        write_record(root, record)
    return Row(source.name, len(kept), sum(len(piece) for piece in kept) / FPS, missing or note)


def _of_track(track: Track, settings: Settings) -> Piece:
    boxes = track.boxes(FPS)
    side = float(boxes[0, 1] - boxes[0, 0])
    return Piece(track.first, track_boxes(boxes), box_in_track(settings.size), side, track)


def _of_shots(
    images: Iterator[np.ndarray], finder: Finder, settings: Settings, height: int, width: int
) -> Iterator[Piece]:
    """Whole pictures from cut to cut, with the longest face in each, for a rule that looks at no face."""
    is_cut, cuts, count = CutDetector(), [0], 0

    def passing() -> Iterator[np.ndarray]:
        nonlocal count
        for image in images:
            if is_cut(image[:, :, 1]):
                cuts.append(count)
            count += 1
            yield image

    tracks = find_tracks(passing(), finder, FPS)
    box = rule_boxes(settings.crop_rule, torch.zeros(1, 4), settings.size, settings.size)[0].tolist()
    for begin, end in pairwise([*cuts, count]):
        parts = -(-(end - begin) // _longest(settings))
        for first, last in pairwise([begin + (end - begin) * k // parts for k in range(parts + 1)] if parts else []):
            inside = (track.between(first, last) for track in tracks)
            track = max((part for part in inside if part is not None), key=len, default=None)
            region = torch.tensor([0.0, height, 0.0, width]).expand(last - first, 4)
            yield Piece(first, region, tuple(box), box[1] - box[0], track)


def _longest(settings: Settings) -> int:
    return int(settings.max_seconds * FPS)


def _select(pieces: list[Piece], settings: Settings) -> tuple[list[Piece], str]:
    """The pieces worth keeping, and in words why the others are not."""
    kept, reasons = [], Counter()
    for piece in pieces:
        if len(piece) < settings.min_seconds * FPS:
            reasons[f"shorter than {settings.min_seconds:g} s"] += 1
        elif piece.side < settings.min_face:
            reasons[f"smaller than {settings.min_face:g} px"] += 1
        else:
            kept.append(piece)
    return kept, ", ".join(f"{count} {reason}" for reason, count in reasons.items())


def _stretch(samples: np.ndarray, begin: int, count: int) -> np.ndarray:
    """`count` samples from `begin` on, silence outside of the sound."""
    sound = np.zeros(count, np.int16)
    low, high = max(begin, 0), min(begin + count, len(samples))
    if high > low:
        sound[low - begin : high - begin] = samples[low:high]
    return sound
