"""What a model is asked to do with a clip, and what costs nothing and should be worse: the rows of a table."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lipsync.corpora.crop import mask
from lipsync.errors import LipsyncError, check_choice

TRUTH, RESIZED = "truth", "resized"
DELAYED = "shifted_"  # the truth, its sound so many frames late
SILENCE = -4.0  # of every column of a mel of nothing
REFERENCES = ("self", "first", "still")


class Protocol(NamedTuple):
    """One way to dub a clip.

    Attributes:
        frames: What is repainted: the `own` frames, or the `first` one over and over.
        reference: `self` (each frame its own, unmasked), `first`, or `still` (a frame from before the stretch).
        sound: `own`, `driving` (another clip's) or `silence`.
    """

    frames: str
    reference: str
    sound: str


PROTOCOLS = {
    "reconstruction": Protocol("first", "first", "own"),  # the paper's
    "cross": Protocol("own", "self", "driving"),  # as the authors run it
    "own": Protocol("own", "still", "own"),
    "silence": Protocol("own", "self", "silence"),
}


def named(name: str) -> Protocol:
    """Returns a protocol by its name, or with another reference: `cross/still`.

    Raises:
        LipsyncError: No such protocol or reference.
    """
    base, _, reference = name.partition("/")
    check_choice("evaluation.protocols", base, PROTOCOLS)
    if reference and reference not in REFERENCES:
        raise LipsyncError(f"evaluation.protocols: {name}: {reference!r} is none of {', '.join(REFERENCES)}")
    return PROTOCOLS[base]._replace(**({"reference": reference} if reference else {}))


class Row(NamedTuple):
    """A clip as one row of the table has it.

    Attributes:
        name: Of the row.
        pictures: (N, 3, J, J) in [-1, 1].
        sound: `own`, `driving` or `silence`: what belongs to them.
        generated: Whether a model painted them.
    """

    name: str
    pictures: Tensor
    sound: str
    generated: bool = False


def rows(
    batch: dict[str, Tensor], protocols: dict[str, Protocol], paint: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Iterator[Row]:
    """Yields what is judged of a pair: the truth, the truth at the model's size, each protocol and its baselines.

    Args:
        batch: Of one pair (`corpora.datamodule`), with `judged`.
        protocols: By the name of their row.
        paint: Of a model: frames (N, 3, S, S), reference (1 or N, 3, S, S), frame_mels (N, 80, 16) -> (N, 3, S, S).
    """
    frames, still, truth = batch["frames"][0], batch["reference"][0], batch["judged"][0]
    yield Row(TRUTH, truth, "own")
    yield Row(RESIZED, pasted(frames, truth), "own")
    lower = {"copy_reference": batch["judged_reference"][0], "average_mouth": truth.mean(0, keepdim=True)}
    for name, protocol in protocols.items():
        held = protocol.frames == "first"
        given = frames[:1].expand_as(frames) if held else frames
        onto = truth[:1].expand_as(truth) if held else truth
        reference = {"self": given, "first": frames[:1], "still": still}[protocol.reference]
        driving = batch["driving_mels" if protocol.sound == "driving" else "own_mels"][0]
        mels = torch.full_like(driving, SILENCE) if protocol.sound == "silence" else driving
        yield Row(name, pasted(paint(given, reference, mels), onto), protocol.sound, generated=True)
        yield Row(f"copy_input@{name}", onto, protocol.sound)
        if not held and protocol.sound != "silence":
            for baseline, mouths in lower.items():
                yield Row(f"{baseline}@{name}", pasted(mouths.expand_as(truth), truth), protocol.sound)


def pasted(pictures: Tensor, onto: Tensor) -> Tensor:
    """Puts the lower halves of pictures (N, 3, S, S) into others (N, 3, J, J), resized as dubbing does."""
    size = onto.shape[2:]
    if pictures.shape[2:] != size:
        pictures = F.interpolate(pictures, size, mode="bicubic", align_corners=False, antialias=True)
    return torch.where(mask(size[0], onto.device) > 0, pictures.clamp(-1, 1), onto)
