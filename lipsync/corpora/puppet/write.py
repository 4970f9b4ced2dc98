"""Writes a corpus of talking heads in the layout of `lipsync prepare`, on all cores, going on where it stopped."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lipsync.corpora.crop import box_in_track
from lipsync.corpora.puppet.face import render
from lipsync.corpora.puppet.performance import perform, track_of
from lipsync.corpora.puppet.script import FPS, articulate, write_script
from lipsync.corpora.puppet.speaker import draw_speaker
from lipsync.corpora.puppet.voice import speak
from lipsync.corpora.records import MANIFEST, Record, build_manifest, claim, inside, write_record
from lipsync.errors import LipsyncError
from lipsync.sound import write_wav
from lipsync.video import VideoWriter

RECIPE = "synthetic.recipe"
VERSION = 1  # of the drawing and the voice; counts up whenever the same seed would give other clips
TEST_SHARE, VAL_SHARE = 10 / 54, 4 / 54


class Clip(NamedTuple):
    """What there is to know of a clip before it is written."""

    root: str
    speaker: int
    number: int
    split: str
    seconds: float
    seed: int
    size: int

    @property
    def id(self) -> str:
        return f"s{self.speaker:03d}/c{self.number}"


def write_corpus(
    root: str | Path, speakers: int = 54, clips: int = 3, seconds: float = 3.0, seed: int = 0, size: int = 112
) -> None:
    """Writes `speakers` x `clips` clips of `seconds`, and the manifest; nothing to do is done at once.

    Args:
        root: folder of the corpus; one that was interrupted is completed.
        speakers: at least 3; no speaker is in two splits.
        clips: per speaker.
        seconds: per clip, rounded to whole frames.
        seed: same seed, same clips.
        size: side of the stored squares in pixels; the crop inside is 1.4 times smaller.

    Raises:
        LipsyncError: too few speakers, too short a clip, or `root` holds something else.
    """
    root = Path(root)
    if speakers < 3 or clips < 1 or seconds < 1 or size < 32:
        raise LipsyncError(
            f"a synthetic corpus of {speakers} speakers x {clips} clips x {seconds} s at {size} px is too small:"
            " take 3 speakers, 1 clip, 1 second and 32 pixels at least"
        )
    recipe = {"speakers": speakers, "clips": clips, "seconds": seconds, "seed": seed, "size": size}
    claim(root, RECIPE, {"version": VERSION} | recipe)
    every = [
        Clip(str(root), speaker, number, split, round(seconds * FPS) / FPS, seed, size)
        for speaker, split in enumerate(splits(speakers))
        for number in range(clips)
    ]
    missing = [clip for clip in every if not inside(root, clip.id + ".json").is_file()]
    if missing:
        write_clips(missing)
    if missing or not (root / MANIFEST).is_file():
        build_manifest(root)


def splits(speakers: int) -> list[str]:
    """The split of each speaker: of 54, 40 train, 4 val, 10 test; at least one each."""
    test, val = (max(1, round(share * speakers)) for share in (TEST_SHARE, VAL_SHARE))
    return ["train"] * (speakers - val - test) + ["val"] * val + ["test"] * test


def write_clips(clips: list[Clip]) -> None:
    """Writes clips in as many processes as there are cores, with a progress bar."""
    workers = min(os.cpu_count() or 1, 1 + len(clips) // 8)  # a process takes seconds to start
    # Spawned, not forked: the caller may have threads, and Lightning has.
    context = multiprocessing.get_context("spawn")
    columns = (TextColumn("synthetic clips"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns) as progress,
        ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool,
    ):
        task = progress.add_task("clips", total=len(clips))
        try:
            for done in as_completed([pool.submit(write_clip, clip) for clip in clips]):
                done.result()
                progress.advance(task)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def write_clip(clip: Clip) -> None:
    """Writes one clip's video, sound and, last, its record."""
    # The third number keeps the streams apart: seeds that differ in trailing zeros are equal.
    speaker = draw_speaker(np.random.default_rng([clip.seed, clip.speaker, 0]))
    rng = np.random.default_rng([clip.seed, clip.speaker, 1 + clip.number])
    articulation = articulate(write_script(clip.seconds, rng), clip.seconds)
    samples = speak(articulation, speaker, rng)
    performance = perform(articulation, rng)
    frames = render(performance, speaker, track_of(performance, speaker), clip.size).numpy()

    root = Path(clip.root)
    video, sound = f"{clip.id}.mp4", f"{clip.id}.wav"
    inside(root, video).parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(inside(root, video), clip.size, clip.size, FPS) as writer:
        writer.write(frames)
    write_wav(inside(root, sound), samples)
    record = Record(
        id=clip.id,
        video=video,
        sound=sound,
        source="synthetic",
        speaker=f"s{clip.speaker:03d}",
        split=clip.split,
        frames=len(frames),
        size=clip.size,
        box=box_in_track(clip.size),
        opening=[round(value, 5) for value in performance.mouth["opening"].tolist()],
    )
    write_record(root, record)
