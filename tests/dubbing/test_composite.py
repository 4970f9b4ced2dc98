"""Squares back in the planes: resampling, mask, colour, and bytes that must not change."""

from collections.abc import Callable
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from lipsync.corpora.crop import square_boxes
from lipsync.corpora.landmarks import BRIDGE, CHIN, JAW, NOSE_BASE
from lipsync.dubbing.colour import Colour, plane_boxes
from lipsync.dubbing.composite import colour_shift, composite, resampling
from lipsync.dubbing.generate import Chunk, face_squares
from lipsync.dubbing.matte import edge_distances, matte
from lipsync.dubbing.read import Format, PlaneFrame, read_format, read_planes, to_image
from lipsync.errors import LipsyncError
from lipsync.preparation.faces import FaceFinder

LAYOUTS = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p10le"]


def scene(count: int, width: int = 160, height: int = 120, planes: str = "yuv420p") -> tuple[list[PlaneFrame], Format]:
    """Smooth moving planes in the limited range of BT.601."""
    depth = 10 if planes.endswith("10le") else 8
    colour = Colour(5, False, depth)
    source = Format(width, height, planes, colour, {}, Fraction(1, 25), Fraction(25), Fraction(1), count)

    def plane(number: int, level: float, amplitude: float, across: int, down: int) -> np.ndarray:
        y, x = np.mgrid[:height:down, :width:across]
        levels = (level + amplitude * np.sin(x / 9 + number / 3) * np.cos(y / 8)) * 2 ** (depth - 8)
        return levels.round().astype(np.uint16 if depth == 10 else np.uint8)

    frames = [
        PlaneFrame(
            k,
            Fraction(k, 25),
            k,
            1,
            (plane(k, 120, 60, 1, 1), *(plane(n, 128, 20, *source.subsampling) for n in (k, k + 2))),
        )
        for k in range(count)
    ]
    return frames, source


def copies(frames: list[PlaneFrame]) -> list[PlaneFrame]:
    return [frame._replace(planes=tuple(plane.copy() for plane in frame.planes)) for frame in frames]


def equal(frames: list[PlaneFrame], others: list[PlaneFrame]) -> bool:
    return all(
        np.array_equal(a, b)
        for one, other in zip(frames, others, strict=True)
        for a, b in zip(one.planes, other.planes, strict=True)
    )


def drifting_boxes(count: int, side: float, y: float = 60.3, x: float = 80.7) -> torch.Tensor:
    shift = 0.37 * torch.arange(count)
    return torch.stack([y - side / 2 - shift, y + side / 2 - shift, x - side / 2 + shift, x + side / 2 + shift], dim=1)


def jaws(boxes: torch.Tensor) -> torch.Tensor:
    """Half circles around the boxes' centres, three quarters as wide as they."""
    y, x = boxes[:, :2].mean(1, keepdim=True), boxes[:, 2:].mean(1, keepdim=True)
    radius = 0.375 * (boxes[:, 3:] - boxes[:, 2:3])
    angles = torch.linspace(torch.pi, 0, len(JAW))
    return torch.stack([x + radius * angles.cos(), y + radius * angles.sin()], dim=2)


def chunk(
    frames: list[PlaneFrame], boxes: torch.Tensor, squares: torch.Tensor, owners: list[int] | None = None
) -> Chunk:
    owners = torch.tensor(range(len(frames)) if owners is None else owners, dtype=torch.int64)
    return Chunk(frames, owners, boxes, jaws(boxes), squares, torch.ones(len(boxes)))


def painted_places(shape: tuple[int, int], box: torch.Tensor, outline: torch.Tensor) -> np.ndarray:
    """The mask of one face at every sample (H, W) of a plane."""
    y0, y1, x0, x1 = box.tolist()
    sides = zip(shape, (y0, x0), (y1, x1), strict=True)
    y, x = (((np.arange(count) + 0.5 - low) / (high - low)).astype(np.float32) for count, low, high in sides)
    return matte(edge_distances(outline[None], box[None])[0].numpy(), y, x)


