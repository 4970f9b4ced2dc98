"""How samples came to be: the same moments at one validation after another, beside the truth."""

import re
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lipsync.errors import LipsyncError
from lipsync.files import whole

ROWS = 4  # of a clip on a sheet: reference, masked input, generated, truth
GENERATED, TRUTH = 2, 3
SHOWN = 9  # validations at most
CAPTION = 16  # height of the steps' numbers


def sheets(run: Path) -> dict[int, Path]:
    """Finds a run's sample sheets by their steps."""
    found = {path: re.fullmatch(r"step_(\d+)", path.stem) for path in run.glob("samples/step_*.png")}
    return dict(sorted((int(match[1]), path) for path, match in found.items() if match))


def write_strip(run: Path, size: int, path: Path) -> None:
    """Writes a strip: a row a clip, a column a validation, the truth on the right.

    Args:
        run: Folder of the run, which has sheets.
        size: Side of a picture on them.
        path: The PNG.

    Raises:
        LipsyncError: A sheet that is no picture, or whose pictures are of another size.
    """
    found = list(sheets(run).items())
    chosen = [found[k * (len(found) - 1) // max(SHOWN - 1, 1)] for k in range(SHOWN)] if len(found) > SHOWN else found
    columns = []
    for step, file in chosen:
        try:
            with Image.open(file) as picture:
                columns.append((str(step), picture.convert("RGB"), GENERATED))
        except OSError as error:
            raise LipsyncError(f"{file}: not a picture ({error}): delete it") from error
    sides = {picture.size for _, picture, _ in columns}
    width, height = columns[0][1].size
    if len(sides) > 1 or width % size or height % (ROWS * size):
        raise LipsyncError(f"{run}/samples: the sheets are not of pictures of {size} pixels, as the run's config says")
    columns.append(("truth", columns[-1][1], TRUTH))
    clips, middle = height // (ROWS * size), width // size // 2 * size
    scale = max(1, 96 // size)  # small pictures are hard to judge at their own size
    side = size * scale
    drawn = Image.new("RGB", (side * len(columns), CAPTION + side * clips), "white")
    pen = ImageDraw.Draw(drawn)
    for place, (caption, picture, row) in enumerate(columns):
        pen.text((side * (place + 0.5), CAPTION - 4), caption, "#1d2129", ImageFont.load_default(11), "ms")
        for clip in range(clips):
            top = (ROWS * clip + row) * size
            face = picture.crop((middle, top, middle + size, top + size)).resize((side, side), Image.Resampling.BICUBIC)
            drawn.paste(face, (side * place, CAPTION + side * clip))
    with whole(path) as beside:
        drawn.save(beside, "png")
