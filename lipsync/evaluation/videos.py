"""`lipsync evaluate`: videos that any system made, judged against the real ones as `lightning test` judges a model."""

from pathlib import Path

import av
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from lipsync.device import choose_device
from lipsync.errors import LipsyncError
from lipsync.evaluation.clips import Clip, Folder, plain
from lipsync.evaluation.evaluation import delayed
from lipsync.evaluation.finish import gather
from lipsync.evaluation.judges import Judges, Sound
from lipsync.evaluation.matching import Couple, couples, fingerprint
from lipsync.evaluation.protocols import TRUTH
from lipsync.evaluation.stretch import JUDGED, LONGEST, Stretch, cut_out, sound_of
from lipsync.evaluation.table import Summary
from lipsync.expert import SyncExpert
from lipsync.networks.syncnet_v2 import FRAMES
from lipsync.preparation.faces import FaceFinder
from lipsync.preparation.tracks import Finder

GENERATED, COPY_INPUT = "generated", "copy_input"  # rows


def evaluate(
    generated: str,
    against: str,
    out: str,
    expert: str | None = "synthetic_eval",
    lpips_weights: str | None = None,
    fid_weights: str | None = None,
    device: str = "auto",
) -> Summary:
    """Scores videos that any system made against the real ones; run again, it goes on.

    Both are brought to 25 frames a second from their first frames on and cut to the real video's most prominent face,
    as `stretch.cut_out` says; no more than the first 30 s are looked at. Rows: `truth`; `shifted_N`, the truth with its
    sound N frames late; `generated`, with its own sound, in all else compared with the truth, as if both said the same;
    `copy_input`, the real frames with the generated video's sound, where that is another. A video without its partner,
    or one that cannot be compared, is listed as failed.

    Args:
        generated: Folder of the videos to score, or one of them.
        against: Folder of the real ones, with the same names but for the endings, or one of them.
        out: Folder for tables, report and films; one that was begun is gone on with.
        expert: Judge of sync: name of a shipped SyncExpert, or path of a trained one or of SyncNet-v2's weights;
            null: nobody.
        lpips_weights: File of torchvision's AlexNet, or `download`; without, a distance of another name stands in.
        fid_weights: File of the FID's Inception-v3, `pt_inception-2015-12-05-6726825d.pth`, or `download`; needs
            `pip install -e '.[fid]'`; without, the distance `fd_mesh` stands in.
        device: Where to compute: cpu, cuda, ... or auto.

    Returns:
        Of every row and metric the mean over clips with its interval.

    Raises:
        LipsyncError: No such folder, no video in it, not one pair, missing weights, other rules in `out`, or not one
            clip that could be scored.
    """
    if Path(out).is_file():
        raise LipsyncError(f"{out}: is a file; name a folder for the results")
    matched = couples(generated, against, out)
    place = choose_device(device)
    judges = Judges(expert, lpips_weights=lpips_weights, fid_weights=fid_weights).to(place).eval()
    about = {
        "generated": generated,
        "against": against,
        "videos": fingerprint(matched),
        "clips": len(matched),
        "crop rule": "square",
        "judged size": JUDGED,
        "seconds at most": LONGEST,
        "sync judge": expert or "none",
        "perceptual": judges.perceptual.names[0],
        "frechet": judges.viewer.frechet,
    }
    store, finder = Folder(Path(out), about), FaceFinder(place)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for number, couple in enumerate(progress.track(matched, description="Judging")):
            if not store.has(number):
                store.write(number, judge(number, couple, judges, finder, store))
    summary = gather(store, len(matched), about)
    print(out)
    return summary


def judge(number: int, couple: Couple, judges: Judges, finder: Finder, store: Folder) -> Clip:
    """Scores and films a couple; what is wrong with it becomes its result."""
    try:
        if objection := couple.objection():
            raise LipsyncError(objection)
        (generated,), (real,) = couple.generated, couple.real
        seen = cut_out(generated, real, finder)
        window = judges.syncnet.syncnet.frames if isinstance(judges.syncnet, SyncExpert) else FRAMES
        theirs, ours = (sound_of(path, seen.first, len(seen.real), window) for path in (generated, real))
        notes = [*seen.notes, *(note for _, note in (theirs, ours) if note)]
        scores, features = score(judges, seen, theirs[0], ours[0])
        heard = None if theirs[0] is None else theirs[0].samples
        films = {GENERATED: store.film(GENERATED, number, seen.real, seen.generated, heard)}
        return Clip(couple.name, scores, features, None, films, notes)
    except (LipsyncError, av.error.FFmpegError) as error:
        return Clip(couple.name, {}, {}, str(error))


def score(
    judges: Judges, seen: Stretch, theirs: Sound | None, ours: Sound | None
) -> tuple[dict[str, dict[str, float]], dict[str, Tensor]]:
    """Scores a stretch with the sounds of the generated and of the real video; returns scores and features by row."""
    device = next(judges.parameters()).device
    real, generated, opening = (part.to(device) for part in (seen.real, seen.generated, seen.opening))
    truth, view = judges.viewer(real), judges.viewer(generated)
    scores = {TRUTH: plain(judges.opening.score(truth, opening))}
    pairs = [(TRUTH, real, ours), (COPY_INPUT, real, theirs), (GENERATED, generated, theirs)]
    if theirs and ours and torch.equal(theirs.samples, ours.samples):
        del pairs[1]
    for row, pictures, sound in pairs:
        if judges.syncnet is not None and sound is not None:
            face, audio = judges.embed(pictures, Sound(*(part.to(device) for part in sound)))
            scores.setdefault(row, {}).update(plain(judges.hear(face, audio)))
            if row == TRUTH:
                scores |= delayed(judges, face, audio)
    compared = judges.compare(view, truth) | judges.opening.score(view, opening)
    scores[GENERATED] = plain(compared) | scores.get(GENERATED, {})
    return scores, {TRUTH: truth.features, GENERATED: view.features}
