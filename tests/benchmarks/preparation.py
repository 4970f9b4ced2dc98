"""`lipsync prepare` of a folder of talking heads: seconds of video that it takes in per second, on one process and two.

    python -m tests.benchmarks.preparation FOLDER [--videos VIDEOS] [--rounds 3]

Without --videos, twelve heads of eight seconds, 320 px, drawn by the project. A process has one thread. Runs take
turns, each into an empty folder; starting Python, three seconds or so, is part of them.
"""

import argparse
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import av
import numpy as np
import torch

from lipsync.corpora.puppet.write import write_corpus
from lipsync.sound import map_wav
from lipsync.video import read_frames, write_clip
from tests.benchmarks.machine import in_turn, in_words, table


def seconds_of(videos: Path) -> float:
    """Seconds of video in a folder."""
    found = 0.0
    for path in videos.rglob("*.mp4"):
        with av.open(str(path)) as container:
            found += container.duration / av.time_base
    return found


def draw(corpus: Path, videos: Path) -> None:
    """Draws heads, and joins their pictures and voices as a camera does."""
    write_corpus(corpus, speakers=12, clips=1, seconds=8.0, size=320, seed=0)
    videos.mkdir()
    for number, path in enumerate(sorted(corpus.rglob("*.mp4"))):
        images = np.stack([frame.image for frame in read_frames(path)])
        write_clip(videos / f"{number:02d}.mp4", images, 25, np.array(map_wav(path.with_suffix(".wav"))))


def prepare(videos: Path, out: Path, processes: int) -> None:
    shutil.rmtree(out, ignore_errors=True)
    command = [str(Path(sys.executable).with_name("lipsync")), "prepare", str(videos), "--out", str(out)]
    quiet = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, f"--processes={processes}"], env=quiet, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    videos = arguments.videos or arguments.folder / "videos"
    if not videos.is_dir():
        draw(arguments.folder / "drawn", videos)
    length = seconds_of(videos)
    ways = {count: partial(prepare, videos, arguments.folder / "out", count) for count in (1, 2)}
    times = in_turn({str(count): way for count, way in ways.items()}, arguments.rounds, torch.device("cpu"), warm=False)
    rows = [
        [name, f"{length / spent.median:.1f} ({length / spent.most:.1f} to {length / spent.least:.1f})"]
        for name, spent in times.items()
    ]
    print(f"{in_words(torch.device('cpu'))}; {length:.0f} s of video\n")
    print(table(["processes", "seconds of video a second, median (least to most)"], rows))


if __name__ == "__main__":
    main()
