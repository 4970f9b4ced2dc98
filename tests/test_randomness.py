"""Noise is a function of (seed, stream, index), and it is good noise."""

import math
import zlib

import pytest
import torch

from lipsync.randomness import integers, normal, uniform, words

INDEX = torch.arange(64)


def test_words_follow_splitmix64() -> None:
    """Against SplitMix64 in Python's own integers."""
    mask = (1 << 64) - 1

    def mix(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    golden = 0x9E3779B97F4A7C15

    key = mix((5 * 0x1_0000_0001 + zlib.crc32(b"eps")) * golden & mask)
    start = mix((key + 7 * golden) & mask)
    expected = [mix((start + k * golden) & mask) for k in (1, 2, 3)]
    got = words(5, "eps", torch.tensor([7]), 3)[0].tolist()
    assert [value & mask for value in got] == expected


def test_a_row_depends_on_its_own_index_only() -> None:
    whole = normal(3, "eps", INDEX, (3, 4, 5))
    part = normal(3, "eps", INDEX[[40, 2]], (3, 4, 5))
    assert torch.equal(part, whole[[40, 2]])


def test_any_seed_will_do() -> None:
    a, b = (words(seed, "eps", INDEX, 2) for seed in (2**31, 2**32 - 1))
    assert not torch.equal(a, b)


@pytest.mark.parametrize("other", [(4, "eps"), (3, "cond")])
def test_seeds_and_streams_are_independent(other: tuple[int, str]) -> None:
    a = normal(3, "eps", INDEX, (4096,)).flatten()
    b = normal(*other, INDEX, (4096,)).flatten()
    assert abs(torch.corrcoef(torch.stack((a, b)))[0, 1]) < 5 / math.sqrt(a.numel())


def test_normal_has_the_normal_distribution() -> None:
    x = normal(0, "eps", INDEX, (1 << 15,)).flatten().double()
    bound = 5 / math.sqrt(x.numel())
    assert abs(x.mean()) < bound
    assert abs(x.var() - 1) < bound * math.sqrt(2)
    assert abs((x**4).mean() - 3) < bound * math.sqrt(96)
    for q in (-2.0, -0.5, 1.0, 3.0):
        share = 0.5 * (1 + math.erf(q / math.sqrt(2)))
        assert abs((x < q).double().mean() - share) < bound


def test_neighbouring_values_and_indices_do_not_correlate() -> None:
    x = normal(0, "eps", INDEX, (1 << 14,)).double()
    bound = 5 / math.sqrt(x.numel())
    assert abs((x[:, 1:] * x[:, :-1]).mean()) < bound
    assert abs((x[1:] * x[:-1]).mean()) < bound


def test_uniform_and_integers_fill_their_range() -> None:
    u = uniform(1, "t", torch.arange(200_000))
    assert 0 <= u.min() < 1e-4
    assert 1 - 1e-4 < u.max() < 1
    t = integers(1, "t", torch.arange(200_000), 1000)
    assert (t.min(), t.max()) == (0, 999)
    assert torch.bincount(t, minlength=1000).float().std() < 1.2 * math.sqrt(200)
