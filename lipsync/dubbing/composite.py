"""The generated squares back into the planes: resampled, colour matched, feathered; nothing outside is touched."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from lipsync.dubbing.colour import plane_boxes, to_yuv
from lipsync.dubbing.generate import Chunk
from lipsync.dubbing.matte import edge_distances, jaw_spans, matte, product
from lipsync.dubbing.occlusion import Occlusion, open_occlusion
from lipsync.dubbing.read import Format, PlaneFrame
from lipsync.errors import LipsyncError
from lipsync.side_by_side import on_one_core

SAMPLES = 64  # rows of a box's lower half from which the colour is measured, at the least half of them
ROUNDS = 3  # of the fit of the colour, each with less weight where the last one was wrong
SLOPE = 0.01  # how much a slope of the colour is held back, so that a ring of a few pixels does not tilt it


def composite(
    chunks: Iterable[Chunk], source: Format, occlusion: str | Path | Occlusion | None = None
) -> Iterator[PlaneFrame]:
    """Paints each chunk's squares into its frames' planes, in place, and passes the frames on.

    Samples where the mask (`matte`) is 0 keep their bytes. Each face is painted by itself, so that a frame comes out
    the same whatever is in its chunk.

    Args:
        chunks: What was generated.
        source: Of the frames.
        occlusion: What hides the face and stays: a video of the source's size and frames, white where it does, or a
            function of frame and format that gives (H, W) in [0, 1], 1 where it does, or None.

    Raises:
        LipsyncError: An occlusion of another size, or a video of one that is shorter.
    """
    hidden = None if occlusion is None else open_occlusion(occlusion, source)
    for chunk in chunks:
        # Whoever tells what hides a face may want all cores.
        places = dict.fromkeys(chunk.owners.tolist()) if hidden is not None else ()
        occluded = {place: hidden(chunk.frames[place], source) for place in places}
        if len(chunk.owners):
            with on_one_core():
                _paint(chunk, source, occluded)
        yield from chunk.frames


def _paint(chunk: Chunk, source: Format, occluded: dict[int, np.ndarray | None]) -> None:
    """Paints the faces of a chunk one after the other; `occluded` has the masks of its frames, if any."""
    if not chunk.squares.isfinite().all():
        raise LipsyncError(
            f"from frame {chunk.frames[0].number} on the model gives no numbers: its weights are damaged"
        )
    yuv, weights = to_yuv(chunk.squares, source.colour).cpu().numpy(), chunk.weights.tolist()
    distances = edge_distances(chunk.outlines, chunk.boxes).numpy()
    spans = jaw_spans(chunk.outlines, chunk.boxes).tolist()
    luma, chroma, _ = (boxes.tolist() for boxes in plane_boxes(chunk.boxes, source))
    for face, owner in enumerate(chunk.owners.tolist()):
        frame = chunk.frames[owner]
        for numbers, boxes, cells in ((slice(0, 1), luma, (1, 1)), (slice(1, 3), chroma, source.subsampling)):
            planes, (y0, y1, x0, x1) = frame.planes[numbers], boxes[face]
            rows, y = _pixels(y0, y1, 0.5, 1, planes[0].shape[0])
            columns, x = _pixels(x0, x1, *spans[face], planes[0].shape[1])
            mask = matte(distances[face], y, x)
            if not mask.any():  # outside the picture
                continue
            ring = 4 * mask * (1 - mask)
            if occluded.get(owner) is not None:
                seen = 1 - _averaged(occluded[owner], rows, columns, cells)
                mask, ring = mask * seen, ring * seen
            parts = [plane[rows, columns] for plane in planes]
            old = np.stack(parts).astype(np.float32)
            down, across = resampling(y, yuv.shape[-1], y1 - y0), resampling(x, yuv.shape[-1], x1 - x0)
            change = product(down, yuv[face, numbers], across.T) - old
            change -= colour_shift(change, ring, y, x)
            # Where the mask is 0 the old level plus nothing is rounded to itself.
            old += change * (mask * np.float32(weights[face]))
            for part, levels in zip(parts, np.rint(old).clip(0, 2**source.depth - 1), strict=True):
                part[:] = levels


def colour_shift(change: np.ndarray, ring: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Finds how far a square's colour is from that of the picture around it: the plane through the change in the ring.

    What no plane explains, such as a jaw that has moved, counts little.

    Args:
        change: (P, L, W) float32, square minus picture, in levels.
        ring: (L, W), weights.
        y, x: (L,) and (W,), places in the box's units.

    Returns:
        (P, L, W) to be subtracted.
    """
    v, u = 4 * y - 3, 2 * x - 1
    row, column = -(-len(y) // SAMPLES), -(-len(x) // (2 * SAMPLES))
    at = tuple(places * step for places, step in zip(ring[::row, ::column].nonzero(), (row, column), strict=True))
    some, ring = change[:, at[0], at[1]], ring[at]
    basis, total = np.stack([np.ones_like(ring), v[at[0]], u[at[1]]]), ring.sum() + 1e-6
    weights, held = np.broadcast_to(ring, some.shape), np.diag([1e-6, SLOPE * total, SLOPE * total])
    for _ in range(ROUNDS):
        weighted = weights[:, None] * basis
        fit = np.linalg.solve(weighted @ basis.T + held, weighted @ some[:, :, None]).astype(np.float32)
        error = np.abs(some - (basis.T @ fit)[..., 0])
        usual = (error @ ring)[:, None] / total + 1e-6
        weights = ring / (1 + (error / usual) ** 2)
    level, below, right = fit.swapaxes(0, 1)
    return (level + below * v)[:, :, None] + (right * u)[:, None]


def resampling(unit: np.ndarray, size: int, pixels: float) -> np.ndarray:
    """Weights (L, S) float32 of a square's rows at pixels of the picture.

    Keys' cubic (a = -1/2), widened where pixels are larger than the square's own: antialiased.

    Args:
        unit: (L,) centres of the pixels, 0 and 1 being the square's edges.
        size: S.
        pixels: Of the picture, along the square's side.
    """
    centres, width = size * unit.clip(0, 1)[:, None] - 0.5, max(size / pixels, 1)
    reach = math.ceil(2 * width)
    taps = np.floor(centres).astype(np.int64) + np.arange(1 - reach, reach + 1)
    distance = np.abs(taps - centres) / width
    near = 1 + distance**2 * (1.5 * distance - 2.5)
    far = 2 + distance * (distance * (2.5 - 0.5 * distance) - 4)
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0)) * ((taps >= 0) & (taps < size))
    result = np.zeros((len(unit), size + 2 * reach), np.float32)
    np.put_along_axis(result, taps + reach, weights / weights.sum(1, keepdims=True), axis=1)
    return result[:, reach : reach + size]


def _pixels(low: float, high: float, begin: float, end: float, limit: int) -> tuple[slice, np.ndarray]:
    """Pixels of a picture's side from `begin` to `end`, and their centres; 0 is at `low` and 1 at `high`."""
    first = max(math.floor(low + begin * (high - low)), 0)
    last = max(min(math.ceil(low + end * (high - low)), limit), first)
    return slice(first, last), ((np.arange(first, last) + 0.5 - low) / (high - low)).astype(np.float32)


def _averaged(mask: np.ndarray, rows: slice, columns: slice, cells: tuple[int, int]) -> np.ndarray:
    """A mask of the picture (H, W) at samples of a plane, each of which has `cells` pixels across and down."""
    across, down = cells
    part = mask[rows.start * down : rows.stop * down, columns.start * across : columns.stop * across]
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return part.astype(np.float32).reshape(height, down, width, across).mean((1, 3))
