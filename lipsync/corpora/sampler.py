"""The endless stream of samples: counted, never stored."""

from collections.abc import Iterator

from torch.utils.data import Sampler


class EndlessSampler(Sampler[int]):
    """Counts through the stream, each process taking its slice of every batch.

    Micro-batch m of all processes together is the indices start + [m b w, (m + 1) b w), of which rank r takes the
    r-th b. So a step sees the same samples however many processes share its global batch, and a run resumes by
    starting at the number of samples it has seen.

    Args:
        start: first index; global_step times global batch.
        batch: b, samples a micro-batch and process.
        rank: r, this process.
        world: w, number of processes.
    """

    def __init__(self, start: int, batch: int, rank: int = 0, world: int = 1) -> None:
        self.start, self.batch, self.rank, self.world = start, batch, rank, world

    def __iter__(self) -> Iterator[int]:
        first = self.start + self.rank * self.batch
        while True:
            yield from range(first, first + self.batch)
            first += self.batch * self.world
