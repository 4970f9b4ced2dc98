"""From every kind of corpus: a window's frames are those of a sequential decode, and clicks sit in their columns."""

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import trees
from torch.utils.data import default_collate

from lipsync.corpora import windows
from lipsync.corpora.datamodule import Corpus
from lipsync.corpora.folder import Folder
from lipsync.corpora.records import SPLITS, Record, inside, load_manifest
from lipsync.corpora.synthetic import Synthetic
from lipsync.corpora.windows import Windows
from lipsync.preparation.ingest import LINK
from lipsync.preparation.prepare import prepare
from lipsync.sound import map_wav, write_wav
from lipsync.video import read_frames

T = 5


@pytest.fixture(autouse=True)
def _streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the corpora are."""
    monkeypatch.setattr(windows, "KEPT", 0)


def decoded(path: Path) -> np.ndarray:
    """Every third pixel either way of all frames, (F, H, W, 3)."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24")[::3, ::3] for frame in container.decode(video=0)]
    return np.stack(frames).astype(np.float32)


def drawn(corpus: Windows) -> list[tuple[Record, int, dict]]:
    """Every clip's first, middle and last window."""
    records = [corpus.manifest[row] for row in corpus.rows]
    lasts = [record.frames - T for record in records]
    wanted = {(clip, first) for clip, last in enumerate(lasts) for first in (0, last // 2, last)}
    found, indices = [], itertools.count()
    while wanted:
        index = next(indices)
        place = corpus._choose(np.random.default_rng((corpus.seed, index, 0)), index, 0)
        if place in wanted:
            wanted.remove(place)
            found.append((records[place[0]], place[1], corpus[index]))
    return found


def assert_exact(data: Corpus, clicks: np.ndarray = trees.CLICKS, marked: bool = True) -> None:
    """Of all clips; where no two frames of a clip are alike, each is told from all others."""
    data.prepare_data()
    data.setup("fit")
    heard = set()
    for split in SPLITS:
        places = drawn(Windows(data.manifest, split, T))
        videos = {record.id: record.video for record, _, _ in places}
        truth = {id: decoded(inside(data.root, video)) for id, video in videos.items()}
        batch = data.on_after_batch_transfer(default_collate([sample for _, _, sample in places]), 0)
        for number, (record, first, sample) in enumerate(places):
            true = truth[record.id]
            assert len(true) == record.frames
            pictures = torch.cat([sample["frames"], sample["reference"]])[..., ::3, ::3].permute(0, 2, 3, 1).numpy()
            distances = np.stack([np.abs(true - picture).mean((1, 2, 3)) for picture in pictures])
            own, (nearest, next_one) = distances[range(T), range(first, first + T)], np.sort(distances, 1)[:, :2].T
            # The colours' matrix differs by decoder; the frame must be the right one, sharply.
            assert (nearest < 1.5).all()
            assert (own <= nearest[:T] + 0.1).all(), record.id
            assert not marked or (nearest < 0.7 * next_one).all()
            assert not marked or distances[T].argmin() not in range(first, first + T)

            places_of_clicks = np.round(clicks - 80 * record.start).astype(int).tolist()
            mels = [(batch["mel"][number, 0], int(Fraction(80 * first, 25)))]
            for frame, mel in enumerate(batch["frame_mels"][number], start=first):
                mels.append((mel, int(80 * max(Fraction(frame - 1, 25), 0))))
            for mel, begin in mels:
                inside_of_it = [click for click in places_of_clicks if begin <= click < begin + 16]
                if inside_of_it:
                    assert int(mel.mean(0).argmax()) + begin in inside_of_it, record.id
                    heard.add((record.id, *inside_of_it))
    assert not len(clicks) or {id for id, *_ in heard} == {record.id for record in data.manifest}
    assert len(heard) >= min(3, len(clicks)) * len(data.manifest)


def assert_in_step(data: Corpus, raw: Path) -> None:
    """A clip that was encoded anew shows at k / 25 s the frame that its source shows then."""
    anew = [record for record in load_manifest(data.root) if not record.video.startswith(LINK)]
    assert anew
    for record in anew:
        source = list(read_frames(raw / record.source))
        times = np.array([frame.time for frame in source])
        nearest = [int(np.abs(times - record.start - k / 25).argmin()) for k in range(record.frames)]
        shown = decoded(inside(data.root, record.video)).mean((1, 2, 3))
        true = np.array([frame.image.mean() for frame in source])
        likeness = [
            np.corrcoef(shown, true[np.clip(np.add(nearest, lag), 0, len(true) - 1)])[0, 1] for lag in range(-3, 4)
        ]
        assert likeness[3] > max(likeness[:3] + likeness[4:]) + 0.3, record.id


def test_published(taken):
    module = trees.TREES[taken.layout][2]
    data = module(root=str(taken.out), size=32, workers=0, augment=False)
    assert_exact(data, trees.CLICKS[trees.CLICKS < 29 * 3.2] if taken.layout == "lrw" else trees.CLICKS)
    assert_in_step(data, taken.out / LINK)
    starts = {record.source: record.start for record in data.manifest}
    varying = next(row for row in taken.report.rows if "varying" in row.source)
    late = next(row for row in taken.report.rows if "late" in row.source)
    assert varying.note == "encoded anew: uneven time stamps"
    assert starts[late.source] == pytest.approx(trees.LATE / 600, abs=0.04)


def test_folder(all_takes, tmp_path):
    raw = tmp_path / "raw"
    for number, take in enumerate(all_takes[1:]):
        trees.film(raw / f"{number}.mp4", take, 160)
    trees.unsteady(raw / "late.mp4", raw / "varying.mkv", all_takes[0], 160)
    prepare(str(raw), str(tmp_path / "corpus"), size=96, processes=1)
    data = Folder(str(tmp_path / "corpus"), size=32, workers=0, augment=False)
    assert_exact(data)
    assert_in_step(data, raw)


def test_synthetic(tmp_path):
    data = Synthetic(str(tmp_path), speakers=3, clips=1, seconds=1.4, track_size=64, size=32, workers=0, augment=False)
    data.prepare_data()
    for record in load_manifest(tmp_path):
        sound = map_wav(tmp_path / record.sound) // 20
        sound[200 * trees.CLICKS] = 30_000
        write_wav(tmp_path / record.sound, sound)
    assert_exact(data, marked=False)


@pytest.mark.parametrize(
    ("layout", "train", "size", "fate"),
    [
        ("lrs2", "grid_pwij3p.mpg", 160, "encoded anew: 360x288 pixels"),
        ("voxceleb2", "lp_d20.mp4", 480, "in place"),
        ("lrw", "grid_pwij3p.mpg", 256, "encoded anew: 360x288 pixels"),
    ],
)
def test_real_clips(layout, train, size, fate, shared, tmp_path):
    """Films of other kinds, under the names that each corpus gives its own."""
    raw, out = tmp_path / "raw", tmp_path / "corpus"
    for split, clip in (("train", train), ("val", "grid_bbaf2n.mpg"), ("test", "grid_lbax4n.mpg")):
        path = {
            "lrs2": raw / "main" / "6" / f"{split}.mp4",
            "voxceleb2": raw / ("test" if split == "test" else "dev") / "mp4" / f"id_{split}" / "x" / "00001.mp4",
            "lrw": raw / "ABOUT" / split / "ABOUT_00001.mp4",
        }[layout]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(shared / "clips" / clip)
        (raw / f"{split}.txt").write_text(f"6/{split}\n")
    report = prepare(str(raw), str(out), layout=layout, size=size, look_every=5, processes=1)
    assert sorted(row.note for row in report.rows) == sorted([fate, *["encoded anew: 360x288 pixels"] * 2])
    data = trees.TREES[layout][2](root=str(out), size=32, workers=0, augment=False)
    assert_exact(data, clicks=np.array([]), marked=False)
