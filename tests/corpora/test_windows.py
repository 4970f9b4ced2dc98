"""Windows: what is drawn is a function of (seed, index), what is read is what was drawn, what is bad is replaced."""

import dataclasses
import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lipsync.corpora import windows
from lipsync.corpora.mel import context
from lipsync.corpora.records import build_manifest, load_manifest
from lipsync.corpora.windows import Windows, choose_reference
from lipsync.errors import LipsyncError


def clip_and_frames(pictures: torch.Tensor) -> tuple[set[int], list[int]]:
    """Read back from the colours which clips and which frames these are."""
    red, green, _ = pictures.float().mean((2, 3)).T
    return set(((red - 40) / 20).round().int().tolist()), ((green - 40) / 4).round().int().tolist()


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in a)


def test_a_sample_is_what_its_numbers_say(corpus: Path, clips: tuple, sound: Callable) -> None:
    data = Windows(load_manifest(corpus), "train", augment=True)
    drawn = set()
    for index in range(40):
        sample = data[index]
        seen, numbers = clip_and_frames(torch.cat([sample["frames"], sample["reference"]]))
        first = sample["first_frame"]
        assert len(seen) == 1
        clip = seen.pop()
        assert clips[clip][2] == "train"
        assert numbers[:5] == list(range(first, first + 5))
        assert numbers[5] not in range(first - 4, first + 9)
        begin, count = context(first)
        whole = np.pad(sound(clip), (500, 8000))
        assert np.array_equal(sample["audio"], whole[begin + 500 : begin + 500 + count])
        assert sample["index"] == index
        assert sample["replaced"] == 0
        drawn.add(clip)
    assert drawn == {0, 1, 2}


def test_same_index_same_sample_and_other_index_other_sample(corpus: Path) -> None:
    manifest = load_manifest(corpus)
    data, again = (Windows(manifest, "train", seed=3, augment=True) for _ in range(2))
    again[5]  # what was read before plays no part
    assert same(data[7], again[7])
    assert same(data[7], pickle.loads(pickle.dumps(data))[7])
    assert not same(data[7], data[8] | {"index": 7})
    assert not same(data[7], Windows(manifest, "train", seed=4, augment=True)[7])


@pytest.mark.parametrize(
    ("split", "options", "drawn"),
    [
        (
            "train",
            {},
            [(2, 11, 4), (1, 21, 15), (2, 1, 10), (1, 22, 16), (0, 0, 36), (1, 7, 19), (0, 23, 34), (0, 24, 9)],
        ),
        (
            "train",
            {"seed": 7, "run": 4, "reference": "dissimilar"},
            [(2, 15, 6), (2, 13, 1), (2, 4, 16), (2, 11, 2), (2, 8, 1), (2, 8, 0), (0, 1, 23), (2, 2, 14)],
        ),
        (
            "val",
            {"seed": 3, "augment": True, "jitter": 0.03},
            [(2, 9, 0), (2, 1, 11), (2, 7, 0), (0, 4, 14), (0, 19, 13), (0, 18, 1), (0, 2, 17), (2, 0, 9)],
        ),
    ],
)
def test_what_is_drawn_never_changes(corpus: Path, split: str, options: dict, drawn: list) -> None:
    data = Windows(load_manifest(corpus), split, **options)
    samples = [data[index] for index in (0, 1, 2, 3, 4, 5, 10**6, 10**12)]
    numbers = [(s["clip"], s["first_frame"], clip_and_frames(s["reference"])[1][0]) for s in samples]
    assert numbers == drawn
    assert [s["speaker"] for s in samples] == [int(clip == 2 if split == "train" else clip > 0) for clip, *_ in drawn]


def test_balanced_speakers_are_equally_likely_and_so_are_their_windows(corpus: Path) -> None:
    data = Windows(load_manifest(corpus), "train", balanced=True)
    counts = np.zeros((3, 36))
    for index in range(4000):
        clip, first = data._choose(np.random.default_rng((0, index)), index, 0)
        counts[data.rows[clip], first] += 1
    anna, bert = counts[:2].sum(), counts[2].sum()
    assert abs(anna - 2000) < 130  # four standard deviations
    assert abs(bert - 2000) < 130
    # 36 + 26 windows of anna, 32 of each expected; 16 of bert, 125 of each
    assert (counts > 0).sum(1).tolist() == [36, 26, 16]
    assert 10 < counts[:2][counts[:2] > 0].min() <= counts[:2].max() < 60
    assert 80 < counts[2, :16].min() <= counts[2].max() < 170


