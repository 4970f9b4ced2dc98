"""A manifest of a million clips: what opening it, choosing windows and sharing it with workers cost.

    python -m tests.benchmarks.manifest FOLDER [--clips 1000000]

Writes FOLDER/manifest.arrow, 450 MB for a million rows, unless it is there; measures each stage in a fresh process.
"""

import argparse
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset

from lipsync.corpora.filters import MEASUREMENTS
from lipsync.corpora.records import MANIFEST, Record, build_manifest, load_manifest, write_record, write_table
from lipsync.corpora.windows import Windows

MIB = 2**20
DRAWS = 2000


def memory(what: str, file: str = "smaps_rollup") -> float:
    """MiB of this process that /proc counts under names beginning so."""
    lines = Path(f"/proc/self/{file}").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def records(clips: int) -> Iterator[Record]:
    """Rows such as LRS2 or VoxCeleb2 would give: 2 to 10 s, 6000 speakers, everything measured."""
    rng = np.random.default_rng(0)
    box = (22.9, 137.1, 22.9, 137.1)
    for number in range(clips):
        speaker, frames = f"id{number * 6000 // clips:05d}", int(rng.integers(50, 250))
        split = "val" if number % 100 == 0 else "test" if number % 100 == 1 else "train"
        id = f"{speaker}/{number:07d}"
        measured = dict(zip(MEASUREMENTS, rng.random(len(MEASUREMENTS)).tolist(), strict=True))
        opening = rng.random(frames, np.float32)
        yield Record(id, f"{id}.mp4", f"{id}.wav", f"{speaker}.mp4", speaker, split, frames, 160, box,
                     opening=opening, sync_confidence=0.5, measurements=measured)  # fmt: skip


class Choices(Dataset):
    """Chooses windows and reads their records, as Windows does before it decodes; tells the worker's own memory."""

    def __init__(self, windows: Windows | None) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return DRAWS

    def __getitem__(self, index: int) -> float:
        if self.windows is not None:
            clip, _ = self.windows._choose(np.random.default_rng((0, index, 0)), index, 0)
            assert self.windows.manifest[self.windows.rows[clip]].split == "train"
        return memory("Private") if index >= DRAWS - 2 else 0.0


def opened(folder: Path) -> None:
    """Print seconds and memory of opening, of the first choice, of two forked workers, and of a pickle."""
    before, own, start = memory("VmRSS", "status"), memory("RssAnon", "status"), time.perf_counter()
    manifest = load_manifest(folder)
    print(f"open: {time.perf_counter() - start:.3f} s, {memory('VmRSS', 'status') - before:.0f} MiB")
    start = time.perf_counter()
    windows = Windows(manifest, "train")
    clip, first = windows._choose(np.random.default_rng((0, 0, 0)), 0, 0)
    record = manifest[windows.rows[clip]]
    print(f"first window, {record.id} from {first}: {time.perf_counter() - start:.3f} s after that,", end=" ")
    grown, anonymous = memory("VmRSS", "status") - before, memory("RssAnon", "status") - own
    print(f"{grown:.0f} MiB in all, {anonymous:.0f} MiB of them not the file's")
    start = time.perf_counter()
    for index in range(DRAWS):
        clip, _ = windows._choose(np.random.default_rng((0, index, 0)), index, 0)
        _ = manifest[windows.rows[clip]]
    print(f"choosing and reading a record: {(time.perf_counter() - start) / DRAWS * 1e6:.0f} us")
    for name, dataset in (("nothing", Choices(None)), ("windows", Choices(windows))):
        loader = DataLoader(dataset, num_workers=2, multiprocessing_context="fork")
        own = [float(x) for x in loader][-2:]
        print(f"own memory of two forked workers that choose {name}: {own[0]:.0f} and {own[1]:.0f} MiB")
    pickled = pickle.dumps(windows)
    start = time.perf_counter()
    pickle.loads(pickled)
    print(f"pickled: {len(pickled)} bytes, unpickled in {time.perf_counter() - start:.3f} s")


def filtered(folder: Path) -> None:
    """Print what filters and balanced speakers add to the first window."""
    filters = {"presence": [0.02, None], "yaw": [None, 0.98], "seconds": [3, 9]}
    start = time.perf_counter()
    windows = Windows(load_manifest(folder, filters), "train", balanced=True)
    windows._choose(np.random.default_rng((0, 0, 0)), 0, 0)
    print(f"three filters and balanced: {time.perf_counter() - start:.3f} s, {len(windows.rows)} clips left")


def built(folder: Path, clips: int) -> None:
    """Print what building from json files costs."""
    if not folder.is_dir():
        for record in records(clips):
            write_record(folder, Record(**{**vars(record), "opening": record.opening.tolist()}))
    before, start = memory("VmHWM", "status"), time.perf_counter()
    build_manifest(folder)
    seconds = time.perf_counter() - start
    print(f"built from {clips} json files: {seconds:.1f} s, peak {memory('VmHWM', 'status') - before:+.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--stage")
    arguments = parser.parse_args()
    folder, clips = arguments.folder, arguments.clips
    folder.mkdir(parents=True, exist_ok=True)
    stages = {
        "written": lambda: write_table(folder / MANIFEST, records(clips)),
        "opened": lambda: opened(folder),
        "filtered": lambda: filtered(folder),
        "few": lambda: built(folder / "few", 10_000),
        "many": lambda: built(folder / "many", 40_000),
    }
    if arguments.stage:
        stages[arguments.stage]()
        return
    for stage in stages:
        if stage != "written" or not (folder / MANIFEST).is_file():
            command = [sys.executable, __file__, str(folder), f"--clips={clips}", f"--stage={stage}"]
            subprocess.run(command, check=True)
    print(f"{(folder / MANIFEST).stat().st_size / MIB:.0f} MiB on disk")


if __name__ == "__main__":
    main()
