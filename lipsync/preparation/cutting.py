"""Clips of a corpus: the square, stabilised videos of face tracks, cut out in one pass over the frames."""

import math
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lipsync.corpora.crop import crop
from lipsync.errors import LipsyncError
from lipsync.preparation.measuring import look_at
from lipsync.video import VideoWriter


def write_videos(
    images: Iterable[np.ndarray],
    firsts: Sequence[int],
    boxes: Sequence[Tensor],
    paths: Sequence[Path],
    size: int,
    fps: float = 25.0,
    batch: int = 8,
) -> list[tuple[float, float]]:
    """Cut all tracks of a video out of its frames, `batch` frames in memory at a time.

    Args:
        images: (H, W, 3) uint8 each.
        firsts: number of each track's first frame.
        boxes: (T, 4) a track, one box a frame.
        paths: mp4 to write a track.
        size: side of the clips in pixels.

    Returns:
        Mean luma (0..255) and sharpness of each clip, as `measuring.look_at` has them.

    Raises:
        LipsyncError: the frames end before a track does.
    """
    images, index = iter(images), 0
    waiting = sorted(range(len(paths)), key=lambda k: firsts[k], reverse=True)
    writers: dict[int, VideoWriter] = {}
    looks: list[list[Tensor]] = [[] for _ in paths]
    try:
        while (waiting or writers) and (chunk := list(islice(images, batch))):
            while waiting and firsts[waiting[-1]] < index + len(chunk):
                k = waiting.pop()
                writers[k] = VideoWriter(paths[k], size, size, fps, threads=1)
            frames = torch.from_numpy(np.stack(chunk)).permute(0, 3, 1, 2) if writers else None
            for k in list(writers):
                begin, end = max(firsts[k] - index, 0), min(firsts[k] + len(boxes[k]) - index, len(chunk))
                offset = index - firsts[k]
                squares = crop_near(frames[begin:end], boxes[k][begin + offset : end + offset], size)
                looks[k].append(look_at(squares))
                writers[k].write(squares.round().byte().permute(0, 2, 3, 1).numpy())
                if end + offset == len(boxes[k]):
                    writers.pop(k).close()
            index += len(chunk)
        if waiting or writers:
            raise LipsyncError(f"only {index} frames could be decoded the second time")
    finally:
        for writer in writers.values():
            writer.discard()
    return [tuple(torch.cat(look).mean(0).tolist()) for look in looks]


def crop_near(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Crop with enough oversampling for the boxes' size, converting to float only the pixels near them.

    Args:
        images: (N, 3, H, W) uint8.
        boxes: (N, 4).

    Returns:
        (N, 3, size, size) float.
    """
    y0, y1, x0, x1 = boxes.unbind(-1)
    oversample = max(1, math.ceil(float((y1 - y0).max()) / size - 1e-6))
    height, width = images.shape[-2:]
    # Two pixels more than the boxes leave bilinear sampling and the repeated edge as they were.
    top, left = (min(max(int(low.min()) - 2, 0), side - 1) for low, side in ((y0, height), (x0, width)))
    bottom, right = (max(int(high.max()) + 3, low + 1) for high, low in ((y1, top), (x1, left)))
    near = images[:, :, top:bottom, left:right]
    return crop(near, boxes - torch.tensor([top, top, left, left]), size, oversample)
