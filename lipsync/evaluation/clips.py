"""What was found out about each clip, on disk as soon as it is known: a killed evaluation goes on, many share one."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lipsync.corpora.records import FPS
from lipsync.errors import LipsyncError
from lipsync.files import whole
from lipsync.video import to_bytes, write_clip

CLIPS, FILMS = "clips", "films"  # folders
ABOUT = "evaluation.json"  # by whose rules
RESULTS = "results.json"  # written last


class Clip(NamedTuple):
    """One clip's results.

    Attributes:
        name: Of the clip.
        scores: Row -> metric -> value; empty where it failed.
        features: Row -> (N, F), of the pictures.
        failed: Why, where it did.
        films: Row -> path of the film, relative to the folder.
        notes: What one should know of it though it did not fail.
    """

    name: str
    scores: dict[str, dict[str, float]]
    features: dict[str, Tensor]
    failed: str | None = None
    films: dict[str, str] | None = None
    notes: Sequence[str] = ()


class Folder:
    """Results of an evaluation, a pair of files a clip.

    Args:
        folder: Where; made if there is none.
        about: The rules. A folder that was begun by others is refused.

    Raises:
        LipsyncError: Other rules lie there.
    """

    def __init__(self, folder: Path, about: dict[str, object]) -> None:
        self.folder = folder
        path = folder / ABOUT
        if path.is_file():
            there = json.loads(path.read_text(encoding="utf-8"))
            differing = [f"{key} {there.get(key)} there, {value} asked" for key, value in about.items()
                         if json.loads(json.dumps(value)) != there.get(key)]  # fmt: skip
            if differing:
                state, way = ("an unfinished", "finish") if is_unfinished(folder) else ("a finished", "repeat")
                raise LipsyncError(
                    f"{folder} holds {state} evaluation by other rules ({'; '.join(differing)}): {way} it with them or "
                    "delete it"
                )
        for name in (CLIPS, FILMS):
            (folder / name).mkdir(parents=True, exist_ok=True)
        with whole(path, contested=True) as beside:
            beside.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    def has(self, number: int) -> bool:
        """Whether a clip is done with."""
        return self._path(number).is_file()

    def write(self, number: int, clip: Clip) -> None:
        """Keeps a clip's results; its json comes last and says that it is done with."""
        if clip.features:
            separate = {row: seen.cpu().clone() for row, seen in clip.features.items()}  # some rows share pictures
            with whole(self._path(number, ".safetensors")) as beside:
                save_file(separate, str(beside))
        content = {name: value for name, value in clip._asdict().items() if name != "features"}
        with whole(self._path(number)) as beside:
            beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def film(self, row: str, number: int, truth: Tensor, pictures: Tensor, heard: Tensor | None) -> str:
        """Films a clip as a row has it, the truth on its left; returns the film's path, relative to the folder.

        Args:
            truth, pictures: (N, 3, J, J) in [-1, 1].
            heard: (640 N,) int16.
        """
        path = self.folder / FILMS / row.replace("/", "_") / f"{number:06d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = to_bytes(torch.cat([truth, pictures], dim=3)).permute(0, 2, 3, 1).cpu().numpy()
        write_clip(path, beside, FPS, None if heard is None else heard.cpu().numpy())
        return path.relative_to(self.folder).as_posix()

    def read(self, numbers: Sequence[int]) -> list[Clip]:
        """Reads the results of these clips, all of which must be there."""
        clips = []
        for number in numbers:
            content = json.loads(self._path(number).read_text(encoding="utf-8"))
            features = self._path(number, ".safetensors")
            clips.append(Clip(**content, features=load_file(features) if features.is_file() else {}))
        return clips

    def _path(self, number: int, ending: str = ".json") -> Path:
        return self.folder / CLIPS / f"{number:06d}{ending}"


def is_unfinished(folder: Path) -> bool:
    """Whether an evaluation was begun in a folder and not brought to its table."""
    return (folder / ABOUT).is_file() and not (folder / RESULTS).is_file()


def plain(scores: dict[str, Tensor]) -> dict[str, float]:
    """Scores as numbers that a file can hold; NaN is what a metric calls undefined."""
    return {name: float(value) for name, value in scores.items() if not math.isnan(value)}