@pytest.mark.parametrize("planes", LAYOUTS)
@pytest.mark.parametrize(("side", "size"), [(64.0, 64), (88.5, 64), (50.0, 96)])
def test_own_squares_leave_the_picture(planes: str, side: float, size: int) -> None:
    frames, source = scene(4, planes=planes)
    before, boxes = copies(frames), drifting_boxes(4, side)
    squares = face_squares(frames, boxes, source, size, "cpu")
    assert list(composite([chunk(frames, boxes, squares)], source)) == frames
    unit = 2 ** (source.depth - 8)
    for frame, old in zip(frames, before, strict=True):
        for plane, levels, allowed in zip(frame.planes, old.planes, (3, 2, 2), strict=True):
            change = np.abs(plane.astype(int) - levels) / unit
            assert change.max() <= allowed
            assert change.mean() < 0.25


@pytest.mark.parametrize("planes", LAYOUTS)
def test_only_what_the_mask_shows_is_touched(planes: str) -> None:
    frames, source = scene(3, planes=planes)
    before, boxes = copies(frames), drifting_boxes(3, 70.0)
    noise = torch.rand(3, 3, 64, 64) * 2 - 1
    list(composite([chunk(frames, boxes, noise)], source))
    for number, (frame, old) in enumerate(zip(frames, before, strict=True)):
        for plane, levels, plane_box in zip(frame.planes, old.planes, plane_boxes(boxes, source), strict=True):
            # The jaw keeps its place in the box.
            low, side = boxes[number, [2, 0]], boxes[number, 1] - boxes[number, 0]
            y0, y1, x0, x1 = plane_box[number]
            outline = (jaws(boxes[[number]])[0] - low) / side * torch.stack([x1 - x0, y1 - y0]) + torch.stack([x0, y0])
            mask = painted_places(plane.shape, plane_box[number], outline)
            assert np.array_equal(plane[mask == 0], levels[mask == 0])
            assert (plane != levels)[mask == 1].mean() > 0.9
            assert (mask == 1).sum() > 50


@pytest.mark.parametrize("planes", LAYOUTS)
def test_a_cast_is_taken_off(planes: str) -> None:
    """A square that is brighter, redder and lit from one side comes out in the picture's own colours."""
    frames, source = scene(2, planes=planes)
    before, boxes = copies(frames), drifting_boxes(2, 70.0)
    squares = face_squares(frames, boxes, source, 64, "cpu") * 0.5  # no level is clipped
    frames = [frame._replace(planes=tuple(map(np.copy, frame.planes))) for frame in before]
    plain, cast = copies(frames), copies(frames)
    list(composite([chunk(plain, boxes, squares)], source))
    tint = torch.tensor([0.2, 0.0, -0.1]).view(3, 1, 1) + 0.15 * torch.linspace(-1, 1, 64)
    list(composite([chunk(cast, boxes, squares + tint)], source))
    unit = 2 ** (source.depth - 8)
    for one, other in zip(plain, cast, strict=True):
        for a, b in zip(one.planes, other.planes, strict=True):
            assert np.abs(a.astype(int) - b).max() <= 4 * unit
    assert not equal(plain, before)


def test_a_moved_jaw_does_not_tint_the_rest() -> None:
    """A sixth of the ring is off by 90 levels, all is off by 20 and a slope: the 20 and the slope are found."""
    y, x = np.linspace(0.5, 1, 40, dtype=np.float32), np.linspace(0, 1, 80, dtype=np.float32)
    ring = ((y[:, None] < 0.6) | (abs(x - 0.5) > 0.4) | (y[:, None] > 0.9)).astype(np.float32)
    cast = 20 + 8 * (2 * x - 1) + 0 * y[:, None]
    change = np.stack([cast, -cast]) + np.random.default_rng(0).normal(size=(2, 40, 80)).astype(np.float32)
    change[:, 36:, 28:52] += 90
    assert 0.05 < ring[36:, 28:52].sum() / ring.sum() < 0.2
    np.testing.assert_allclose(colour_shift(change, ring, y, x), np.stack([cast, -cast]), atol=1.5)


