"""A hundred and more ways to break what a dub is given.

`KINDS` maps a name to a function that breaks something in a folder of healthy files and gives the arguments of `dub`
that differ, and to a part of the error's line: "" where it is dubbed, None where either may happen.
"""

import os
import pickle
import resource
import struct
import wave
import zipfile
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

Make = Callable[[Path], dict[str, object]]

PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"
NO_MEDIA = {
    "empty": b"",
    "noise": np.random.default_rng(0).bytes(5000),
    "text": b"Dear reader,\n" * 50,
    "a web page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "a playlist of another place": PLAYLIST.format("file:///etc/passwd").encode(),
    "a playlist on the network": PLAYLIST.format("http://localhost:9/a.ts").encode(),
    "a script that joins others": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "a session description": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
}
SUBTITLES = b"1\n00:00:00,000 --> 00:00:02,000\nHello\n\n"
NO_TEXT = os.fsdecode(b"caf\xe9 \xff.mp4")
ODD = "http: a\n%03d [*]? 'b' \"c\"\\ |-.mp4"
OPTIONS = (
    *(("face", "99", "99"), ("face", "-1", "-1"), ("face", "nose", "nose"), ("face", "10,10,5,5", "no face within")),
    *(("length", "forever", "forever"), ("missing", "panic", "panic"), ("missing", "error", "")),
    *(("reference", "nobody", "nobody"), ("quality", "superb", "superb"), ("sampler", "none", "none")),
    *(("steps", 0, "0"), ("device", "abacus", "abacus"), ("occlusion", "absent.mp4", "no such file")),
)


