"""Dubbing from file to file, and frame by frame."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import torch

from lipsync import checkpoints, samplers
from lipsync.container import open_media
from lipsync.device import choose_device, choose_precision
from lipsync.dubbing.encoder import CONTAINERS
from lipsync.dubbing.label import describe
from lipsync.dubbing.label import mark as marked
from lipsync.dubbing.progress import frame_progress
from lipsync.dubbing.read import PlaneFrame, to_image
from lipsync.dubbing.report import DubReport, save, tell
from lipsync.dubbing.stages import Model, staged
from lipsync.dubbing.write import identity, write
from lipsync.errors import LipsyncError
from lipsync.preparation.faces import FaceFinder
from lipsync.preparation.tracks import Finder
from lipsync.video import TimedFrame

TOLD = ("sampler", "steps", "guidance", "precision", "seed", "face", "length", "missing", "reference")  # by the label


def dub(
    video: str,
    audio: str,
    out: str,
    checkpoint: str,
    face: str = "largest",
    others: dict[str, str] | None = None,
    length: str = "video",
    missing: str = "keep",
    reference: str = "closed",
    occlusion: str | Callable | None = None,
    quality: str = "source",
    mark: bool = False,
    resume: bool = False,
    report: str | None = None,
    steps: int | None = None,
    sampler: str = "fast",
    guidance: float = 1.0,
    seed: int = 0,
    precision: str = "auto",
    device: str = "auto",
) -> DubReport:
    """Dubs a video: a face speaks the new sound; all else stays as it is, and the file says that it is synthetic.

    Args:
        video: Any video, or a still picture with a length that is not `video`.
        audio: Any file with sound; it begins with the first frame, or, as the video's own file, where it always did.
        out: The .mp4, .mkv, .mov or .webm to write.
        checkpoint: A trained Diff2Lip: a `.ckpt` or `.safetensors` of ours, or the official `.pt`.
        face: Who speaks: largest, speaker (whose mouth moves with the video's own sound), all, numbers as `lipsync
            faces` lists them ("0,3"), or a box in pixels that holds the face ("y0,y1,x0,x1").
        others: Further faces, written alike, and the sound of each.
        length: video: all of it, with the sound cut or followed by silence; audio: cut to the sound; loop, bounce and
            hold: as long as the sound, from the start again, back and forth, or with the last frame held.
        missing: Frames without a face fit to be painted: keep them as they are, hold the face's last place,
            interpolate it, or error.
        reference: What tells the face's identity: self, the frame itself; first, the first frame with the face; closed,
            the one with the most closed mouth.
        occlusion: A video, as long and large as this one, that is white where something covers the face; in Python also
            a function of frame and format that gives (H, W) in [0, 1], or None.
        quality: Of the picture: source, near_lossless or lossless.
        mark: Draw a visible mark that the video is synthetic.
        resume: Go on with what an interrupted dub left beside `out`.
        report: A .json to write, with every remark and its time.
        steps: Sampling steps; without, the sampler's own 8 or the checkpoint's number.
        sampler: fast (8 steps, closer to 250 of DDIM's than 25 are), ddim, ddpm or dpmpp_2m.
        guidance: How far the sound's influence is overstated; 1 is as trained.
        seed: Of the noise, which is one map for the whole video.
        precision: float32, bfloat16, float16, or auto: bfloat16 on a GPU that computes in it, float32 elsewhere.
        device: Where to compute: cpu, cuda, ... or auto.

    Raises:
        LipsyncError: An input that is missing or is not what it should be, or no place for `out`.
    """
    masks = [occlusion] if isinstance(occlusion, str) else []
    check(video, [audio, *(others or {}).values(), *masks], out, report)
    place = choose_device(device)
    model, how = load(checkpoint, steps, sampler, guidance, precision, place)
    chosen = {"face": face, "others": others, "length": length, "missing": missing, "reference": reference}
    written = dub_with(
        model, FaceFinder(place), video, audio, out, quality, mark, resume, checkpoint,
        occlusion=occlusion, seed=seed, device=place, **chosen, **how,
    )  # fmt: skip
    if report is not None:
        save(written, report)
    return written


def dub_frames(
    video: str,
    audio: str,
    checkpoint: str,
    steps: int | None = None,
    sampler: str = "fast",
    guidance: float = 1.0,
    precision: str = "auto",
    device: str = "auto",
    **chosen: object,
) -> Iterator[TimedFrame]:
    """Dubs a video frame by frame as they are asked for, without writing it: upright RGB, and seconds from the first.

    Args:
        chosen: face, others, length, missing, reference, occlusion, seed, as for `dub`.

    Raises:
        LipsyncError: As `dub`.
    """
    place = choose_device(device)
    model, how = load(checkpoint, steps, sampler, guidance, precision, place)
    with (
        frame_progress() as progress,
        staged(model, FaceFinder(place), video, audio, progress, device=place, **chosen, **how) as dubbing,
        closing(dubbing.frames(0)) as frames,
    ):
        progress.stop()
        for frame in frames:
            yield TimedFrame(float(frame.time), to_image(frame, dubbing.source))


def load(
    checkpoint: str, steps: int | None, sampler: str, guidance: float, precision: str, device: torch.device
) -> tuple[torch.nn.Module, dict[str, object]]:
    """Reads a model onto a device, and how it shall sample; says now what is wrong with either."""
    samplers.named(sampler)
    precision = choose_precision(precision, device)
    model = checkpoints.load_diff2lip(checkpoint, device)
    steps, spacing = samplers.course(sampler, steps, model.hparams.sampling_steps[0], model.hparams.spacing)
    model.diffusion.respaced(steps, spacing)
    return model, {"steps": steps, "sampler": sampler, "guidance": guidance, "precision": precision}


def dub_with(
    model: Model,
    finder: Finder,
    video: str,
    audio: str,
    out: str,
    quality: str = "source",
    mark: bool = False,
    resume: bool = False,
    checkpoint: str = "",
    watched: bool = True,
    **options: object,
) -> DubReport:
    """Dubs with a model and a face finder at hand.

    Args:
        watched: Show progress.
        options: Those of `staged`.
        The others: As for `dub`.
    """
    with frame_progress(watched) as progress, staged(model, finder, video, audio, progress, **options) as dubbing:
        source, total = dubbing.source, len(dubbing.timeline.numbers)

        def frames(first: int) -> Iterator[PlaneFrame]:
            with closing(dubbing.frames(first)) as painted:
                shown = (marked(frame, source) for frame in painted) if mark else painted
                yield from progress.track(shown, total=total, completed=first, description="Dubbing")

        sounds = [voice.path for voice in dubbing.voices]
        weights = checkpoints.fingerprint(model) if isinstance(model, torch.nn.Module) else ""
        how = {name: options[name] for name in TOLD if name in options}
        label = describe(checkpoint, weights, video, sounds, **how)
        recipe = {name: str(value) for name, value in (options | {"mark": mark}).items() if name != "device"}
        if isinstance(occlusion := options.get("occlusion"), str):
            recipe["occlusion"] = identity(occlusion)
        try:
            write(out, frames, dubbing.timeline, source, video, dubbing.voices, quality, label, resume, recipe)
        except KeyboardInterrupt:
            how_on = "" if resume else " with --resume=true"
            print(f"{out}: interrupted; the same command{how_on} goes on from there", file=sys.stderr)
            raise
    report = DubReport(out, total, dubbing.painted, float(dubbing.seconds), dubbing.remarks)
    tell(report, dubbing.leftover)
    return report


def check(video: str, others: list[str], out: str, report: str | None = None) -> None:
    """Finds a user's mistakes in what is read (`others`: sounds, mask) and written; raises LipsyncError."""
    for path in (video, *others):
        open_media(path).close()
    suffix = Path(out).suffix.lower()
    if suffix not in CONTAINERS:
        raise LipsyncError(f"{out}: the name must end in {', '.join(CONTAINERS)}")
    if report is not None and Path(report).suffix.lower() != ".json":
        raise LipsyncError(f"{report}: the report's name must end in .json")
    for target in (out, report):
        if target is None:
            continue
        if not Path(target).parent.is_dir():
            raise LipsyncError(f"{target}: there is no folder {Path(target).parent}")
        if Path(target).is_dir():
            raise LipsyncError(f"{target}: is a folder")
        for path in (video, *others):
            if Path(target).exists() and Path(target).samefile(path):
                raise LipsyncError(f"{target}: is {path} itself, which would be overwritten; choose another name")
