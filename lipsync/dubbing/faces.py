"""`lipsync faces`: which faces a video has, so that one can be chosen by its number."""

from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, make_grid, save_image

from lipsync.corpora.crop import crop, track_boxes
from lipsync.device import choose_device
from lipsync.dubbing.choose import place, side
from lipsync.dubbing.progress import frame_progress
from lipsync.dubbing.read import Format, read_format, read_frame, to_image
from lipsync.dubbing.reference import reference_frame
from lipsync.dubbing.remark import seconds, time_code
from lipsync.dubbing.speaker import follow, listen
from lipsync.dubbing.track import Survey, survey
from lipsync.errors import LipsyncError
from lipsync.files import whole
from lipsync.preparation.faces import FaceFinder

TILE = 160  # pixels of the sheet's pictures
ROW = 6  # pictures beside each other


class Face(NamedTuple):
    """One face of a video.

    Attributes:
        number: By which `lipsync dub --face` knows it.
        start, end: Seconds since the first frame.
        place: y, x of the nose base in pixels, the median.
        side: Of its box, in pixels.
        yaw: Median in degrees; positive to the right of the picture.
        sync: Correlation of the mouth's opening with the video's own sound; NaN without sound.
        speaks: Whether that is no chance.
    """

    number: int
    start: float
    end: float
    place: tuple[float, float]
    side: float
    yaw: float
    sync: float
    speaks: bool


def faces(video: str, sheet: str | None = None, device: str = "auto") -> list[Face]:
    """Lists the faces of a video by their numbers: when, where, how large, and whether they speak.

    Args:
        video: Any video.
        sheet: A .png to write, with a picture of every face.
        device: Where to compute: cpu, cuda, ... or auto.

    Raises:
        LipsyncError: Not a video, or no face in it.
    """
    if sheet is not None and Path(sheet).suffix.lower() != ".png":
        raise LipsyncError(f"{sheet}: the sheet's name must end in .png")
    source = read_format(video)
    with frame_progress() as progress:
        watch = partial(progress.track, total=source.frames, description="Finding faces")
        found = survey(video, source, FaceFinder(choose_device(device)), watch)
    if not found.tracks:
        raise LipsyncError(f"{video}: no face in any of its {len(found.pts)} frames")
    known = describe(video, source, found)
    table = Table("face", "from", "to", "y, x", "side", "yaw", "sync", box=None, pad_edge=False)
    for face in known:
        sync = "-" if np.isnan(face.sync) else f"{face.sync:.2f}" + " speaks" * face.speaks
        times = (time_code(Fraction(moment)) for moment in (face.start, face.end))
        y, x = face.place
        table.add_row(str(face.number), *times, f"{y:.0f}, {x:.0f}", f"{face.side:.0f}", f"{face.yaw:+.0f}", sync)
    Console().print(table)
    if sheet is not None:
        with whole(sheet) as beside:
            save_image(contact_sheet(video, source, found) / 255, beside, format="png")
        print(f"{sheet}: a picture of each, row by row")
    return known


def describe(video: str, source: Format, found: Survey) -> list[Face]:
    """Describes every track of a survey."""
    heard, fps = listen(video), float(source.rate)
    following = None if heard is None else follow(found, source, heard)
    known = []
    for number, track in enumerate(found.tracks):
        start, end = (float(seconds(found, source, track.first + count)) for count in (0, len(track)))
        x, y = place(track).tolist()
        yaw = float(np.nanmedian(track.pose[:, 0]))
        sync, speaks = (float(following.r[number]), bool(following.sure[number])) if following else (np.nan, False)
        known.append(Face(number, start, end, (y, x), side(track, fps), yaw, sync, speaks))
    return known


def contact_sheet(video: str, source: Format, found: Survey) -> Tensor:
    """Draws (3, H, W) uint8: each face at a quiet moment, with its number, row by row."""
    tiles = []
    for number, track in enumerate(found.tracks):
        frame = reference_frame(track, np.ones(len(track), bool), "closed")
        moment = read_frame(video, source, frame, int(found.pts[frame]))
        image = torch.from_numpy(to_image(moment, source)).permute(2, 0, 1)[None]
        box = track_boxes(track.boxes(float(source.rate))[[frame - track.first]])
        tile = crop(image, box, TILE, oversample=4)[0].round().to(torch.uint8)
        corner = torch.tensor([[0, 0, TILE - 1, TILE - 1]])
        tiles.append(draw_bounding_boxes(tile, corner, [str(number)], colors="yellow"))
    return make_grid(torch.stack(tiles), nrow=ROW, padding=2)
