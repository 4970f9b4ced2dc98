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
from lipsync.corpora.crop import crop, rule_boxes
from lipsync.corpora.mel import context, sliding_mels
from lipsync.corpora.records import build_manifest, inside, load_manifest, read_record, write_record
from lipsync.device import choose_device
from lipsync.errors import LipsyncError
from lipsync.expert import SyncExpert
from lipsync.metrics.expert import SHIFTS, best_shift, shifted_scores

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
            record = read_record(root, inside(root, f"{manifest[row].id}.json"))
            stored = dataclasses.replace(record, sync_offset=0)
            try:
                pictures = read_pictures(root, stored, range(record.frames))
                sound = read_sound(root, stored, *context(0, record.frames))
            except UNREADABLE:
                pictures = None
            if pictures is None or record.frames < judge.syncnet.frames:
                unreadable.append(record.id)
                offset, confidence = 0, 0.0
            else:
                offset, confidence = measure(judge, pictures, sound, torch.tensor(record.box), place)
                offsets[record.id] = offset
                if confidence < min_confidence:
                    doubtful.append(record.id)
            believed = offset if confidence >= min_confidence else 0
            write_record(root, dataclasses.replace(record, sync_offset=believed, sync_confidence=confidence))
    build_manifest(root)
    if not offsets:
        raise LipsyncError(f"{corpus}: none of its {len(manifest)} clips could be read")
    counts = Counter(offsets[name] for name in offsets.keys() - set(doubtful))
    told = ", ".join(f"{count} at {offset:+d}" for offset, count in sorted(counts.items())) or "none"
    doubts = f"{len(doubtful)} doubtful, {len(unreadable)} unreadable"
    print(f"{corpus}: clips by frames their sound was late: {told}; {doubts}")
    return offsets


@torch.no_grad()
def measure(
    judge: SyncExpert, pictures: Tensor, sound: Tensor, box: Tensor, device: torch.device | str = "cpu"
) -> tuple[int, float]:
    """Measures one clip, a few windows on the device at a time.

    Args:
        judge: The expert.
        pictures: (F, 3, D, D) uint8, the stored track.
        sound: (K,) int16, the samples that `mel.context` names for all F frames.
        box: (4,) of the rule `square`.
        device: Where the judge is.

    Returns:
        Frames by which the sound comes late, and the confidence: best mean score minus the median over all shifts.
    """
    syncnet, frames = judge.syncnet, len(pictures)
    first = torch.zeros(1, dtype=torch.int64, device=device)
    mels = sliding_mels(sound[None].to(device), first, frames, syncnet.frames)[0]
    box = rule_boxes(judge.crop_rule, box[None], *pictures.shape[2:]).to(device)
    audio, face = [], []
    for start in range(0, len(mels), BATCH):
        part = mels[start : start + BATCH]
        seen = pictures[start : start + len(part) + syncnet.frames - 1].to(device)
        squares = crop(seen, box, syncnet.face_size[1], OVERSAMPLE) / 127.5 - 1
        face.append(syncnet.embed_face(syncnet.faces(squares.unfold(0, syncnet.frames, 1).movedim(-1, 1))))
        audio.append(syncnet.embed_audio(part[:, None]))
    return best_shift(*shifted_scores(torch.cat(audio), torch.cat(face), SHIFTS))
