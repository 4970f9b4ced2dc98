"""FaceMesh (Kartynnik et al., arXiv:1907.06724, and Google MediaPipe): 468 landmarks of the face in a square crop."""

import torch.nn.functional as F
from torch import Tensor, nn

from lipsync.weights import read_weights

INPUT_SIZE = 192
LANDMARKS = 468


class Residual(nn.Module):
    """A separable convolution added to its input; stride 2 pools the input, more channels pad it with zeros."""

    def __init__(self, channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.extra_channels = out_channels - channels
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, padding=stride % 2, groups=channels)
        self.pointwise = nn.Conv2d(channels, out_channels, 1)
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        skip = x
        if self.stride == 2:
            skip = F.max_pool2d(x, 2)
            x = pad_same(x)
        skip = F.pad(skip, (0, 0, 0, 0, 0, self.extra_channels))
        return self.act(self.pointwise(self.depthwise(x)).add_(skip))


def pad_same(x: Tensor) -> Tensor:
    """TensorFlow's SAME for a 3x3 window of stride 2 on an even size: nothing before, one after."""
    return F.pad(x, (0, 1, 0, 1))


def level(channels: int, out_channels: int) -> list[Residual]:
    """Halves the map, then refines it twice."""
    return [Residual(channels, out_channels, stride=2), *(Residual(out_channels, out_channels) for _ in range(2))]


def head(blocks: list[Residual], outputs: int) -> nn.Sequential:
    """From 128 channels at 3x3 after `blocks` to (N, outputs)."""
    return nn.Sequential(
        *blocks, nn.Conv2d(128, 32, 1), nn.PReLU(32), Residual(32, 32), nn.Conv2d(32, outputs, 3), nn.Flatten()
    )


class FaceMesh(nn.Module):
    """The network: crops (N, 3, 192, 192) RGB in 0..1 -> landmarks (N, 468, 3) in crop pixels, presence logits (N,).

    z is in the same unit as x and y: smaller is nearer, 0 about the head's centre.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.PReLU(16), Residual(16, 16), Residual(16, 16))
        self.trunk = nn.Sequential(*level(16, 32), *level(32, 64), *level(64, 128), *level(128, 128))
        self.landmarks = head(level(128, 128), 3 * LANDMARKS)
        self.presence = head([Residual(128, 128, stride=2)], 1)

    @classmethod
    def pretrained(cls) -> "FaceMesh":
        """The network with MediaPipe's weights (float32, on the CPU), in evaluation mode."""
        mesh = cls()
        mesh.load_state_dict(read_weights("face_mesh"))
        return mesh.eval()

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(self.stem(pad_same(crops)))
        return self.landmarks(x).unflatten(1, (LANDMARKS, 3)), self.presence(x).squeeze(1)