def test_no_ring_no_shift() -> None:
    change, ring = np.full((1, 4, 6), 50, np.float32), np.zeros((4, 6), np.float32)
    y, x = np.linspace(0.5, 1, 4, dtype=np.float32), np.linspace(0, 1, 6, dtype=np.float32)
    assert np.abs(colour_shift(change, ring, y, x)).max() == 0


def test_weights_show_a_part_of_the_change() -> None:
    frames, source = scene(1)
    boxes, noise = drifting_boxes(1, 70.0), torch.rand(1, 3, 64, 64) * 2 - 1
    whole, half, none = copies(frames), copies(frames), copies(frames)
    for shown, weight in ((whole, 1.0), (half, 0.5), (none, 0.0)):
        list(composite([chunk(shown, boxes, noise)._replace(weights=torch.tensor([weight]))], source))
    assert equal(none, frames)
    old, changed = frames[0].planes[0].astype(float), whole[0].planes[0].astype(float)
    unclipped = (changed > 0) & (changed < 255)
    assert np.abs(half[0].planes[0] - (old + changed) / 2)[unclipped].max() <= 1
    assert np.abs(changed - old).max() > 20


def test_a_model_that_gives_no_numbers_paints_nothing() -> None:
    frames, source = scene(1)
    before, squares = copies(frames), torch.zeros(1, 3, 64, 64)
    squares[0, 1, 40, 40] = torch.nan
    with pytest.raises(LipsyncError, match="from frame 0 on the model gives no numbers"):
        list(composite([chunk(frames, drifting_boxes(1, 70.0), squares)], source))
    assert equal(frames, before)


def test_box_beyond_the_picture() -> None:
    frames, source = scene(1)
    before, boxes = copies(frames), torch.tensor([[70.0, 150.0, -30.0, 50.0]])
    list(composite([chunk(frames, boxes, torch.rand(1, 3, 64, 64))], source))
    changed = frames[0].planes[0] != before[0].planes[0]
    assert changed[119, :30].mean() > 0.8  # down to the picture's corner: no feather at its edge
    assert not changed[:110].any()
    assert not changed[:, 41:].any()
    far = torch.tensor([[300.0, 380.0, 0.0, 80.0]])
    frames = copies(before)
    list(composite([chunk(frames, far, torch.rand(1, 3, 64, 64))], source))
    assert equal(frames, before)


def test_several_faces_in_a_frame_and_frames_without() -> None:
    frames, source = scene(3)
    before = copies(frames)
    boxes = torch.tensor([[20.0, 80.0, 10.0, 70.0], [30.0, 90.0, 80.0, 140.0], [25.0, 85.0, 40.0, 100.0]])
    noise = torch.rand(3, 3, 64, 64)
    assert list(composite([chunk(frames, boxes, noise, [0, 0, 2])], source)) == frames
    assert equal(frames[1:2], before[1:2])
    # One after the other, and each chunk by itself, gives the same bytes.
    apart = copies(before)
    for face, owner in enumerate([0, 0, 2]):
        list(composite([chunk(apart[owner : owner + 1], boxes[face][None], noise[face][None], [0])], source))
    assert equal(frames, apart)
    nothing = Chunk(frames, torch.empty(0, dtype=torch.int64), boxes[:0], jaws(boxes[:0]), noise[:0], torch.empty(0))
    assert list(composite([nothing], source)) == frames


@pytest.mark.parametrize("planes", LAYOUTS)
def test_what_hides_the_face_stays(planes: str) -> None:
    frames, source = scene(2, planes=planes)
    before, boxes, noise = copies(frames), drifting_boxes(2, 70.0), torch.rand(2, 3, 64, 64)
    left = np.zeros((120, 160))
    left[:, :80] = 1
    asked = []

    def hand(frame: PlaneFrame, given: Format) -> np.ndarray | None:
        asked.append((frame.number, given))
        return left if frame.number else None

    list(composite([chunk(frames, boxes, noise)], source, hand))
    assert asked == [(0, source), (1, source)]
    free = copies(before)
    list(composite([chunk(free, boxes, noise)], source))
    assert equal(frames[:1], free[:1])
    for plane, old in zip(frames[1].planes, before[1].planes, strict=True):
        middle = plane.shape[1] // 2
        assert np.array_equal(plane[:, :middle], old[:, :middle])
        assert (plane[:, middle:] != old[:, middle:]).sum() > 50


