"""Streaming windows from a corpus of 8-second clips, against bare decord and against frames stored as JPEG.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.streaming FOLDER [--windows 400] [--repeats 5]

The corpus is written into FOLDER by the first run. Ways alternate; each is reported as its median (least to most) of
windows a second and of windows a second of CPU time, worker and main process together; then the ratios of both to the
first way, of which the latter is disturbed less by other programs.
"""

import argparse
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import decord
import numpy as np
import torch
from lightning import LightningModule, Trainer
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lipsync.corpora.datamodule import Corpus
from lipsync.corpora.mel import log_mel
from lipsync.corpora.puppet.write import write_corpus
from lipsync.corpora.windows import Windows
from lipsync.sound import map_wav
from lipsync.video import read_frames

BATCH = 8
WARM = 6  # batches before the clock starts: a worker starts and fills its queue
LONG = 2000  # windows over which memory and open files are watched
QUALITY = 95  # of JPEGs, what OpenCV writes unless told otherwise
Rate = tuple[float, float]  # windows a second, windows a second of CPU time


class Jpegs(Dataset):
    """The peers' way: a folder of JPEGs a clip, and the mel of the whole clip for every sample."""

    def __init__(self, windows: Windows, frames: Path) -> None:
        self.windows, self.frames = windows, frames

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        record, numbers = drawn(self.windows, index)
        files = (self.frames / record.id / f"{number:05d}.jpg" for number in numbers)
        pictures = np.stack([np.asarray(Image.open(file)) for file in files])
        samples = np.array(map_wav(self.windows.manifest.root / record.sound))
        mel = log_mel(torch.from_numpy(samples)[None] / 32768)[0]
        first = int(80 * numbers[0] / 25)
        return {"frames": torch.from_numpy(pictures).permute(0, 3, 1, 2), "mel": mel[:, first : first + 16]}


class Nothing(LightningModule):
    """Learns nothing and times the fit."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def on_train_batch_start(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        if batch_idx == WARM:
            self.clock = Clock(self.trainer.train_dataloader._iterator)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return self.weight * 0

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """There is one, or Lightning warns."""

    def on_train_end(self) -> None:
        self.rate = self.clock.rate((self.trainer.max_steps - WARM) * BATCH)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Untouched(Corpus):
    """Hands on what workers read as it is."""

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        return batch


class Clock:
    """Wall and CPU time from now on, of this process and of a loader's workers."""

    def __init__(self, iterator: object = None) -> None:
        self.workers = [worker.pid for worker in getattr(iterator, "_workers", [])]
        self.start, self.cpu = time.perf_counter(), self._cpu()

    def _cpu(self) -> float:
        stats = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.workers)
        ticks = sum(int(stat[11]) + int(stat[12]) for stat in stats)
        return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")

    def rate(self, windows: int) -> Rate:
        return windows / (time.perf_counter() - self.start), windows / (self._cpu() - self.cpu)


def drawn(windows: Windows, index: int) -> tuple:
    """The record and the frames, window and reference, of a sample."""
    rng = np.random.default_rng((windows.seed, index, 0))
    clip, first = windows._choose(rng, index, 0)
    record = windows.manifest[windows.rows[clip]]
    return record, [*range(first, first + windows.frames), windows._choose_reference(rng, record, first)]


def trainer(steps: int) -> Trainer:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return Trainer(max_steps=steps, use_distributed_sampler=False, limit_val_batches=0, **quiet)


def opened(folder: Path) -> Corpus:
    corpus = Corpus(str(folder / "corpus"), batch_size=BATCH, workers=1)
    corpus.trainer = trainer(1)
    corpus.setup("fit")
    assert corpus.train.kept is None, "so few clips are kept decoded: nothing is streamed"
    return corpus


