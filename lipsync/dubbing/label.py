"""What the output says of itself: that it is synthetic and how it was made, in its metadata and, if asked, in view."""

import json
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from lipsync.container import open_media
from lipsync.dubbing.read import Format, PlaneFrame

# IPTC's term for captured media with parts that a trained model made.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
OPENING = "Synthetic media: "  # of the label within a comment
WORDS = ("SYNTHETIC", "AI")  # the second where the first is too wide
LETTERS = {  # 5 x 7, a row a number, the highest bit left
    "A": (14, 17, 17, 31, 17, 17, 17),
    "C": (14, 17, 16, 16, 16, 17, 14),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "H": (17, 17, 17, 31, 17, 17, 17),
    "I": (14, 4, 4, 4, 4, 4, 14),
    "N": (17, 25, 21, 19, 17, 17, 17),
    "S": (15, 16, 16, 14, 1, 1, 30),
    "T": (31, 4, 4, 4, 4, 4, 4),
    "Y": (17, 17, 10, 4, 4, 4, 4),
}


def describe(checkpoint: str, fingerprint: str, video: str, sounds: list[str], **how: object) -> dict[str, str]:
    """Says how a video was made: `how` by name; of files their names only, for folders are nobody's business."""
    return {
        "digital_source_type": SOURCE_TYPE,
        "program": f"lipsync {version('lipsync')}",
        "checkpoint": Path(checkpoint).name,
        "fingerprint": fingerprint,
        "video": Path(video).name,
        "sound": ", ".join(Path(sound).name for sound in sounds),
        **{name: str(value) for name, value in how.items()},
    }


def to_comment(label: dict[str, str], own: str = "") -> str:
    """Writes a label as a comment, after the source's own."""
    return f"{own}\n{OPENING}{json.dumps(label)}".lstrip("\n")


def read_label(path: str | Path) -> dict[str, str]:
    """Reads back the label of a dubbed video, the last of several; empty where there is none.

    Raises:
        LipsyncError: No such file, or not media.
    """
    with open_media(path) as container:
        comment = next((text for key, text in container.metadata.items() if key.lower() == "comment"), "")
    _, opening, text = comment.rpartition(OPENING)
    try:
        return dict(json.loads(text)) if opening else {}
    except ValueError:  # somebody's prose
        return {}


def mark(frame: PlaneFrame, source: Format) -> PlaneFrame:
    """Writes SYNTHETIC into the upper left corner, AI where that is too wide: white on black, legible at every size."""
    box = _box(source.width, source.height)
    low, high = (0, 255) if source.colour.full else (16, 235)
    unit = 1 << (source.depth - 8)
    planes = [plane.copy() for plane in frame.planes]
    planes[0][: box.shape[0], : box.shape[1]] = np.where(box, high, low) * unit
    across, down = source.subsampling
    for plane in planes[1:]:
        plane[: -(-box.shape[0] // down), : -(-box.shape[1] // across)] = 128 * unit
    return frame._replace(planes=tuple(planes))


@lru_cache(maxsize=4)
def _box(width: int, height: int) -> np.ndarray:
    """(h, w) bool: a word with a margin around it, to lie in the corner of a picture."""
    scale = max(1, round(min(width, height) / 180))
    for word in WORDS:
        rows = np.array([LETTERS[letter] for letter in word])
        bits = np.pad(rows[:, :, None] >> np.arange(4, -1, -1) & 1, ((0, 0), (0, 0), (0, 1)))
        text = bits.transpose(1, 0, 2).reshape(7, -1).astype(bool)
        box = np.pad(text, ((2, 2), (2, 1))).repeat(scale, 0).repeat(scale, 1)
        if box.shape[1] <= width // 2:
            break
    return box[:height, :width]
