"""LSE-D, LSE-C and the offset against the original's numbers and against embeddings whose answer is known."""

import numpy as np
import pytest
import torch

from lipsync.errors import LipsyncError
from lipsync.metrics.sync import SyncAgreement, evaluate, score
from lipsync.networks.syncnet_v2 import SyncNetV2


@pytest.mark.parametrize("case", ["a", "b", "c", "d"])
def test_scores_equal_the_original(reference, case):
    numbers = {key[2:]: value for key, value in reference("syncnet_eval").items() if key.startswith(f"{case}_")}
    found = score(numbers["im_feat"], numbers["cc_feat"], int(numbers["vshift"]))
    assert found.offset == numbers["offset"]
    assert found.lse_d == pytest.approx(float(numbers["min_dist"]), abs=1e-4)
    assert found.lse_c == pytest.approx(float(numbers["conf"]), abs=1e-4)
    torch.testing.assert_close(found.distances, numbers["dists"], atol=1e-4, rtol=0)
    torch.testing.assert_close(found.distances.mean(dim=0), numbers["mean_dists"], atol=1e-4, rtol=0)
    torch.testing.assert_close(found.confidence, numbers["frame_conf"], atol=1e-4, rtol=0)
    torch.testing.assert_close(found.smoothed_confidence(), numbers["frame_conf_median9"], atol=1e-4, rtol=0)


def test_whole_chain_equals_the_original(syncnet_v2, fill, reference):
    numbers = reference("syncnet_chain")
    bgr = fill.blocks_u8(numbers["frames_tag"], numbers["frames_shape"].tolist())
    assert fill.crc(bgr) == numbers["frames_crc"]
    frames = torch.from_numpy(bgr).flip(1) / 127.5 - 1
    found = evaluate(syncnet_v2, frames, numbers["wav_i16"])
    largest = float(numbers["dists"].max())
    torch.testing.assert_close(found.distances, numbers["dists"], atol=1e-5 * largest, rtol=0)
    assert found.offset == numbers["offset"]
    assert found.lse_d == pytest.approx(float(numbers["min_dist"]), rel=1e-5)
    # A small difference of large numbers.
    assert found.lse_c == pytest.approx(float(numbers["conf"]), abs=1e-5 * largest)
    smoothed = numbers["frame_conf_median9"]
    torch.testing.assert_close(found.smoothed_confidence(), smoothed, atol=1e-5 * largest, rtol=0)


@pytest.mark.parametrize("early", [-4, 0, 7])
def test_a_known_shift_is_found(early):
    """The sound of window i is that of the face `early` windows later."""
    features = torch.eye(60)
    face, audio = features[10:40], features[10 + early : 40 + early]
    found = score(face, audio)
    assert found.offset == early
    # One-hot vectors are sqrt 2 apart, or equal; windows whose sound lies beyond the clip's end meet zeros.
    assert found.lse_d == pytest.approx(abs(early) / 30, abs=1e-4)
    assert found.distances.shape == (30, 31)


def test_distance_is_the_originals_formula():
    rng = np.random.default_rng(0)
    face, audio = rng.normal(size=(2, 8, 4))
    found = score(torch.tensor(face), torch.tensor(audio), vshift=2)
    padded = np.pad(audio, ((2, 2), (0, 0)))
    expected = [[np.linalg.norm(face[i] - padded[i + j] + 1e-6) for j in range(5)] for i in range(8)]
    np.testing.assert_allclose(found.distances, expected, atol=1e-12)
    means = np.mean(expected, axis=0)
    assert found.lse_d == pytest.approx(means.min())
    assert found.lse_c == pytest.approx(np.median(means) - means.min())


def test_too_short_a_clip_is_refused():
    with pytest.raises(LipsyncError, match="too short"):
        evaluate(SyncNetV2(), torch.zeros(5, 3, 8, 8), torch.zeros(16000, dtype=torch.int16))


@pytest.mark.parametrize("windows", [1, 2, 7, 21, 45])
def test_agreement_equals_a_loop(windows):
    rng = np.random.default_rng(windows)
    face, audio = rng.normal(size=(2, windows, 6))
    means = {}
    for shift in range(-15, 16):
        pairs = [(i, i + shift) for i in range(windows) if 0 <= i + shift < windows]
        if 2 * len(pairs) >= windows:
            means[shift] = np.mean([np.sqrt(((face[i] - audio[j]) ** 2).sum()) for i, j in pairs])
    best, median = min(means, key=means.get), np.median(list(means.values()))
    found = SyncAgreement().score(torch.tensor(face), torch.tensor(audio))
    expected = {
        "lse_d": means[best],
        "lse_c": median - means[best],
        "offset": abs(best),
        "lse_d_0": means[0],
        "lse_c_0": median - means[0],
    }
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("late", [-10, -1, 0, 5, 15])
def test_agreement_finds_a_shift_whichever_way(late):
    features = torch.eye(80)
    found = SyncAgreement().score(features[20:60], features[20 - late : 60 - late])
    assert found["offset"] == abs(late)
    assert found["lse_d"] == 0  # no zeros from beyond the ends
    assert found["lse_c"] == pytest.approx(2**0.5)
    assert found["lse_d_0"] == pytest.approx(0 if late == 0 else 2**0.5)
    assert found["lse_c_0"] == pytest.approx(2**0.5 if late == 0 else 0, abs=1e-12)


def test_a_judge_that_hears_nothing_is_not_confident():
    found = SyncAgreement().score(torch.ones(30, 4), torch.zeros(30, 4))
    assert found["lse_d"] == found["lse_d_0"] == 2
    assert found["lse_c"] == found["lse_c_0"] == 0


def test_agreement_of_unequal_or_broken_embeddings_is_refused():
    metric = SyncAgreement()
    for face, audio in ((torch.ones(3, 2), torch.ones(4, 2)), (torch.ones(0, 2), torch.ones(0, 2))):
        with pytest.raises(LipsyncError, match="windows"):
            metric.score(face, audio)
    with pytest.raises(LipsyncError, match="finite"):
        metric.score(torch.ones(3, 2), torch.tensor([[1.0, torch.nan]]).expand(3, 2))
