"""SyncNet-v2 (Chung and Zisserman 2016, "Out of time"), the network behind the published LSE-D and LSE-C."""

import torch.nn.functional as F
from torch import Tensor, nn

FRAMES = 5
COLUMNS = 20  # of MFCCs, one every 10 ms, that belong to those frames
SIZE = 224
EMBEDDING = 1024
# A convolution (output channels, kernel, stride, padding), or a pooling (kernel, stride, padding).
LIP_LAYERS = (
    (96, (5, 7, 7), (1, 2, 2), 0),
    ((1, 3, 3), (1, 2, 2), 0),
    (256, (1, 5, 5), (1, 2, 2), (0, 1, 1)),
    ((1, 3, 3), (1, 2, 2), (0, 1, 1)),
    (256, (1, 3, 3), 1, (0, 1, 1)),
    (256, (1, 3, 3), 1, (0, 1, 1)),
    (256, (1, 3, 3), 1, (0, 1, 1)),
    ((1, 3, 3), (1, 2, 2), 0),
    (512, (1, 6, 6), 1, 0),
)
SOUND_LAYERS = (
    (64, 3, 1, 1),
    (1, 1, 0),
    (192, 3, 1, 1),
    (3, (1, 2), 0),
    (384, 3, 1, 1),
    (256, 3, 1, 1),
    (256, 3, 1, 1),
    (3, 2, 0),
    (512, (5, 4), 1, 0),
)


def convolutions(
    channels: int, layers: tuple, conv: type[nn.Module], norm: type[nn.Module], pool: type[nn.Module]
) -> nn.Sequential:
    """Returns the layers, every convolution followed by its norm and a ReLU."""
    stack: list[nn.Module] = []
    for layer in layers:
        if len(layer) == 3:
            stack.append(pool(*layer))
            continue
        stack += [conv(channels, *layer), norm(layer[0]), nn.ReLU()]
        channels = layer[0]
    return nn.Sequential(*stack)


def head() -> nn.Sequential:
    """Returns the layers from 512 features to an embedding."""
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING))


class SyncNetV2(nn.Module):
    """Embeds five frames of a face and their 0.2 s of sound, with the published checkpoint's keys.

    Embeddings are not normalised; the Euclidean distance between them is what LSE-D averages.
    """

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = convolutions(1, SOUND_LAYERS, nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d)
        self.netfcaud = head()
        self.netcnnlip = convolutions(3, LIP_LAYERS, nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d)
        self.netfclip = head()

    def faces(self, frames: Tensor) -> Tensor:
        """Returns what `embed_face` takes: frames (N, 5, 3, S, S) RGB in [-1, 1] -> (N, 3, 5, 224, 224) BGR 0..255."""
        n = len(frames)
        pixels = (frames.flatten(0, 1) + 1) * 127.5
        if pixels.shape[-2:] != (SIZE, SIZE):
            pixels = F.interpolate(pixels, (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=True)
        return pixels.flip(1).unflatten(0, (n, FRAMES)).transpose(1, 2)

    def features(self, face: Tensor) -> Tensor:
        """Returns the lip stream's features before its head: face (N, 3, 5, 224, 224) -> (N, 512)."""
        return self.netcnnlip(face).flatten(1)

    def embed_face(self, face: Tensor) -> Tensor:
        """Returns embeddings of faces as `faces` gives them: (N, 3, 5, 224, 224) -> (N, 1024)."""
        return self.netfclip(self.features(face))

    def embed_audio(self, mfcc: Tensor) -> Tensor:
        """Returns embeddings of sound: mfcc (N, 1, 13, 20) of int16 samples -> (N, 1024)."""
        return self.netfcaud(self.netcnnaud(mfcc).flatten(1))