@pytest.mark.parametrize("run", [1, 4])
def test_balanced_samples_are_functions_of_the_index(corpus: Path, run: int) -> None:
    data = Windows(load_manifest(corpus), "train", seed=5, run=run, balanced=True)
    samples = [data[index] for index in range(32)]
    copied = pickle.loads(pickle.dumps(data))
    assert all(same(samples[index], copied[index]) for index in reversed(range(32)))
    for sample in samples:
        clip = clip_and_frames(sample["frames"])[0].pop()
        assert data.rows[sample["clip"]] == clip
        assert sample["speaker"] == (clip == 2)
    clips = np.array([sample["clip"] for sample in samples]).reshape(-1, run)
    assert (clips == clips[:, :1]).all()
    assert len({*clips[:, 0].tolist()}) > 1


def test_a_pickle_holds_no_arrays(corpus: Path) -> None:
    data = Windows(load_manifest(corpus), "val", 4, 9, True, 0.02, 0.3, 0.4, 77, 2, "dissimilar", True)
    again = pickle.loads(pickle.dumps(data))
    assert len(pickle.dumps(data)) < 500
    ignored = ("manifest", "kept", "bad")
    for name, value in vars(data).items():
        assert name in ignored or np.array_equal(value, vars(again)[name]), name
    assert len(again) == 77
    assert same(data[3], again[3])


def test_validation_is_fixed_and_plain(corpus: Path) -> None:
    manifest = load_manifest(corpus)
    data = Windows(manifest, "val", length=6)
    assert len(data) == 6
    sample = data[2]
    assert "colour" not in sample
    for box in ("box", "reference_box"):
        assert sample[box].tolist() == pytest.approx(manifest[0].box)


def test_every_window_is_equally_likely(corpus: Path, clips: tuple) -> None:
    data = Windows(load_manifest(corpus), "train")
    counts = np.zeros((3, 36))
    for index in range(3900):
        clip, first = data._choose(np.random.default_rng(index), index, 0)
        counts[[c[0] for c in clips].index(data.manifest[data.rows[clip]].id), first] += 1
    # 36 + 26 + 16 windows, 50 of each expected, standard deviation 7
    drawn = counts[counts > 0]
    assert len(drawn) == 78
    assert drawn.min() > 22
    assert drawn.max() < 78
    assert (counts[1, 26:] == 0).all()


def test_windows_of_a_run_share_their_clip(corpus: Path) -> None:
    manifest = load_manifest(corpus)
    data = Windows(manifest, "train", run=4)
    samples = [data[index] for index in range(48)]
    clips = np.array([sample["clip"] for sample in samples]).reshape(12, 4)
    assert (clips == clips[:, :1]).all()
    assert len(set(clips[:, 0].tolist())) > 1
    firsts = np.array([sample["first_frame"] for sample in samples]).reshape(12, 4)
    assert all(len(set(row.tolist())) > 1 for row in firsts)
    for sample in samples[:8]:
        record = manifest[data.rows[sample["clip"]]]
        assert 0 <= sample["first_frame"] <= record.frames - 5
        assert sample["speaker"] == data.speakers[sample["clip"]]


def test_boxes_jitter_independently_within_bounds(corpus: Path) -> None:
    manifest = load_manifest(corpus)
    plain = torch.tensor(manifest[0].box)
    side = plain[1] - plain[0]
    data = Windows(manifest, "train", augment=True, jitter=0.03)
    mirrored = 0
    for index in range(40):
        sample = data[index]
        box, reference = sample["box"], sample["reference_box"]
        assert (box[2] > box[3]) == (reference[2] > reference[3])
        mirrored += int(box[2] > box[3])
        assert not torch.equal(box, reference)
        for moved in (box, reference):
            height, width = moved[1] - moved[0], (moved[3] - moved[2]).abs()
            torch.testing.assert_close(height, width)
            assert abs(height / side - 1) <= 0.03
            assert abs(moved[:2].mean() - plain[:2].mean()) <= 0.03 * side
            assert abs(moved[2:].mean() - plain[2:].mean()) <= 0.03 * side
    assert 8 < mirrored < 32


@pytest.mark.parametrize(
    ("clip", "first", "expected"),
    [
        (40, 10, {*range(6), *range(19, 40)}),
        (40, 0, set(range(9, 40))),
        (9, 2, {0, 1, 7, 8}),  # no room for the distance: anything but the window
        (6, 0, {5}),
        (6, 1, {0}),
        (10, 5, {0}),
    ],
)
def test_reference_lies_outside_the_window(clip: int, first: int, expected: set[int]) -> None:
    rng = np.random.default_rng(0)
    assert {choose_reference(rng, clip, first, 5) for _ in range(600)} == expected