def film(path: Path, frames: int = 24, size: tuple[int, int] = (96, 80), first: int = 0, sound: bool = True) -> Path:
    """Writes a moving pattern at 25 fps, and a tone beside it."""
    old = path.suffix == ".mpg"
    options = {"movflags": "+faststart", "use_editlist": "0" if first else "1"} if path.suffix == ".mp4" else {}
    if first:
        options["avoid_negative_ts"] = "disabled"
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream("mpeg2video" if old else "libx264", rate=25)
        video.width, video.height, video.pix_fmt, video.gop_size = *size, "yuv420p", 8
        if not old:
            video.options = {"preset": "ultrafast", "crf": "10"}
        voice = container.add_stream("mp2" if old else "aac", rate=44_100) if sound else None
        y, x, _ = np.ogrid[: size[1], : size[0], :1]
        for number in range(frames):
            image = (128 + 90 * np.sin(x / 9 + number / 5 + np.arange(3)) * np.cos(y / 8)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = first + number, Fraction(1, 25)
            container.mux(video.encode(frame))
            if voice is not None:
                tone = 0.3 * np.sin(np.arange(1764 * number, 1764 * (number + 1)) / 20, dtype=np.float32)
                heard = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
                heard.sample_rate, heard.pts = 44_100, 1764 * number
                heard = heard if not old else av.AudioResampler("s16", "stereo").resample(heard)[0]
                container.mux(voice.encode(heard))
        for stream in filter(None, (video, voice)):
            container.mux(stream.encode(None))
    return path


def wav(path: Path, codec: str = "pcm_s16le", rate: int = 16_000, layout: str = "mono", samples: int = 16_000) -> Path:
    """Writes a tone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        tone = (8000 * np.sin(np.arange(samples) / 20)).astype(np.int16).repeat(stream.codec_context.channels)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="s16", layout=layout)
        frame.sample_rate = rate
        for part in av.AudioResampler(stream.codec_context.format.name, layout, rate).resample(frame):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def written(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def renamed(path: Path, name: str, out: str | None = None) -> dict:
    """A video by another name, and the output by a third."""
    arguments = {"video": str(path.rename(path.with_name(name)))}
    return arguments if out is None else arguments | {"out": str(path.with_name(out))}


def linked(at: Path, name: str, target: str) -> str:
    (at / name).symlink_to(at / target)
    return str(at / name)


def loop(at: Path) -> str:
    linked(at, "a.mp4", "b.mp4")
    return linked(at, "b.mp4", "a.mp4")


def pipe(path: Path) -> str:
    os.mkfifo(path)
    return str(path)


def folder(path: Path) -> str:
    path.mkdir()
    return str(path)


def forbidden(at: Path) -> dict:
    (at / "good.mp4").chmod(0)
    return {}


def full_disk(at: Path, room: int = 4096) -> dict:
    film(at / "noise.mp4", size=(640, 480))
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    return {}


def zipped(path: Path) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("talk.txt", "talk" * 1000)
    return str(path)


def cut(at: Path, name: str, part: Fraction | int) -> str:
    """The first bytes of a file: a part of them, or so many."""
    whole = (at / name).read_bytes()
    return written(at / f"cut{Path(name).suffix}", whole[: part if part > 1 else int(len(whole) * part)])


def noisy(at: Path, name: str) -> str:
    """With every fiftieth byte of the middle replaced."""
    data = np.frombuffer((at / name).read_bytes(), np.uint8).copy()
    rng = np.random.default_rng(0)
    hit = rng.integers(len(data) * 3 // 10, len(data) * 7 // 10, len(data) // 50)
    data[hit] = rng.integers(0, 256, len(hit))
    return written(at / f"noisy{Path(name).suffix}", data.tobytes())


def reboxed(at: Path, change: Callable[[dict[bytes, bytes]], object]) -> dict:
    """An mp4 after a change of its top boxes."""
    data, boxes, start = (at / "good.mp4").read_bytes(), {}, 0
    while start < len(data):
        size, name = struct.unpack_from(">I4s", data, start)
        boxes[name] = data[start : start + size]
        start += size
    change(boxes)
    return {"video": written(at / "talk.mp4", b"".join(boxes.values()))}


def recoded(at: Path, *names: bytes) -> str:
    """An mp4 in which the names of a codec are nobody's."""
    data = (at / "good.mp4").read_bytes()
    for name in names:
        data = data.replace(name, b"zzzz")
    return written(at / "talk.mp4", data)


def y4m(at: Path, header: str, lost: int = 0) -> dict:
    """Three raw frames of 96 x 80 under a header, without the last bytes."""
    data = f"YUV4MPEG2 {header}\n".encode() + (b"FRAME\n" + bytes(96 * 80 * 3 // 2)) * 3
    return {"video": written(at / "talk.y4m", data[: len(data) - lost])}


def png(at: Path, side: tuple[int, int] = (96, 80), kept: int | None = None, checked: bool = True) -> dict:
    """A picture whose header claims another size, with the sum that belongs to it, or cut off."""
    data = bytearray((at / "good.png").read_bytes())
    data[16:24] = struct.pack(">II", *side)
    if checked:
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return {"video": written(at / "talk.png", bytes(data[:kept]))}


def riff(at: Path, place: int, format: str, value: int) -> dict:
    """Half a second of silence with one number of its header replaced; a place alone cuts it off there."""
    with wave.open(str(at / "talk.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(16_000))
    data = bytearray((at / "talk.wav").read_bytes())
    if format:
        struct.pack_into(format, data, place, value)
    else:
        del data[place:]
    return {"audio": written(at / "talk.wav", bytes(data))}


def no_numbers(at: Path) -> dict:
    """Float sound with infinities and worse in it."""
    data = bytearray(wav(at / "talk.wav", codec="pcm_f32le").read_bytes())
    data[-40_000:-20_000] = np.tile(np.float32([np.nan, np.inf, -np.inf, 1e30]), 1250).tobytes()
    return {"audio": written(at / "talk.wav", bytes(data))}


def several_sizes(at: Path) -> dict:
    films = [film(at / f"{side}.h264", size=(side, side), sound=False).read_bytes() for side in (96, 128, 64)]
    return {"video": written(at / "talk.h264", b"".join(films))}


KINDS: dict[str, tuple[Make, str | None]] = {
    "all is well": (lambda at: {}, ""),
    "video is absent": (lambda at: {"video": str(at / "absent.mp4")}, "no such file"),
    "video is a folder": (lambda at: {"video": folder(at / "folder.mp4")}, "no such file"),
    "video is a loop of links": (lambda at: {"video": loop(at)}, "no such file"),
    "video is a link to nothing": (lambda at: {"video": linked(at, "a.mp4", "absent.mp4")}, "no such file"),
    "video is a pipe": (lambda at: {"video": pipe(at / "pipe.mp4")}, "no such file"),
    "video is a device": (lambda at: {"video": "/dev/zero"}, "no such file"),
    # Nothing is forbidden to root.
    "video is forbidden": (forbidden, "" if os.geteuid() == 0 else "not a media file"),
    "video is an archive": (lambda at: {"video": zipped(at / "talk.mp4")}, "not a media file"),
    "video is a sound": (lambda at: {"video": str(at / "good.wav")}, "no video stream"),
    "video is subtitles": (lambda at: {"video": written(at / "talk.srt", SUBTITLES)}, "no video stream"),
    "swapped": (lambda at: {"video": str(at / "good.wav"), "audio": str(at / "good.mp4")}, "no video stream"),
    "sound is absent": (lambda at: {"audio": str(at / "absent.wav")}, "no such file"),
    "sound is a pipe": (lambda at: {"audio": pipe(at / "pipe.wav")}, "no such file"),
    "sound is a mute video": (lambda at: {"audio": str(at / "mute.mp4")}, "no sound"),
    "sound is a picture": (lambda at: {"audio": str(at / "good.png")}, "no sound"),
    "sound is subtitles": (lambda at: {"audio": written(at / "talk.srt", SUBTITLES)}, "no sound"),
    "sound is the video": (lambda at: {"audio": str(at / "good.mp4")}, ""),
    "sound is damaged": (lambda at: {"audio": noisy(at, "good.mkv")}, None),
    "sound has no length": (lambda at: riff(at, 44, "", 0), "no sound could be decoded"),
    "sound is part of a head": (lambda at: riff(at, 20, "", 0), "not a media file"),
    "sound ends early": (lambda at: riff(at, 8001, "", 0), ""),
    "sound claims to be endless": (lambda at: riff(at, 40, "<I", 2**32 - 1), ""),
    "sound has rate 0": (lambda at: riff(at, 24, "<I", 0), "not a media file"),
    "sound has a rate of 4 GHz": (lambda at: riff(at, 24, "<I", 2**32 - 1), "not a media file"),
    "sound has no channels": (lambda at: riff(at, 22, "<H", 0), "no sound could be decoded"),
    "sound is not a number": (no_numbers, None),
    "mp4 without its index": (lambda at: reboxed(at, lambda boxes: boxes.pop(b"moov")), "not a media file"),
    "mp4 without its data": (lambda at: reboxed(at, lambda boxes: boxes.pop(b"mdat")), "no frame can be decoded"),
    "mp4 of zeros": (
        lambda at: reboxed(
            at, lambda boxes: boxes.update({b"mdat": boxes[b"mdat"][:8] + bytes(len(boxes[b"mdat"]) - 8)})
        ),
        "no frame can be decoded",
    ),
    "mp4 with half an index": (lambda at: {"video": cut(at, "good.mp4", 400)}, "no frame can be decoded"),
    "mp4 of an unknown codec": (lambda at: {"video": recoded(at, b"avc1", b"avcC")}, "no frame can be decoded"),
    "mp4 of an unknown sound": (lambda at: {"audio": recoded(at, b"mp4a", b"esds")}, "no sound could be"),
    "mp4 named avi": (lambda at: renamed(at / "good.mp4", "talk.avi"), ""),
    "no ending": (lambda at: renamed(at / "good.mkv", "talk"), ""),
    "a name that is no text": (lambda at: renamed(at / "good.mp4", NO_TEXT, f"out {NO_TEXT}"), ""),
    "a name of odd signs": (lambda at: renamed(at / "good.mp4", ODD, f"-out {ODD}"), ""),
    "a picture named like a series": (lambda at: renamed(at / "good.png", "talk%03d.png"), ""),
    "times below zero": (lambda at: {"video": str(film(at / "talk.mp4", first=-7))}, ""),
    "times after a year": (lambda at: {"video": str(film(at / "t.mkv", first=25 * 86400 * 365, sound=False))}, ""),
    "one frame": (lambda at: {"video": str(film(at / "talk.mp4", frames=1))}, ""),
    "a size that changes": (several_sizes, ""),
    "raw frames": (lambda at: y4m(at, "W96 H80 F25:1"), ""),
    "raw frames that end early": (lambda at: y4m(at, "W96 H80 F25:1", lost=5000), ""),
    "no width": (lambda at: y4m(at, "W0 H80 F25:1"), "not a media file"),
    "no rate": (lambda at: y4m(at, "W96 H80 F0:0"), ""),
    "a huge frame is promised": (lambda at: y4m(at, "W90000 H90000 F25:1"), "not a media file"),
    "a picture": (lambda at: {"video": str(at / "good.png"), "length": "hold"}, ""),
    "a picture of no width": (lambda at: png(at, (0, 80)), "no frame can be decoded"),
    "a picture that claims to be huge": (lambda at: png(at, (70_000, 70_000)), "no frame can be decoded"),
    "a picture with a wrong sum": (lambda at: png(at, (97, 80), checked=False), None),
    "half a picture": (lambda at: png(at, kept=8000), None),
    "the head of a picture": (lambda at: png(at, kept=33), "no frame can be decoded"),
    "out is the video": (lambda at: {"out": str(at / "good.mp4")}, "itself"),
    "out is a link to the video": (lambda at: {"out": linked(at, "link.mp4", "good.mp4")}, "itself"),
    "out is the sound": (lambda at: {"audio": str(at / "good.mkv"), "out": str(at / "good.mkv")}, "itself"),
    "out is a folder": (lambda at: {"out": folder(at / "dubbed.mp4")}, "folder"),
    "out is a pipe": (lambda at: {"out": pipe(at / "dubbed.mp4")}, ""),
    "out is nowhere": (lambda at: {"out": str(at / "absent" / "out.mp4")}, "there is no folder"),
    "out is below a file": (lambda at: {"out": str(at / "good.mp4" / "out.mp4")}, "there is no folder"),
    "out has no ending": (lambda at: {"out": str(at / "out")}, "must end in"),
    "out has a long name": (lambda at: {"out": str(at / ("o" * 251 + ".mp4"))}, "cannot be written"),
    "out is where nobody can write": (lambda at: {"out": "/proc/out.mp4"}, "cannot be written"),
    "the disk is full later": (
        lambda at: full_disk(at, 40_000) | {"video": str(at / "noise.mp4")},
        "cannot be written",
    ),
    "the disk is full": (full_disk, "cannot be written"),
    "occlusion is good": (lambda at: {"occlusion": str(at / "good.mkv")}, ""),
    "occlusion is smaller": (
        lambda at: {"occlusion": str(film(at / "mask.mp4", size=(64, 64)))},
        "the mask has 64 x 64 pixels",
    ),
    "occlusion ends early": (lambda at: {"occlusion": str(film(at / "mask.mp4", frames=5))}, "the mask has no frame 5"),
    "occlusion is text": (lambda at: {"occlusion": written(at / "mask.mp4", b"mask")}, "not a media file"),
    "another voice is absent": (lambda at: {"others": {"1": str(at / "absent.wav")}}, "no such file"),
    "another voice is mute": (lambda at: {"others": {"1": str(at / "mute.mp4")}}, "no sound"),
}


def _given(role: str, make: Callable[[Path], object], says: str | None) -> tuple[Make, str | None]:
    return lambda at: {role: make(at)}, says


KINDS |= {
    f"{role} is {what}": _given(role, lambda at, data=data: written(at / "it", data), "not a media file")
    for role in ("video", "audio")
    for what, data in NO_MEDIA.items()
}
KINDS |= {
    f"{name[-3:]} cut at {tenths}0 %": _given(
        "video", lambda at, name=name, tenths=tenths: cut(at, name, Fraction(tenths, 10)), None
    )
    for name in ("good.mp4", "good.mkv", "good.mpg")
    for tenths in range(1, 10)
}
KINDS |= {
    f"{name[-3:]} with noise in it": _given("video", lambda at, name=name: noisy(at, name), None)
    for name in ("good.mp4", "good.mkv", "good.mpg")
}
KINDS |= {
    f"sound of {what}": _given("audio", lambda at, how=how: str(wav(at / "talk.wav", **how)), "")
    for what, how in {
        "8 bits": {"codec": "pcm_u8"},
        "24 bits": {"codec": "pcm_s24le"},
        "floats": {"codec": "pcm_f32le"},
        "doubles": {"codec": "pcm_f64le"},
        "A-law": {"codec": "pcm_alaw", "rate": 8000},
        "192 kHz": {"rate": 192_000, "samples": 192_000},
        "8 channels": {"layout": "7.1"},
        "1 sample": {"samples": 1},
    }.items()
}
KINDS |= {
    f"checkpoint is {what}": _given("checkpoint", make, says)
    for what, make, says in (
        ("absent", lambda at: str(at / "absent.ckpt"), "no such checkpoint"),
        ("a folder", str, "no such checkpoint"),
        ("empty", lambda at: written(at / "model.ckpt", b""), "not a checkpoint"),
        ("text", lambda at: written(at / "model.safetensors", b"weights"), "not a checkpoint"),
        ("half a ckpt", lambda at: cut(at, "good.ckpt", Fraction(1, 2)), "not a checkpoint"),
        ("half a safetensors", lambda at: cut(at, "good.safetensors", Fraction(1, 2)), "not a checkpoint"),
        ("code", lambda at: written(at / "model.pt", pickle.dumps(print)), "not a checkpoint"),
        ("a video", lambda at: str(at / "good.mp4"), "not a checkpoint"),
    )
}
KINDS |= {f"{option} {value}": _given(option, lambda at, value=value: value, says) for option, value, says in OPTIONS}
