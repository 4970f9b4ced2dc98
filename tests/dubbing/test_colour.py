"""Colour conversion against the closed forms of BT.601 and BT.709."""

from types import SimpleNamespace

import av
import pytest
import torch

from lipsync.dubbing.colour import Colour, plane_boxes, to_rgb, to_yuv

RED = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        (Colour(5, False), (16 + 219 * 0.299, 128 - 224 * 0.299 / 1.772, 240)),
        (Colour(1, False), (16 + 219 * 0.2126, 128 - 224 * 0.2126 / 1.8556, 240)),
        (Colour(5, True), (255 * 0.299, 128 - 255 * 0.299 / 1.772, 255.5)),
        (Colour(1, True), (255 * 0.2126, 128 - 255 * 0.2126 / 1.8556, 255.5)),
        (Colour(1, False, 10), (64 + 876 * 0.2126, 512 - 896 * 0.2126 / 1.8556, 960)),
        (Colour(1, True, 10), (1023 * 0.2126, 512 - 1023 * 0.2126 / 1.8556, 1023.5)),
    ],
)
def test_red(colour: Colour, expected: tuple[float, float, float]) -> None:
    torch.testing.assert_close(to_yuv(RED, colour).flatten(), torch.tensor(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize("full", [False, True])
def test_grey_has_no_chroma(full: bool) -> None:
    yuv = to_yuv(torch.tensor([-1.0, 0.0, 1.0]).expand(1, 3, 1, 3), Colour(9, full))
    luma = [0.0, 127.5, 255.0] if full else [16.0, 125.5, 235.0]
    torch.testing.assert_close(yuv[0, :, 0], torch.tensor([luma, [128.0] * 3, [128.0] * 3]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("matrix", [1, 4, 5, 7, 9])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("depth", [8, 10])
def test_round_trip(matrix: int, full: bool, depth: int) -> None:
    rgb, colour = torch.rand(2, 3, 8, 8) * 2 - 1, Colour(matrix, full, depth)
    torch.testing.assert_close(to_rgb(to_yuv(rgb, colour), colour), rgb, atol=1e-5, rtol=0)


def test_agrees_with_swscale() -> None:
    image = torch.tensor([200, 50, 30], dtype=torch.uint8).expand(16, 16, 3).numpy()
    for matrix in (1, 5):
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            format="yuv444p", dst_colorspace=matrix, src_color_range=2, dst_color_range=1
        )
        theirs = torch.from_numpy(frame.to_ndarray()[:, 0, 0].copy()).float()
        ours = to_yuv(torch.tensor([200.0, 50.0, 30.0]).view(1, 3, 1, 1) / 127.5 - 1, Colour(matrix, False)).flatten()
        torch.testing.assert_close(ours, theirs, atol=1.0, rtol=0)


@pytest.mark.parametrize(
    ("tag", "size", "matrix"),
    [(2, (720, 576), 5), (2, (1280, 720), 1), (6, (64, 48), 5), (1, (64, 48), 1), (10, (64, 48), 9)],
)
def test_matrix_of_a_frame(tag: int, size: tuple[int, int], matrix: int) -> None:
    frame = av.VideoFrame(*size, "yuv420p")
    frame.colorspace = tag
    assert Colour.of(frame) == Colour(matrix, False)


def test_full_range_by_tag_or_by_format() -> None:
    frame = av.VideoFrame(16, 16, "yuv420p")
    frame.color_range = 2
    assert Colour.of(frame).full
    assert Colour.of(av.VideoFrame(16, 16, "yuvj420p")).full


@pytest.mark.parametrize(("pixels", "depth"), [("yuv420p", 8), ("yuv422p10le", 10), ("yuv444p12le", 10), ("gbrp", 8)])
def test_depth_of_a_frame(pixels: str, depth: int) -> None:
    assert Colour.of(av.VideoFrame(16, 16, pixels)).depth == depth


@pytest.mark.parametrize(
    ("subsampling", "expected"),
    [((2, 2), [3.5, 4.0, 3.5, 4.5]), ((2, 1), [7.0, 8.0, 3.5, 4.5]), ((1, 1), [7.0, 8.0, 6.5, 8.5])],
)
def test_chroma_boxes_are_sited_left(subsampling: tuple[int, int], expected: list[float]) -> None:
    # Chroma sample 3 sits on luma column 6 (centre 6.5) and, in 4:2:0, between luma rows 6 and 7 (7.0).
    source = SimpleNamespace(subsampling=subsampling)
    luma, *chroma = plane_boxes(torch.tensor([[7.0, 8.0, 6.5, 8.5]]), source)
    assert luma.tolist() == [[7.0, 8.0, 6.5, 8.5]]
    assert [boxes.tolist() for boxes in chroma] == [[expected]] * 2
