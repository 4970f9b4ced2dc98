"""`lipsync sync`: by how many frames each clip's sound comes early or late, in the eyes of an expert."""

import dataclasses
from collections import Counter
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import Timeout
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from lipsync import checkpoints
from lipsync.corpora.clips import UNREADABLE, read_pictures, read_sound
from lipsync.corpora.crop import crop, rule_boxes
from lipsync.corpora.mel import context, sliding_mels
from lipsync.corpora.records import Record, build_manifest, inside, load_manifest, read_record, write_record
from lipsync.device import choose_device
from lipsync.errors import LipsyncError
from lipsync.expert import SyncExpert
from lipsync.metrics.expert import SHIFTS, best_shift, shifted_scores
from lipsync.preparation.crew import alone, cores, work

BATCH = 64  # windows embedded at once
OVERSAMPLE = 2
A_PROCESS = 32  # clips for which a process is worth its start
LATENESS = "lateness"  # among a record's measurements: the offset, believed or not


class Found(NamedTuple):
    """What came of a clip.

    Attributes:
        offset: Frames by which its sound comes late; None where it cannot be read, or is too short.
        confidence: 0 where it cannot be read.
        busy: Somebody else is at it.
    """

    offset: int | None
    confidence: float = 0.0
    busy: bool = False


def sync(corpus: str, expert: str, min_confidence: float = 0.05, device: str = "auto") -> dict[str, int]:
    """Measures every clip's offset and confidence and writes them into its record; reading then corrects the shift.

    Nothing is encoded again, and nothing that this expert has measured is measured again, also where several run at
    once. Another expert starts from the sound as it is stored.

    Args:
        corpus: Folder of the corpus.
        expert: A trained SyncExpert, or the name of a shipped one.
        min_confidence: Below it a clip's offset is not believed and its sound is left where it is.
        device: Where to compute: cpu, cuda, ... or auto.

    Returns:
        Offset of every clip that was measured, in frames by which its sound comes late, by the clip's id.
    """
    root, place = Path(corpus), choose_device(device)
    checkpoints.load_expert(expert)  # says here, not in a process of its own, what is wrong with it
    waiting = load_manifest(root).column("id").tolist()
    found: dict[str, Found] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Listening and looking", total=len(waiting))
        for wait in (False, True):  # what others are at comes last
            listens = partial(_listen, root=root, min_confidence=min_confidence, wait=wait)
            processes = min(cores(), -(-len(waiting) // A_PROCESS))
            for id, heard in work(listens, waiting, processes, partial(_equip, expert, place)):
                found[id] = heard
                progress.advance(task, 0 if heard.busy else 1)
            waiting = [id for id, heard in found.items() if heard.busy]
            if not waiting:
                break
    with alone(root):
        build_manifest(root)
    offsets = {id: heard.offset for id, heard in sorted(found.items()) if heard.offset is not None}
    if not offsets:
        raise LipsyncError(f"{corpus}: none of its {len(found)} clips could be read")
    believed = Counter(offset for id, offset in offsets.items() if found[id].confidence >= min_confidence)
    told = ", ".join(f"{count} at {offset:+d}" for offset, count in sorted(believed.items())) or "none"
    doubts = f"{len(offsets) - believed.total()} doubtful, {len(found) - len(offsets)} unreadable"
    print(f"{corpus}: clips by frames their sound was late: {told}; {doubts}")
    return offsets


_judge: list[tuple[SyncExpert, str, torch.device]] = []  # this process's own, its fingerprint, and where it is


def _equip(expert: str, device: torch.device) -> None:
    judge = checkpoints.load_expert(expert)
    _judge[:] = [(judge.to(device), checkpoints.fingerprint(judge.syncnet), device)]


def _listen(id: str, root: Path, min_confidence: float, wait: bool) -> Found:
    """Writes into a clip's record what this process's expert makes of it, unless it stands there."""
    judge, name, device = _judge[0]
    try:
        with alone(root, id.rpartition("/")[0]).acquire(blocking=wait):
            record = read_record(root, inside(root, f"{id}.json"))
            if record.sync_expert == name:
                found = Found(record.measurements[LATENESS], record.sync_confidence)
            else:
                found = _hear(root, record, judge, device)
            measured = {} if found.offset is None else {LATENESS: found.offset}
            said = dataclasses.replace(
                record,
                sync_offset=measured.get(LATENESS, 0) if found.confidence >= min_confidence else 0,
                sync_confidence=found.confidence,
                sync_expert=name if measured else "",
                measurements=record.measurements | measured,
            )
            if said != record:
                write_record(root, said)
            return found
    except Timeout:
        return Found(None, busy=True)


def _hear(root: Path, record: Record, judge: SyncExpert, device: torch.device) -> Found:
    stored = dataclasses.replace(record, sync_offset=0)
    if record.frames < judge.syncnet.frames:
        return Found(None)
    try:
        pictures = read_pictures(root, stored, range(record.frames))
        sound = read_sound(root, stored, *context(0, record.frames))
    except UNREADABLE:
        return Found(None)
    return Found(*measure(judge, pictures, sound, torch.tensor(record.box), device))


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
