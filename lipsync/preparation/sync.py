"""`lipsync sync`: by how many frames each clip's sound comes early or late, in the eyes of an expert."""

import dataclasses
from collections import Counter
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from lipsync import checkpoints
from lipsync.corpora.clips import UNREADABLE, read_pictures, read_sound
from lipsync.corpora.crop import crop
from lipsync.corpora.mel import context, sliding_mels
from lipsync.corpora.records import Record, build_manifest, load_manifest, read_record, write_record
from lipsync.device import choose_device
from lipsync.expert import Expert
from lipsync.metrics.expert import SHIFTS, shifted_scores

BATCH = 64  # windows embedded at once
OVERSAMPLE = 2


def sync(corpus: str, expert: str, min_confidence: float = 0.05, device: str = "auto") -> dict[str, int]:
    """Measures every clip's offset and confidence and writes them into its record; reading then corrects the shift.

    Nothing is encoded again, and measuring once more starts from the sound as it is stored.

    Args:
        corpus: Folder of the corpus.
        expert: A trained SyncExpert, or the name of a shipped one.
        min_confidence: Below it a clip's offset is not believed and its sound is left where it is.
        device: Where to compute: cpu, cuda, ... or auto.

    Returns:
        Offset of every clip that was measured, in frames by which its sound comes late, by the clip's id.
    """
    root, place = Path(corpus), choose_device(device)
    judge = checkpoints.load_expert(expert).to(place)
    manifest = load_manifest(root)
    offsets, doubtful, unreadable = {}, [], []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for row in progress.track(range(len(manifest)), description="Listening and looking"):
            record = read_record(root, root / f"{manifest[row].id}.json")
            try:
                offset, confidence = measure(judge, root, record, place)
            except UNREADABLE:
                unreadable.append(record.id)
                continue
            offsets[record.id] = offset
            if confidence < min_confidence:
                doubtful.append(record.id)
            believed = offset if confidence >= min_confidence else 0
            write_record(root, dataclasses.replace(record, sync_offset=believed, sync_confidence=confidence))
    build_manifest(root)
    counts = Counter(offsets[name] for name in offsets.keys() - set(doubtful))
    told = ", ".join(f"{count} at {offset:+d}" for offset, count in sorted(counts.items())) or "none"
    doubts = f"{len(doubtful)} doubtful, {len(unreadable)} unreadable"
    print(f"{corpus}: clips by frames their sound was late: {told}; {doubts}")
    return offsets


@torch.no_grad()
def measure(judge: Expert, root: Path, record: Record, device: torch.device | str = "cpu") -> tuple[int, float]:
    """Measures one clip as it is stored, whatever its record says of its offset.

    Returns:
        Frames by which the sound comes late, and the confidence: best mean score minus the median over all shifts.

    Raises:
        Exception: One of `clips.UNREADABLE`.
    """
    stored = dataclasses.replace(record, sync_offset=0)
    sound = read_sound(root, stored, *context(0, record.frames))[None].to(device)
    mels = sliding_mels(sound, torch.zeros(1, dtype=torch.int64, device=device), record.frames, judge.frames)[0]
    side = judge.face_size[1]
    pictures = crop(
        read_pictures(root, stored, range(record.frames)).to(device), torch.tensor(record.box), side, OVERSAMPLE
    )
    windows = (pictures / 127.5 - 1).unfold(0, judge.frames, 1).movedim(-1, 1)
    faces = torch.cat([judge.embed_face(judge.faces(part)) for part in windows.split(BATCH)])
    audio = torch.cat([judge.embed_audio(part[:, None]) for part in mels.split(BATCH)])
    return best_shift(audio, faces)


def best_shift(audio: Tensor, face: Tensor) -> tuple[int, float]:
    """Finds the shift of the sound with the best mean score, and by how much it stands out; (W, E) embeddings each."""
    scores, present = shifted_scores(audio, face, SHIFTS)
    heard = present.sum(0)
    known = 2 * heard >= len(audio)  # shifts that leave at least half of a short clip, as many either way
    mean = scores.sum(0)[known] / heard[known]
    best = int(mean.argmax())
    return best - len(mean) // 2, float(mean[best] - mean.median())
