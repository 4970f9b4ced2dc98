"""Dubbing with a network that costs nothing: what each stage takes a frame, and whether memory grows with length.

    python -m tests.benchmarks.dubbing FOLDER [--clip VIDEO] [--height 720] [--seconds 10 600]

A talking head, drawn by the project or read from --clip, is enlarged to 16:9 and repeated. The stages are run one after
the other on frames in memory, which tells what each takes by itself; then whole dubs, each in a fresh process without
known tracks. Both are printed as Markdown.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import av
import numpy as np
from torch import Tensor

from lipsync.corpora.puppet.write import write_corpus
from lipsync.dubbing import segments, stages
from lipsync.dubbing.composite import composite
from lipsync.dubbing.dub import dub_with
from lipsync.dubbing.generate import generate
from lipsync.dubbing.progress import frame_progress
from lipsync.dubbing.read import read_format, read_planes
from lipsync.dubbing.timeline import Timeline
from lipsync.dubbing.track import survey
from lipsync.dubbing.write import write
from lipsync.preparation.faces import FaceFinder
from lipsync.sound import write_wav

FRAMES = 96  # held in memory while stages run by themselves
LIMITS = {
    "decode": "the decoder and a copy of the planes",
    "find faces": "both face networks' convolutions; the change to RGB",
    "crop": "cutting the box out of three planes; its mel",
    "composite": "resampling the square to the mouth's pixels, the fit of its colour",
    "encode": "x264 on one thread",
    "mux": "copying packets; AAC",
}
Spent = dict[str, tuple[float, float]]  # stage -> seconds by the clock and of CPU time


class Free:
    """A network that gives back what it sees."""

    size, crop_rule = 128, "square"

    def generate(self, frames: Tensor, reference: Tensor, frame_mels: Tensor, **how: object) -> Tensor:
        return frames


def enlarge(clip: Path, out: Path, height: int, seconds: int) -> None:
    """Writes a clip's frames at this height in the middle of a 16:9 picture, back and forth for so long, at 25 fps."""
    width = height * 16 // 9 // 2 * 2
    y, x = np.ogrid[:height, :width]
    canvas = np.stack([128 + 60 * np.sin(x / 90) + 40 * np.cos(y / 70 + part) for part in range(3)], 2).astype(np.uint8)
    with av.open(str(clip)) as container:
        images = [frame.to_image() for frame in islice(container.decode(video=0), 25 * seconds)]
    scale = min(height / images[0].height, width / images[0].width)
    side = round(images[0].width * scale), round(images[0].height * scale)
    images += images[-2:0:-1]
    noise = np.random.default_rng(0).integers(0, 7, (8, height, width, 1), np.uint8)  # a camera's
    with av.open(str(out), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(25 * seconds):
            face = np.asarray(images[number % len(images)].resize(side))
            top, left = (height - side[1]) // 2, (width - side[0]) // 2
            picture = canvas.copy()
            picture[top : top + side[1], left : left + side[0]] = face
            frame = av.VideoFrame.from_ndarray(picture + noise[number % 8], format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def repeat(short: Path, out: Path, seconds: int) -> None:
    """Writes a video's packets again and again, without encoding them."""
    with av.open(str(out), "w") as target:
        shift, stream = 0, None
        while shift is not None:
            with av.open(str(short)) as source:
                own = source.streams.video[0]
                stream = stream or target.add_stream_from_template(own)
                span = own.duration
                for packet in source.demux(own):
                    if packet.size:
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                        target.mux(packet)
                shift = shift + span if (shift + span) * own.time_base < seconds else None


def talk(seconds: int) -> np.ndarray:
    """(samples,) int16 of noise that comes and goes like syllables."""
    rng, t = np.random.default_rng(0), np.arange(16_000 * seconds) / 16_000
    return (rng.normal(0, 3000, len(t)) * np.abs(np.sin(9 * t))).astype(np.int16)


@contextmanager
def clock(spent: Spent, stage: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    before = spent.get(stage, (0.0, 0.0))
    spent[stage] = before[0] + time.perf_counter() - wall, before[1] + time.process_time() - cpu


def apart(video: Path, sound: Path, out: Path) -> dict:
    """Runs every stage by itself."""
    spent: Spent = {}
    model, finder, source = Free(), FaceFinder(), read_format(video)
    with clock(spent, "decode"):
        frames = list(islice(read_planes(video, source), FRAMES))
    with clock(spent, "find faces"):
        looked = survey(video, source, finder, lambda _: iter(frames))
    with (
        frame_progress() as progress,
        stages.staged(model, finder, str(video), str(sound), progress) as dubbing,
    ):
        shown = Timeline(*(part[:FRAMES] for part in dubbing.timeline))
        with clock(spent, "crop"):
            how = (looked.pts, str(video), source, dubbing.voices, model.generate, model.size)
            chunks = list(generate(iter(frames), dubbing.plan, *how))
        with clock(spent, "composite"):
            painted = list(composite(chunks, source))
        with timed(segments, "encode_segments", lambda: clock(spent, "encode")), clock(spent, "mux"):
            write(
                out,
                lambda first: (frame for frame in painted[first:]),
                shown,
                source,
                video,
                dubbing.voices,
                "source",
                {},
                False,
                {},
            )
    spent["mux"] = tuple(whole - part for whole, part in zip(spent["mux"], spent["encode"], strict=True))
    return {"spent": spent, "frames": len(frames)}


def whole(video: Path, sound: Path, out: Path) -> dict:
    """Dubs, and tells the time of both passes, that the writer waits for frames, and the peak of memory."""
    spent: Spent = {}
    started = time.perf_counter()

    def waited(items: Iterator, depth: int) -> Iterator:
        stream = ahead(items, depth)
        while True:
            # The writer takes chunks, one ahead; the generator takes frames.
            with clock(spent, "waiting" if depth == 1 else "for the decoder"):
                item = next(stream, None)
            if item is None:
                return
            yield item

    ahead, stages.ahead = stages.ahead, waited
    finder = FaceFinder()
    with timed(stages, "survey", lambda: clock(spent, "first pass")), clock(spent, "both passes"):
        report = dub_with(Free(), finder, str(video), str(sound), str(out))
    return {
        "spent": spent,
        "frames": report.frames,
        "painted": report.painted,
        "seconds": time.perf_counter() - started,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


@contextmanager
def timed(module: object, name: str, context: Callable) -> Iterator[None]:
    """Runs a module's function under a clock."""
    function = getattr(module, name)

    def under(*arguments: object, **options: object) -> object:
        with context():
            return function(*arguments, **options)

    setattr(module, name, under)
    yield
    setattr(module, name, function)


def fresh(what: str, *paths: Path) -> dict:
    """Runs one of the two in a process of its own, without known tracks."""
    cache = paths[-1].parent / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    command = [sys.executable, __file__, *map(str, paths), f"--only={what}"]
    run = subprocess.run(command, env=os.environ | {"XDG_CACHE_HOME": str(cache)}, stdout=subprocess.PIPE, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="+")
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 600])
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps({"apart": apart, "whole": whole}[arguments.only](*arguments.folder)))
        return
    (folder,), height = arguments.folder, arguments.height
    folder.mkdir(parents=True, exist_ok=True)
    clip = arguments.clip
    if clip is None:
        write_corpus(folder / "corpus", speakers=3, clips=1, seconds=4.0, size=320)
        clip = next((folder / "corpus").rglob("*.mp4"))
    short = folder / f"{height}p.mp4"
    enlarge(clip, short, height, min(arguments.seconds))
    found = {}
    for seconds in arguments.seconds:
        video, sound = folder / f"{height}p_{seconds}.mp4", folder / f"{seconds}.wav"
        repeat(short, video, seconds)
        write_wav(sound, talk(seconds))
        found[seconds] = video, sound
    video, sound = found[min(found)]

    alone = fresh("apart", video, sound, folder / "out.mp4")
    print(f"\n| stage | ms a frame of {height}p by itself | of CPU | what limits it |\n|---|---|---|---|")
    for stage, limit in LIMITS.items():
        wall, cpu = (1000 * value / alone["frames"] for value in alone["spent"][stage])
        print(f"| {stage} | {wall:.1f} | {cpu:.1f} | {limit} |")
    total = sum(wall for wall, _ in alone["spent"].values())
    print(f"| one after the other | {1000 * total / alone['frames']:.1f} | | |")

    print("\n| seconds | frames | painted | ms a frame | first pass | second | waiting in it | CPU | peak, MiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for seconds, paths in found.items():
        dub = fresh("whole", *paths, folder / "out.mp4")
        ms = {name: [1000 * value / dub["frames"] for value in pair] for name, pair in dub["spent"].items()}
        (both, cpu), (first, _), (waiting, _) = ms["both passes"], ms["first pass"], ms["waiting"]
        counts = f"| {seconds} | {dub['frames']} | {dub['painted']} "
        print(
            f"{counts}| {both:.1f} | {first:.1f} | {both - first:.1f} | {waiting:.1f} | {cpu:.1f} | {dub['peak']:.0f} |"
        )


if __name__ == "__main__":
    main()
