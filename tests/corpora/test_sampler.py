"""The stream is counted through once, whatever the number of processes."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from lipsync.corpora.sampler import EndlessSampler


def steps(start: int, batch: int, world: int, accumulate: int, count: int) -> list[list[int]]:
    """Indices that all processes together consume in each of `count` optimizer steps."""
    streams = [iter(EndlessSampler(start, batch, rank, world)) for rank in range(world)]
    return [[i for stream in streams for i in islice(stream, batch * accumulate)] for _ in range(count)]


@given(
    world=st.sampled_from([1, 2, 8, 64]),
    batch=st.integers(1, 5),
    accumulate=st.integers(1, 3),
    step=st.integers(0, 1000),
)
def test_step_k_consumes_its_share_of_the_stream(world: int, batch: int, accumulate: int, step: int) -> None:
    size = batch * world * accumulate
    for k, indices in enumerate(steps(step * size, batch, world, accumulate, 3), start=step):
        assert sorted(indices) == list(range(k * size, (k + 1) * size))


def test_ranks_take_fixed_slices_of_a_micro_batch() -> None:
    assert list(islice(EndlessSampler(100, 3, 1, 2), 6)) == [103, 104, 105, 109, 110, 111]


def test_resumed_stream_is_the_rest_of_the_straight_one() -> None:
    straight = list(islice(EndlessSampler(0, 4, 1, 2), 40))
    assert list(islice(EndlessSampler(5 * 8, 4, 1, 2), 20)) == straight[20:]
