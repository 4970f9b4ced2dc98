"""What is painted: which faces in which frames of the source, where, and what becomes of frames that have none."""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from lipsync.corpora.crop import rule_boxes, smooth
from lipsync.dubbing.choose import Part
from lipsync.dubbing.outline import STEADY, outlines
from lipsync.dubbing.painted import Painted, faded, follows, prolonged
from lipsync.dubbing.read import Format
from lipsync.dubbing.reference import reference_frame
from lipsync.dubbing.remark import Remark, remark, runs, time_code
from lipsync.dubbing.track import Survey
from lipsync.errors import LipsyncError, check_choice
from lipsync.preparation.tracks import Track

MISSING = ("keep", "hold", "interpolate", "error")
FLAWS = {1: "profile", 2: "tiny", 3: "border"}
# Degrees of yaw. The mesh underrates it: five real faces seen from the side, one mouth corner hidden, have medians of
# 44 to 53, those with both corners in sight stay below 30.
PROFILE = 40.0
TINY = 32.0  # pixels of the box's side: the mouth has about eight
BORDER = 0.25  # share of the box's painted half outside the picture
HUGE = 2.0  # sides of the box over the model's
FADE = 0.12  # seconds; the mouths before and after a fade are unlike, a longer one shows two
LEFT = "left as it is"


@dataclasses.dataclass(frozen=True)
class Plan:
    """The faces to paint, in the order of their first frames, and the remarks, in the order of their times."""

    faces: list[Painted]
    remarks: list[Remark]

    def at(self, number: int) -> list[int]:
        """Which of the faces are painted in a frame of the source."""
        frames, faces = self._painted
        begin, end = np.searchsorted(frames, [number, number + 1])
        return faces[begin:end].tolist()

    @cached_property
    def _painted(self) -> tuple[np.ndarray, np.ndarray]:
        """All pairs of a frame and a face painted in it, in the order of frames."""
        frames = [np.arange(face.first, face.last) for face in self.faces]
        faces = np.repeat(np.arange(len(frames)), [len(part) for part in frames])
        frames = np.concatenate([np.empty(0, np.int64), *frames])
        order = np.argsort(frames, kind="stable")
        return frames[order], faces[order]


def plan(
    video: str,
    source: Format,
    survey: Survey,
    parts: Sequence[Part],
    crop_rule: str,
    size: int,
    missing: str = "keep",
    reference: str = "closed",
) -> Plan:
    """Plans the painting of the chosen parts of the tracks.

    A frame is not fit to be painted where no chosen face is seen, or where it is a profile, tiny or cut off by the
    picture's border. What is painted fades in and out inside a shot.

    Args:
        video: For messages.
        crop_rule, size: Of the model.
        missing: What becomes of unfit frames: `keep` leaves them as they are; `hold` paints on, where the face is or
            was last, until the shot ends; `interpolate` paints where the same face is fit before and after, and no cut
            between; `error` gives up.
        reference: One of `reference.REFERENCES`.

    Raises:
        LipsyncError: No such policy or reference, or an unfit frame and `missing` is `error`.
    """
    check_choice("missing", missing, MISSING)
    stretches, flaws = [], {}
    for number, own in groupby(sorted(parts), key=lambda part: part.track):
        flaws[number], painted = _follow(survey, source, number, list(own), crop_rule, missing, reference)
        stretches += painted
    filled = np.zeros(len(survey.pts), bool)
    if missing in ("hold", "interpolate"):
        stretches = _bridged(survey, stretches, missing, filled)
    remarks, owned = _absences(survey, source, parts, filled), defaultdict(list)
    for face in stretches:
        owned[face.track].append(face)
    for number, kinds in flaws.items():
        remarks += _unfit(survey, source, number, kinds, owned[number]) + _huge(survey, source, owned[number], size)
    remarks.sort(key=lambda remark: (remark.start, remark.track))
    if missing == "error" and (unfit := [remark for remark in remarks if remark.kind != "huge"]):
        kind, start = unfit[0].kind, time_code(unfit[0].start)
        raise LipsyncError(f"{video}: no face to paint at {start} ({kind}); --missing=keep leaves such frames alone")
    stretches.sort(key=lambda stretch: (stretch.first, stretch.track))
    edges = {0, len(survey.pts), *survey.cuts.tolist()}
    return Plan(faded(stretches, edges, round(FADE * source.rate)), remarks)


