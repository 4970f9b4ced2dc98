"""Published corpora in miniature: talking heads laid out as their archives unpack."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from lipsync.corpora.clips import read_pictures
from lipsync.corpora.lrs2 import LRS2
from lipsync.corpora.lrw import LRW
from lipsync.corpora.puppet.write import write_corpus
from lipsync.corpora.records import inside, load_manifest
from lipsync.corpora.voxceleb2 import VoxCeleb2
from lipsync.sound import map_wav
from lipsync.video import write_clip

Take = tuple[np.ndarray, np.ndarray]
Takes = list[Take]
CLICKS = np.array([5, 24, 43, 62, 81, 100])  # columns of a take's mel
LATE = 72  # 600ths of a second, three frames: by which a clip's pictures come later than its sound


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


def mark(take: Take, number: int) -> Take:
    """A take whose every frame is like no other, in its patches and in its brightness, with clicks over a low voice."""
    frames, samples = take
    rng = np.random.default_rng(number)
    cells = rng.uniform(-7, 7, (len(frames), frames.shape[1] // 8, frames.shape[2] // 8, 1))
    shades = cells.repeat(8, 1).repeat(8, 2) + rng.uniform(-4, 4, (len(frames), 1, 1, 1))
    heard = samples / 20 + rng.normal(0, 60, len(samples))
    heard[200 * CLICKS] = 30_000  # a column is centred on its 200th sample
    return (frames + shades).clip(0, 255).astype(np.uint8), heard.astype(np.int16)


def film(path: Path, take: Take, size: int, fps: float = 25, sound: bool = True) -> None:
    """Writes a take as a square mp4 of a size, with its sound in it or without."""
    frames, samples = take
    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    pictures = torch.nn.functional.interpolate(pictures, size=(size, size), mode="bilinear", antialias=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(path, pictures.round().byte().permute(0, 2, 3, 1).numpy(), fps, samples if sound else None)


def write(
    path: Path,
    take: Take,
    times: list[int] | None = None,
    rate: int = 25,
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (160, 160),
    codec: str = "libx264",
) -> Path:
    """A take with other time stamps (in 1/600 s), pixels or codecs, its sound beside."""
    frames, samples = take
    with av.open(str(path), "w", format="matroska" if path.suffix == ".mkv" else "mp4") as container:
        video = container.add_stream(codec, rate=rate)
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        audio = container.add_stream("aac", rate=16_000, layout="mono")
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(*size, format=pix_fmt)
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, rate if times is None else 600)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux([*audio.encode(frame), *audio.encode(None)])
    return path


def unsteady(late: Path, varying: Path, take: Take, size: int) -> None:
    """Two more clips of a take: one whose pictures come late, and one whose rate varies."""
    steps = np.random.default_rng(0).choice([16, 24, 32], len(take[0]))
    for path, times in ((late, LATE + 24 * np.arange(len(take[0]))), (varying, np.cumsum(steps))):
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, take, times.tolist(), rate=600, size=(size, size))


def sound_file(path: Path, take: Take) -> None:
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


def lrs2_unsteady(root: Path, take: Take) -> None:
    """Two more clips to train on."""
    folder = root / "mvlrs_v1" / "main" / "777"
    unsteady(folder / "late.mp4", folder / "varying.mp4", take, 160)
    with open(root / "mvlrs_v1" / "train.txt", "a", encoding="utf-8") as names:
        names.write("777/late\n777/varying\n")


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


def voxceleb2_unsteady(root: Path, take: Take) -> None:
    """Two more clips to train on, their sound apart and, of the second, in the video."""
    late, varying = (f"id07/{name}-x/00003" for name in ("late", "varying"))
    unsteady(root / "dev" / "mp4" / f"{late}.mp4", root / "dev" / "mp4" / f"{varying}.mp4", take, 224)
    sound_file(root / "dev" / "aac" / f"{late}.m4a", take)


def lrw(root: Path, all_takes: Takes) -> Path:
    """Two words; each split has a clip of 29 frames."""
    for number, (split, take) in enumerate(zip(("train", "train", "val", "test"), all_takes, strict=True)):
        word = ("ABOUT", "WOULD")[number % 2]
        film(root / "lipread_mp4" / word / split / f"{word}_0000{number}.mp4", _word(take), 256)
    return root


def lrw_unsteady(root: Path, take: Take) -> None:
    """Two more clips to train on."""
    folder = root / "lipread_mp4" / "ABOUT" / "train"
    unsteady(folder / "ABOUT_late.mp4", folder / "ABOUT_varying.mp4", _word(take), 256)


def _word(take: Take) -> Take:
    return take[0][:29], take[1][: 29 * 640]


# How each is laid out, its clips that do not keep time, and what serves it.
TREES = {
    "lrs2": (lrs2, lrs2_unsteady, LRS2),
    "voxceleb2": (voxceleb2, voxceleb2_unsteady, VoxCeleb2),
    "lrw": (lrw, lrw_unsteady, LRW),
}
