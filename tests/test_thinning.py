"""Whole windows give all frames, the others one, by their index alone."""

import torch

from lipsync.thinning import thin


def test_whole_windows_and_single_frames() -> None:
    found = thin(torch.arange(11, 17), T=5, every=3, seed=0)  # 12 and 15 are whole
    assert found.whole.tolist() == [1, 4]
    assert found.window.tolist() == [0, 1, 1, 1, 1, 1, 2, 3, 4, 4, 4, 4, 4, 5]
    assert found.place[1:6].tolist() == found.place[8:13].tolist() == [0, 1, 2, 3, 4]
    assert found.complete.tolist() == [1, 2, 3, 4, 5, 8, 9, 10, 11, 12]
    torch.testing.assert_close(found.share * 6, torch.tensor([1, *[0.2] * 5, 1, 1, *[0.2] * 5, 1]))


def test_the_frame_depends_on_seed_and_index_only() -> None:
    index = torch.arange(1, 400, 2)
    places = thin(index, 5, 2, 0).place
    assert torch.equal(thin(index[100:], 5, 2, 0).place, places[100:])
    assert not torch.equal(thin(index, 5, 2, 1).place, places)
    assert places.bincount().min() > 20  # of 200
    assert thin(torch.arange(1, 30, 2), 5, 2, 7).place.tolist() == [3, 3, 1, 2, 0, 3, 2, 2, 3, 4, 3, 1, 0, 4, 0]


def test_all_whole_and_none() -> None:
    everything = thin(torch.arange(3), 5, 1, 0)
    assert len(everything.window) == len(everything.complete) == 15
    nothing = thin(torch.tensor([1, 3]), 5, 2, 0)
    assert len(nothing.whole) == len(nothing.complete) == 0
    assert nothing.share.tolist() == [0.5, 0.5]