def through(loader: DataLoader, windows: int, transfer: Callable = lambda batch, _: batch) -> Rate:
    iterator = iter(loader)
    for _ in range(WARM):
        next(iterator)
    clock = Clock(iterator)
    for _ in range(windows // BATCH):
        transfer(next(iterator), 0)
    return clock.rate(windows // BATCH * BATCH)


def bare(windows: Windows, count: int) -> Rate:
    jobs = [drawn(windows, index) for index in range(WARM * BATCH, WARM * BATCH + count)]
    clock = Clock()
    for record, numbers in jobs:
        reader = decord.VideoReader(str(windows.manifest.root / record.video), num_threads=1)
        reader.get_batch(numbers).asnumpy()
    return clock.rate(count)


def fitted(corpus: Corpus, windows: int) -> Rate:
    model = Nothing()
    trainer(WARM + windows // BATCH).fit(model, datamodule=corpus)
    return model.rate


def forget(files: list[Path]) -> None:
    """Drop files from the page cache."""
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def compare(title: str, ways: dict[str, Callable[[], Rate]], repeats: int, files: list[Path] | None = None) -> None:
    """Run the ways in turn and print a table; the ratio is to the first one."""
    found: dict[str, list[Rate]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            forget(files or [])
            found[name].append(way())
    print(f"\n{title}")
    first = np.median(next(iter(found.values())), axis=0)
    for name, rates in found.items():
        (wall, cpu), low, high = np.median(rates, axis=0), np.min(rates, axis=0), np.max(rates, axis=0)
        spread = (
            f"{wall:6.1f} ({low[0]:.1f} to {high[0]:.1f}) a second, {cpu:6.1f} ({low[1]:.1f} to {high[1]:.1f}) of CPU"
        )
        print(f"  {name:22s} {spread}; of {next(iter(found))}: {wall / first[0]:.2f} and {cpu / first[1]:.2f}")


def watch(corpus: Corpus) -> None:
    """Print a worker's own memory and open files on the way through many windows."""
    print("\none worker's own memory and open files")
    iterator = iter(corpus.train_dataloader())
    for batch in range(1, LONG // BATCH + 1):
        next(iterator)
        if batch * BATCH in (200, 400, 1000, LONG):
            process = Path(f"/proc/{iterator._workers[0].pid}")
            lines = (process / "smaps_rollup").read_text().splitlines()
            own = sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024
            print(f"  after {batch * BATCH} windows: {own:.0f} MiB, {len(list((process / 'fd').iterdir()))} files")


def main() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--windows", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    folder, windows, repeats = arguments.folder, arguments.windows, arguments.repeats
    torch.set_num_threads(1)
    write_corpus(folder / "corpus", speakers=16, clips=4, seconds=8.0, size=160)
    corpus = opened(folder)
    for record in corpus.manifest:
        pictures = folder / "frames" / record.id
        if not pictures.is_dir():
            pictures.mkdir(parents=True)
            for number, frame in enumerate(read_frames(corpus.root / record.video)):
                Image.fromarray(frame.image).save(pictures / f"{number:05d}.jpg", quality=QUALITY)
    os.sync()

    files = {end: list(folder.rglob(f"*.{end}")) for end in ("mp4", "wav", "jpg")}
    # Blocks of 512 bytes: what `du` counts.
    sizes = {end: sum(file.stat().st_blocks for file in found) / 2048 for end, found in files.items()}
    disk = ", ".join(f"{end} {size:.1f} MiB in {len(files[end])} files" for end, size in sizes.items())
    ratio = (sizes["jpg"] + sizes["wav"]) / (sizes["mp4"] + sizes["wav"])
    print(f"{len(corpus.manifest)} clips, {len(corpus.train.rows)} of them to train on")
    print(f"disk: {disk}; jpg + wav take {ratio:.1f} times as much as mp4 + wav")

    ways = {
        "bare decord": lambda: bare(corpus.train, windows),
        "this loader": lambda: through(corpus.train_dataloader(), windows),
        "jpegs, whole-clip mel": lambda: through(
            DataLoader(Jpegs(corpus.train, folder / "frames"), BATCH, num_workers=1), windows
        ),
    }
    files = [file for end in sizes for file in folder.rglob(f"*.{end}")]
    compare("windows from a warm page cache", ways, repeats)
    compare("windows from a cold page cache", ways, repeats, files)
    options = {"root": str(folder / "corpus"), "batch_size": BATCH, "workers": 1}
    ways = {
        "loader alone": lambda: through(corpus.train_dataloader(), windows),
        "fit, nothing on top": lambda: fitted(Untouched(**options), windows),
        "loader, device's work": lambda: through(corpus.train_dataloader(), windows, corpus.on_after_batch_transfer),
        "fit": lambda: fitted(Corpus(**options), windows),
        "fit, not augmenting": lambda: fitted(Corpus(**options, augment=False), windows),
    }
    compare("a fit of a model that does nothing, on this CPU as the device", ways, repeats)
    watch(corpus)


if __name__ == "__main__":
    main()
