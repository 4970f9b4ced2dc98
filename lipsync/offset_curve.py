"""The expert's mean score against the shift of the sound, as a picture: a peak at 0 is what one wants to see."""

from collections.abc import Sequence
from pathlib import Path

from lightning import Callback, LightningModule, Trainer

from lipsync.files import whole
from lipsync.tracking import SafeWandbLogger

WIDTH, HEIGHT, MARGIN = 640, 320, 48
CURVE = "offset_curve.csv"


def curve_svg(values: Sequence[float], first: int, title: str) -> str:
    """Draws values at first, first + 1, ... as a line with axes, in SVG."""
    low, high = min(values), max(values)
    span = max(high - low, 1e-6)
    right, bottom = WIDTH - MARGIN, HEIGHT - MARGIN

    def x(place: float) -> float:
        return MARGIN + (right - MARGIN) * place / max(len(values) - 1, 1)

    def y(value: float) -> float:
        return bottom - (bottom - MARGIN) * (value - low) / span

    points = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in enumerate(values))
    ticks = "".join(
        f'<text x="{x(i):.1f}" y="{bottom + 18}" text-anchor="middle">{first + i}</text>'
        for i in range(len(values))
        if (first + i) % 5 == 0
    )
    zero = f'<line x1="{x(-first):.1f}" x2="{x(-first):.1f}" y1="{MARGIN}" y2="{bottom}" stroke="#bbb"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>{zero}'
        f'<text x="{WIDTH / 2}" y="24" text-anchor="middle" font-size="15">{title}</text>'
        f'<text x="{MARGIN - 6}" y="{MARGIN + 4}" text-anchor="end">{high:.2f}</text>'
        f'<text x="{MARGIN - 6}" y="{bottom + 4}" text-anchor="end">{low:.2f}</text>{ticks}'
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">frames by which the sound is shifted</text>'
        f'<polyline points="{points}" fill="none" stroke="#c33" stroke-width="2"/></svg>\n'
    )


class OffsetCurve(Callback):
    """Writes `offset_curve.svg` and its numbers into the run folder when an expert has been tested."""

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        values = pl_module.quality.curve
        if trainer.is_global_zero:
            folder, first = Path(trainer.default_root_dir), -(len(values) // 2)
            folder.mkdir(parents=True, exist_ok=True)
            numbers = "".join(f"{first + place},{value:.6f}\n" for place, value in enumerate(values))
            drawn = curve_svg(values, first, "mean score of held-out clips")
            for name, content in (("offset_curve.svg", drawn), (CURVE, f"offset,score\n{numbers}")):
                with whole(folder / name) as beside:
                    beside.write_text(content)
            for logger in trainer.loggers:
                if isinstance(logger, SafeWandbLogger):
                    logger.log_page("offset_curve", folder / "offset_curve.svg")