def _follow(
    survey: Survey, source: Format, number: int, parts: Sequence[Part], crop_rule: str, missing: str, reference: str
) -> tuple[np.ndarray, list[Painted]]:
    """What makes a track unfit in each of its chosen frames (T,), a key of FLAWS or 0, and where it is painted."""
    track, fps = survey.tracks[number], float(source.rate)
    boxes = rule_boxes(crop_rule, track.boxes(fps), source.height, source.width)
    flaws, voices = _flaws(track, boxes, source), np.zeros(len(track), np.int64)
    painted = np.zeros(len(track), bool)
    for part in parts:
        span = slice(part.first - track.first, part.last - track.first)
        voices[span], fit = part.voice + 1, flaws[span] == 0
        before, after = np.maximum.accumulate(fit), np.maximum.accumulate(fit[::-1])[::-1]
        painted[span] = {"hold": before, "interpolate": before & after}.get(missing, fit)
    fit = (flaws == 0) & (voices > 0)
    still = reference_frame(track, fit, reference) if fit.any() else -1
    jaws, stretches = outlines(track, fps), []
    for begin, end in runs(painted * voices):
        where = boxes[begin:end], jaws[begin:end]
        voice, weights = int(voices[begin]) - 1, torch.ones(end - begin)
        stretches.append(Painted(track.first + begin, *where, number, voice, still, weights))
    return flaws * (voices > 0), stretches


def _unfit(
    survey: Survey, source: Format, number: int, flaws: np.ndarray, stretches: Sequence[Painted]
) -> list[Remark]:
    """Remarks on the frames in which a chosen face is not fit to be painted."""
    first, painted = survey.tracks[number].first, np.zeros(len(flaws), bool)
    for face in stretches:
        painted[face.first - first : face.last - first] = True
    remarks = []
    for begin, end in runs(np.where(flaws > 0, 2 * flaws + painted, 0)):
        kind, action = FLAWS[int(flaws[begin])], "painted even so" if painted[begin] else LEFT
        remarks.append(remark(survey, source, (first + begin, first + end), kind, number, action))
    return remarks


def _flaws(track: Track, boxes: Tensor, source: Format) -> np.ndarray:
    """(T,) int64: a key of FLAWS, or 0 for a face that is fit to be painted."""
    seen = np.flatnonzero(track.presence > 0)
    yaw = np.interp(np.arange(len(track)), seen, track.pose[seen, 0])
    yaw = smooth(torch.from_numpy(yaw)[:, None], STEADY * float(source.rate))[:, 0]
    y0, y1, x0, x1 = boxes.unbind(1)
    height, width = y1 - y0, x1 - x0
    rows = y1.clamp(0, source.height) - ((y0 + y1) / 2).clamp(0, source.height)
    columns = x1.clamp(0, source.width) - x0.clamp(0, source.width)
    inside = rows * columns / (height / 2 * width)
    flaws = yaw.abs() > PROFILE, torch.minimum(height, width) < TINY, inside < 1 - BORDER
    return np.select([flaw.numpy() for flaw in flaws], list(FLAWS))


def _huge(survey: Survey, source: Format, stretches: Sequence[Painted], size: int) -> list[Remark]:
    """A remark for a face so large that the model's picture of it is stretched beyond HUGE."""
    side = max((float((face.boxes[:, 1::2] - face.boxes[:, ::2]).max()) for face in stretches), default=0)
    if side <= HUGE * size:
        return []
    frames = stretches[0].first, stretches[-1].last
    action = f"painted at {size} pixels and stretched to {side:.0f}: it will look soft"
    return [remark(survey, source, frames, "huge", stretches[0].track, action)]


def _bridged(survey: Survey, stretches: list[Painted], missing: str, filled: np.ndarray) -> list[Painted]:
    """Paints on where a voice has no face, and marks those frames in `filled` (F,)."""
    longer = list(stretches)
    for voice in {face.voice for face in stretches}:
        own = [(place, face) for place, face in enumerate(stretches) if face.voice == voice]
        ending, beginning = {face.last: place for place, face in own}, {face.first: face for _, face in own}
        empty = np.ones(len(survey.pts), np.int64)
        for _, face in own:
            empty[face.first : face.last] = 0
        for begin, end in runs(empty):
            before, after = ending.get(begin), beginning.get(end)
            cut = int(np.searchsorted(survey.cuts, begin))
            shot_end = int(survey.cuts[cut]) if cut < len(survey.cuts) else len(empty)
            if missing == "hold":
                end, after = min(end, shot_end), None
            elif after is None or shot_end <= end or before is None or not follows(stretches[before], after):
                continue
            if before is not None and end > begin:
                filled[begin:end] = True
                longer[before] = prolonged(stretches[before], end - begin, after)
    return longer


def _absences(survey: Survey, source: Format, parts: Sequence[Part], filled: np.ndarray) -> list[Remark]:
    """Remarks on the frames in which no chosen face is seen."""
    absent = np.ones(len(survey.pts), np.int64)
    for part in parts:
        absent[part.first : part.last] = 0
    actions = {1: LEFT, 2: "painted where the face was or would be"}
    kinds = absent * (1 + filled)
    return [remark(survey, source, frames, "no face", -1, actions[int(kinds[frames[0]])]) for frames in runs(kinds)]
