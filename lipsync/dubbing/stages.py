"""The stages of a dub, put together: read, track, generate, composite; the stream holds a few chunks at a time."""

import ctypes
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from functools import partial
from typing import NamedTuple, Protocol

import torch
from rich.progress import Progress
from torch import Tensor

from lipsync.dubbing.choose import choose
from lipsync.dubbing.composite import composite
from lipsync.dubbing.generate import BATCH, generate
from lipsync.dubbing.occlusion import Occlusion
from lipsync.dubbing.plan import MISSING, Plan, plan
from lipsync.dubbing.read import Format, PlaneFrame, read_format
from lipsync.dubbing.reference import REFERENCES
from lipsync.dubbing.remark import Remark, broken_off
from lipsync.dubbing.stream import ahead
from lipsync.dubbing.timeline import LENGTHS, Timeline, leftover, play, timeline
from lipsync.dubbing.track import survey
from lipsync.dubbing.voices import Voice, open_voice
from lipsync.errors import check_choice
from lipsync.preparation.tracks import Finder
from lipsync.randomness import normal
from lipsync.sound import SAMPLE_RATE

M_ARENA_MAX = -8  # of malloc.h


class Model(Protocol):
    """What paints: `lipsync.diff2lip.Diff2Lip`."""

    size: int
    crop_rule: str

    def generate(self, frames: Tensor, reference: Tensor, frame_mels: Tensor, **how: object) -> Tensor:
        """Repaints the lower half of (N, 3, S, S) frames."""


class Staged(NamedTuple):
    """A dub that is planned and not yet painted; `frames(first)` paints the output's frames from that position on."""

    source: Format
    plan: Plan
    remarks: list[Remark]
    timeline: Timeline
    voices: list[Voice]
    leftover: str
    frames: Callable[[int], Iterator[PlaneFrame]]

    @property
    def painted(self) -> int:
        return sum(bool(self.plan.at(number)) for number in self.timeline.numbers.tolist())

    @property
    def seconds(self) -> Fraction:
        return int(self.timeline.pts[-1] + self.timeline.durations[-1]) * self.source.time_base


@contextmanager
def staged(
    model: Model,
    finder: Finder,
    video: str,
    audio: str,
    progress: Progress,
    face: str = "largest",
    others: dict[str, str] | None = None,
    length: str = "video",
    missing: str = "keep",
    reference: str = "closed",
    occlusion: str | Occlusion | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    **how: object,
) -> Iterator[Staged]:
    """Looks at video and sounds, and plans; `how` are the model's own options; else as `dub`."""
    check_choice("length", length, LENGTHS)  # now, and not after the first pass
    check_choice("missing", missing, MISSING)
    check_choice("reference", reference, REFERENCES)
    share_heap()
    source, others = read_format(video), others or {}
    noise = normal(seed, "sampling", torch.zeros(1, dtype=torch.int64), (3, model.size, model.size)).to(device)
    paint = partial(model.generate, noise=noise, seed=seed, **how)
    with tempfile.TemporaryDirectory(prefix="lipsync-") as folder:
        voices = [open_voice(path, folder, video) for path in (audio, *others.values())]
        looked = survey(
            video, source, finder, partial(progress.track, total=source.frames, description="Finding faces")
        )
        parts, doubts = choose(video, source, looked, face, others)
        planned = plan(video, source, looked, parts, model.crop_rule, model.size, missing, reference)
        sound = max(Fraction(len(voice.samples), SAMPLE_RATE) - voice.lead for voice in voices)
        clock = looked.pts, looked.end, source.time_base
        shown = timeline(*clock, source.rate, length, sound)

        def frames(first: int) -> Iterator[PlaneFrame]:
            decoded = ahead(play(video, source, looked.pts, shown, first), BATCH)
            chunks = ahead(generate(decoded, planned, looked.pts, video, source, voices, paint, model.size, device), 1)
            painted = ahead(composite(chunks, source, occlusion), BATCH)
            with closing(decoded), closing(chunks), closing(painted):
                yield from painted

        remarks = sorted(doubts + planned.remarks + broken_off(looked, source), key=lambda remark: remark.start)
        yield Staged(source, planned, remarks, shown, voices, leftover(shown, *clock, sound), frames)


def share_heap() -> None:
    """Has glibc serve all threads from one heap, so that memory does not grow while they hand frames on to each other.

    A heap for every thread keeps what others have freed in it: 30 % more after a minute of 720p.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(library, "mallopt"):  # other C libraries have none
        library.mallopt(M_ARENA_MAX, 1)
