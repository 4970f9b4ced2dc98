"""Dubbing a video of any length: read, track, generate, composite, write; the stream holds one chunk at a time."""

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from lipsync import checkpoints, samplers
from lipsync.container import open_media
from lipsync.device import choose_device
from lipsync.dubbing.composite import composite
from lipsync.dubbing.generate import generate
from lipsync.dubbing.read import PlaneFrame, read_format, read_planes
from lipsync.dubbing.track import plan
from lipsync.dubbing.write import CONTAINERS, write
from lipsync.errors import LipsyncError
from lipsync.preparation.faces import FaceFinder
from lipsync.preparation.tracks import Finder
from lipsync.randomness import normal
from lipsync.sound import SAMPLE_RATE, decode_to_wav, map_wav


class DubReport(NamedTuple):
    """What was written: the frames in it, how many of them were painted, and its length in seconds."""

    out: str
    frames: int
    painted: int
    seconds: float


class Model(Protocol):
    """What paints: `lipsync.diff2lip.Diff2Lip`."""

    size: int
    crop_rule: str

    def generate(self, frames: Tensor, reference: Tensor, frame_mels: Tensor, **how: object) -> Tensor:
        """Repaints the lower half of (N, 3, S, S) frames."""


def dub(
    video: str,
    audio: str,
    out: str,
    checkpoint: str,
    steps: int | None = None,
    sampler: str = "ddim",
    guidance: float = 1.0,
    seed: int = 0,
    device: str = "auto",
) -> DubReport:
    """Dubs a video: the most prominent face speaks the new sound; all else stays as it is.

    Args:
        video: Any video with a face; as long as the sound, or it is cut, or the sound is.
        audio: Any file with sound; it begins with the first frame.
        out: The .mp4, .mkv or .mov to write.
        checkpoint: A trained Diff2Lip: a `.ckpt` or `.safetensors` of ours, or the official `.pt`.
        steps: Sampling steps; without, the checkpoint's own number.
        sampler: ddim, ddpm or dpmpp_2m.
        guidance: How far the sound's influence is overstated; 1 is as trained.
        seed: Of the noise, which is one map for the whole video.
        device: Where to compute: cpu, cuda, ... or auto.

    Raises:
        LipsyncError: An input that is missing or is not what it should be, no face, or no place for `out`.
    """
    check(video, audio, out)
    samplers.named(sampler)
    device = choose_device(device)
    model = checkpoints.load_diff2lip(checkpoint, device)
    if steps is not None:
        model.diffusion.respaced(steps, model.hparams.spacing)  # says now what is wrong with it
    how = {"steps": steps, "sampler": sampler, "guidance": guidance}
    return dub_with(model, FaceFinder(device), video, audio, out, seed, device, **how)


def dub_with(
    model: Model,
    finder: Finder,
    video: str,
    audio: str,
    out: str,
    seed: int = 0,
    device: torch.device | str = "cpu",
    **how: object,
) -> DubReport:
    """Dubs with a model and a face finder at hand; `how` are the model's own options; else as `dub`."""
    source = read_format(video)
    noise = normal(seed, "sampling", torch.zeros(1, dtype=torch.int64), (3, model.size, model.size)).to(device)
    paint = partial(model.generate, noise=noise, seed=seed, **how)
    with tempfile.TemporaryDirectory() as folder, Progress(console=Console(stderr=True), transient=True) as progress:
        decode_to_wav(audio, f"{folder}/sound.wav")
        sound = map_wav(f"{folder}/sound.wav")

        def frames(title: str, total: int | None) -> Iterator[PlaneFrame]:
            """The frames that begin while there is sound."""
            seconds = Fraction(len(sound), SAMPLE_RATE)
            heard = takewhile(lambda frame: frame.time < seconds, read_planes(video, source))
            return progress.track(heard, total=total, description=title)

        planned = plan(frames("Finding faces", source.frames), source, finder, model.crop_rule)
        total, painted = len(planned.tracks), int((planned.tracks >= 0).sum())
        if not painted:
            raise LipsyncError(f"{video}: no face in any of its {total} frames")

        chunks = generate(frames("Dubbing", total), planned, video, source, sound, paint, model.size, device)
        seconds = write(out, composite(chunks, source), source, audio)
    print(f"{out}: {total} frames, {painted} painted, {total - painted} passed through")
    return DubReport(out, total, painted, float(seconds))


def check(video: str, audio: str, out: str) -> None:
    """Finds a user's mistakes before the long work; raises LipsyncError."""
    for path in (video, audio):
        open_media(path).close()
    target = Path(out)
    if target.suffix.lower() not in CONTAINERS:
        raise LipsyncError(f"{out}: the name must end in {', '.join(CONTAINERS)}")
    if not target.parent.is_dir():
        raise LipsyncError(f"{out}: there is no folder {target.parent}")
    if target.is_dir():
        raise LipsyncError(f"{out}: is a folder")
    for path in (video, audio):
        if target.exists() and target.samefile(path):
            raise LipsyncError(f"{out}: is {path} itself, which would be overwritten; choose another name")
