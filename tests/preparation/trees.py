"""Published corpora in miniature: talking heads laid out as their archives unpack."""

from pathlib import Path

import av
import numpy as np
import torch

from lipsync.corpora.clips import read_pictures
from lipsync.corpora.puppet.write import write_corpus
from lipsync.corpora.records import inside, load_manifest
from lipsync.sound import map_wav
from lipsync.video import write_clip

Takes = list[tuple[np.ndarray, np.ndarray]]


def takes(folder: Path, count: int, seconds: float = 1.4) -> Takes:
    """Frames (N, D, D, 3) and sound of talking heads, one speaker each."""
    write_corpus(folder, speakers=max(count, 3), clips=1, seconds=seconds, size=112, seed=0)
    records = list(load_manifest(folder))[:count]
    return [
        (
            read_pictures(folder, record, range(record.frames)).permute(0, 2, 3, 1).numpy(),
            np.array(map_wav(inside(folder, record.sound))),
        )
        for record in records
    ]


def film(path: Path, take: tuple[np.ndarray, np.ndarray], size: int, fps: float = 25, sound: bool = True) -> None:
    """Writes a take as a square mp4 of a size, with its sound in it or without."""
    frames, samples = take
    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    pictures = torch.nn.functional.interpolate(pictures, size=(size, size), mode="bilinear", antialias=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(path, pictures.round().byte().permute(0, 2, 3, 1).numpy(), fps, samples if sound else None)


def sound_file(path: Path, take: tuple[np.ndarray, np.ndarray]) -> None:
    """Writes a take's sound alone, as AAC in an m4a."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(take[1][None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])


def lrs2(root: Path, all_takes: Takes) -> Path:
    """One clip each of pretrain, train, val and test; test.txt marks its clip, as the real one does."""
    places = [("pretrain", "pretrain"), ("main", "train"), ("main", "val"), ("main", "test")]
    for number, ((part, name), take) in enumerate(zip(places, all_takes, strict=True)):
        clip = f"553541569906879{number}/00001"
        film(root / "mvlrs_v1" / part / f"{clip}.mp4", take, 160)
        mark = " NF" if name == "test" else ""
        (root / "mvlrs_v1" / f"{name}.txt").write_text(f"{clip}{mark}\n", encoding="utf-8")
    return root


def voxceleb2(root: Path, all_takes: Takes) -> Path:
    """Three dev speakers and one of test, the last one's sound in the video; the first has a second utterance."""
    for number, take in enumerate(all_takes):
        part = "test" if number == len(all_takes) - 1 else "dev"
        for name in ("00001", "00002") if number == 0 else ("00017",):
            clip = f"id0{number}/vid_{number}-x/{name}"
            film(root / part / "mp4" / f"{clip}.mp4", take, 224, sound=part == "test")
            if part == "dev":
                sound_file(root / part / "aac" / f"{clip}.m4a", take)
    return root


def lrw(root: Path, all_takes: Takes) -> Path:
    """Two words; each split has a clip of 29 frames."""
    for number, (split, take) in enumerate(zip(("train", "train", "val", "test"), all_takes, strict=True)):
        word = ("ABOUT", "WOULD")[number % 2]
        cut = take[0][:29], take[1][: 29 * 640]
        film(root / "lipread_mp4" / word / split / f"{word}_0000{number}.mp4", cut, 256)
    return root
