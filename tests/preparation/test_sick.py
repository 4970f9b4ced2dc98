"""Every kind of sick video in one folder: each has its fate, and the healthy ones become a corpus."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trees

from lipsync.corpora.folder import Folder
from lipsync.corpora.landmarks import mouth_opening
from lipsync.corpora.records import inside, load_manifest
from lipsync.preparation.faces import FaceFinder
from lipsync.preparation.prepare import prepare
from lipsync.video import read_frames

STRANGE = 'été d\'hiver "so" 看.mp4'


def turned(path: Path) -> None:
    """Writes the display matrix of a quarter turn into an mp4's first track."""
    identity, quarter = (b"".join(n.to_bytes(4, "big", signed=True) for n in numbers) for numbers in (
        (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000),
        (0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000),
    ))  # fmt: skip
    head, track, rest = path.read_bytes().split(identity, 2)  # the movie's own matrix comes first
    path.write_bytes(head + identity + track + quarter + rest)


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, tuple[int, str]]]:
    """The folder, the corpus that was prepared from it, and every file's fate."""
    folder = tmp_path_factory.mktemp("sick")
    raw, out = folder / "raw", folder / "corpus"
    raw.mkdir()
    one, two, three = trees.takes(folder / "heads", 3)
    for name, take in (("healthy_a.mp4", one), ("healthy_b.mp4", two), (STRANGE, three)):
        trees.film(raw / name, take, 160)
    whole = (raw / "healthy_a.mp4").read_bytes()
    (raw / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (raw / "zero.mp4").write_bytes(b"")
    (raw / "picture.mp4").write_text("<html>not found</html>")
    (raw / "video.txt").write_bytes(whole)
    trees.film(raw / "mute.mp4", one, 160, sound=False)
    trees.film(raw / "one_frame.mp4", (one[0][:1], one[1][:640]), 160)
    trees.film(raw / "four_frames.mp4", (one[0][:4], one[1][:2560]), 160)
    trees.film(raw / "ntsc.mp4", two, 160, fps=30000 / 1001)
    jumps = np.cumsum(np.random.default_rng(0).choice([16, 24, 32], len(two[0]))).tolist()  # 600ths of a second
    trees.write(raw / "vfr.mkv", two, times=jumps, rate=600)
    trees.write(raw / "odd.mkv", two, size=(161, 151), pix_fmt="bgr0", codec="ffv1")
    trees.write(raw / "ten_bit.mkv", two, pix_fmt="yuv420p10le", codec="ffv1")
    sideways = np.ascontiguousarray(np.rot90(two[0], 1, axes=(1, 2)))
    trees.film(raw / "rotated.mp4", (sideways, two[1]), 160)
    turned(raw / "rotated.mp4")
    report = prepare(str(raw), str(out), size=96, processes=1, val_fraction=0.2)
    return raw, out, {row.source: (row.kept, row.note) for row in report.rows}


def test_every_file_has_its_fate(sick):
    raw, out, fates = sick
    assert fates.keys() == {path.name for path in raw.iterdir()}
    for name in ("healthy_a.mp4", "healthy_b.mp4", STRANGE, "ntsc.mp4", "vfr.mkv", "odd.mkv", "ten_bit.mkv"):
        assert fates[name] == (1, ""), name
    assert fates["rotated.mp4"] == (1, "")
    for name in ("truncated.mp4", "zero.mp4", "picture.mp4"):
        assert fates[name][0] == 0, name
        assert "not a media file" in fates[name][1]
    assert fates["video.txt"] == (0, "not a video")
    assert fates["mute.mp4"] == (0, "no sound")
    for name in ("one_frame.mp4", "four_frames.mp4"):
        assert fates[name] == (0, "1 shorter than 1 s"), name
    assert STRANGE in (out / "report.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["healthy_b", "ntsc", "vfr", "odd", "ten_bit", "rotated"])
def test_the_mouth_moves_as_it_did(sick, name):
    """Whatever the container, frame k of a clip is the moment k / 25 s of the sound."""
    raw, out, _ = sick
    (path,) = raw.glob(f"{name}.*")
    record = next(record for record in load_manifest(out) if record.source == path.name)
    frames = list(read_frames(path))
    images = np.stack([frame.image for frame in frames])
    true = [mouth_opening(f.landmarks[:1])[0].item() for f in FaceFinder().detect(torch.from_numpy(images))]
    times = np.array([frame.time for frame in frames])
    nearest = [int(np.abs(times - record.start - k / 25).argmin()) for k in range(record.frames)]
    assert np.corrcoef(np.array(true)[nearest], record.opening)[0, 1] > 0.98
    assert 0 <= record.start <= 0.08


def test_training_goes_on_with_what_is_left(sick):
    _, out, fates = sick
    data = Folder(str(out), size=32, batch_size=4, workers=0, val_windows=4)
    data.prepare_data()
    data.setup("fit")
    assert len(data.train.rows) + len(data.val.rows) <= sum(kept for kept, _ in fates.values())
    batch = data.sample_windows(16, "cpu")
    assert batch["replaced"].tolist() == [0] * 16
    assert all(inside(out, record.video).is_file() for record in load_manifest(out))