def test_bad_clips_are_replaced_counted_and_named(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    straight = [Windows(load_manifest(corpus), "train")[i] for i in range(30)]
    (corpus / "anna/0.mp4").write_bytes((corpus / "anna/0.mp4").read_bytes()[:3000])
    (corpus / "bert/0.wav").unlink()
    data = Windows(load_manifest(corpus), "train")
    replaced = 0
    for index in range(30):
        sample = data[index]
        assert clip_and_frames(sample["frames"])[0] == {1}
        assert sample["index"] == index
        replaced += sample["replaced"] > 0
        if sample["replaced"] == 0:
            assert same(sample, straight[index])
    assert replaced > 10
    assert data.bad.keys() == {"anna/0", "bert/0"}
    assert "bert/0.wav: no such file" in data.bad["bert/0"]
    assert data.failures == data.reads - 30
    assert sum("cannot be read" in message for message in caplog.messages) == 2


@pytest.mark.parametrize(
    ("ending", "reason"), [("mp4", "bert/0.mp4 has 12 frames, not 20"), ("wav", "bert/0.wav ends 0.32 s early")]
)
def test_a_clip_shorter_than_its_record_is_bad(corpus: Path, write_clip: Callable, ending: str, reason: str) -> None:
    write_clip(corpus / "other", 2, "bert/0", "bert", "train", 12)
    (corpus / f"other/bert/0.{ending}").replace(corpus / f"bert/0.{ending}")
    data = Windows(load_manifest(corpus), "train")
    assert {clip_and_frames(data[i]["frames"])[0].pop() for i in range(20)} == {0, 1}
    assert data.bad == {"bert/0": reason}


def test_only_bad_clips_is_an_error_that_names_them(corpus: Path) -> None:
    for path in corpus.glob("*/*.mp4"):
        path.unlink()
    with pytest.raises(LipsyncError, match="unreadable clips: anna/0, anna/1, bert/0"):
        Windows(load_manifest(corpus), "train")[0]


def test_too_many_bad_clips_is_an_error_that_says_so(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "BAD_AFTER", 20)
    (corpus / "anna/0.wav").write_bytes(b"RIFF")
    data = Windows(load_manifest(corpus), "train")
    with pytest.raises(LipsyncError, match=r"\d+ of 2\d reads from .* failed, last anna/0"):
        [data[index] for index in range(60)]


def test_short_clips_are_left_out_with_a_message(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    data = Windows(load_manifest(corpus), "val", frames=19)
    assert len(data.rows) == 2
    assert "1 of 3 val clips" in caplog.text
    assert "fewer than 20 frames" in caplog.text
    with pytest.raises(LipsyncError, match=r"all val clips of .* are shorter than 25 frames"):
        Windows(load_manifest(corpus), "val", frames=24)


def test_a_corpus_has_one_size(corpus: Path) -> None:
    path = corpus / "anna/0.json"
    path.write_text(path.read_text().replace('"size": 64', '"size": 96'))
    build_manifest(corpus)
    with pytest.raises(LipsyncError, match=r"measure \[64, 96\] px"):
        Windows(load_manifest(corpus), "train")


def test_a_dissimilar_reference_has_another_mouth(corpus: Path) -> None:
    manifest = load_manifest(corpus)
    far, near = [], []
    for index in range(60):
        for mode, found in (("dissimilar", far), ("any", near)):
            data = Windows(manifest, "train", reference=mode)
            sample = data[index]
            opening = np.asarray(manifest[data.rows[sample["clip"]]].opening)
            _, (reference,) = clip_and_frames(sample["reference"])
            assert abs(reference - sample["first_frame"] - 2) > 2
            found.append(abs(opening[reference] - sample["opening"].mean().item()))
    assert np.mean(far) > 1.3 * np.mean(near)
    with pytest.raises(LipsyncError, match=r"similar.*any, dissimilar"):
        Windows(manifest, "train", reference="similar")


def test_a_dissimilar_reference_needs_measured_mouths(corpus: Path) -> None:
    data = Windows(load_manifest(corpus), "train", reference="dissimilar")
    bare = dataclasses.replace(data.manifest[data.rows[0]], opening=())
    with pytest.raises(LipsyncError, match="its mouth was not measured"):
        data._choose_reference(np.random.default_rng(0), bare, 0)
