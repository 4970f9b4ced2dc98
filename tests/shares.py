"""A process that scores its share of clips: folder, numbers of clips, rank, processes."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from lipsync.metrics.frechet import FrechetDistance
from lipsync.metrics.sync import SyncAgreement

Scores = tuple[dict[str, float], dict[int, dict[str, float]], float]


def scores(clips: int, rank: int, processes: int) -> Scores:
    """Means, clips' scores and Frechet distance of every clip that is this process's; of several, all score the last.

    Clip number n is drawn from n.
    """
    sync, frechet = SyncAgreement(), FrechetDistance(4)
    for number in range(clips):
        face, audio = torch.randn(2, 24, 4, generator=torch.Generator().manual_seed(number))
        mine = number % processes == rank
        if mine or 0 < number == clips - 1:
            sync.update(number, face, audio)
        if mine:
            frechet.update(face, 2 * audio + 1)
    return {name: float(mean) for name, mean in sync.compute().items()}, sync.by_clip(), float(frechet.compute())


if __name__ == "__main__":
    folder, counts, rank, processes = Path(sys.argv[1]), sys.argv[2].split(","), int(sys.argv[3]), int(sys.argv[4])
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=processes)
    torch.save([scores(int(count), rank, processes) for count in counts], folder / f"{rank}.pt")
    dist.destroy_process_group()