def test_an_occlusion_of_another_shape() -> None:
    def wrong(frame: PlaneFrame, source: Format) -> np.ndarray:
        return np.zeros((3, 4))

    frames, source = scene(1)
    boxes = drifting_boxes(1, 70.0)
    with pytest.raises(LipsyncError, match=r"shape \(3, 4\) for frame 0, not \(120, 160\)"):
        list(composite([chunk(frames, boxes, torch.zeros(1, 3, 64, 64))], source, wrong))


def across_the_border(luma: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute gradient along the mask's own, where the mask is neither 0 nor 1, in levels a pixel."""
    normal, gradient = np.stack(np.gradient(mask)), np.stack(np.gradient(luma.astype(float)))
    length = np.sqrt((normal**2).sum(0))
    border = (mask > 0) & (mask < 1) & (length > 1e-6)
    return float(np.abs((normal * gradient).sum(0)[border] / length[border]).mean())


def tinted(squares: torch.Tensor) -> torch.Tensor:
    return squares + torch.tensor([0.3, 0.1, -0.1]).view(3, 1, 1) + 0.1 * torch.linspace(-1, 1, squares.shape[-1])


def blurred(squares: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(squares, 7, 1, 3, count_include_pad=False)


@pytest.mark.parametrize("name", ["grid_bbaf2n.mpg", "vr_3.mp4"])
@pytest.mark.parametrize("model", [tinted, blurred])
def test_no_seam_on_real_faces(shared: Path, name: str, model: Callable) -> None:
    """Across the border the picture is as smooth as before, and no less steady in time."""
    path = shared / "clips" / name
    source = read_format(path)
    frames = list(islice(read_planes(path, source), 6))
    images = torch.from_numpy(np.stack([to_image(frame, source) for frame in frames]))
    meshes = torch.stack([faces.landmarks[0, :, :2] for faces in FaceFinder().detect(images)])
    boxes = square_boxes(meshes[:, NOSE_BASE], meshes[:, CHIN], meshes[:, BRIDGE])
    outlines, before = meshes[:, JAW], copies(frames)
    squares = face_squares(frames, boxes, source, 128, "cpu")
    squares[:, :, 64:] = model(squares)[:, :, 64:]
    list(composite([Chunk(frames, torch.arange(6), boxes, outlines, squares, torch.ones(6))], source))
    old, new = (np.stack([frame.planes[0] for frame in some]).astype(float) for some in (before, frames))
    masks = [painted_places(old[0].shape, *face) for face in zip(boxes, outlines, strict=True)]
    for was, now, mask in zip(old, new, masks, strict=True):
        assert np.abs(now - was)[mask == 1].mean() > 0.5
        assert across_the_border(now, mask) <= 1.05 * across_the_border(was, mask)
    ring = (masks[0] > 0) & (masks[0] < 1)
    flicker = [np.abs(np.diff(levels, axis=0))[:, ring].mean() for levels in (old, new)]
    assert flicker[1] <= 1.05 * flicker[0] + 0.1


def unit(pixels: int) -> np.ndarray:
    return (np.arange(pixels) + 0.5) / pixels


def test_resampling_at_scale_one_is_the_identity() -> None:
    np.testing.assert_allclose(resampling(unit(16), 16, 16), np.eye(16), atol=1e-6)


@pytest.mark.parametrize("pixels", [7, 16, 40])
def test_resampling_keeps_constants_and_lines(pixels: int) -> None:
    weights = resampling(unit(pixels), 16, pixels)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    ends = max(1, pixels // 4)  # there the edge repeats
    line = weights @ (np.arange(16) + 0.5)
    np.testing.assert_allclose(line[ends:-ends], 16 * unit(pixels)[ends:-ends], atol=0.06)


def test_shrinking_does_not_alias() -> None:
    """The finest stripes, four to a pixel, come out grey."""
    shrunk = resampling(unit(16), 64, 16) @ np.tile([0.0, 1.0], 32)
    np.testing.assert_allclose(shrunk[2:-2], 0.5, atol=0.01)
