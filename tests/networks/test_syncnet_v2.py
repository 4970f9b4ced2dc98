"""SyncNet-v2 against the original's embeddings."""

import torch
from torch import Tensor

from lipsync.networks.syncnet_v2 import SyncNetV2


def relative(a: Tensor, b: Tensor) -> float:
    """The largest difference in units of the largest value."""
    return float((a - b).abs().max() / b.abs().max())


def test_embeddings(syncnet_v2, fill, reference):
    numbers = reference("syncnet_v2")
    pixels = fill.blocks_u8(numbers["lip_input_tag"], numbers["lip_input_shape"].tolist())
    assert fill.crc(pixels) == numbers["lip_input_crc"]
    face = torch.from_numpy(pixels).float()
    with torch.no_grad():
        assert relative(syncnet_v2.features(face), numbers["lip_feature512"]) <= 1e-5
        assert relative(syncnet_v2.embed_face(face), numbers["lip_embedding"]) <= 1e-5
        assert relative(syncnet_v2.embed_audio(numbers["aud_input"]), numbers["aud_embedding"]) <= 1e-5


def test_faces_are_bgr_bytes():
    frames = torch.full((2, 5, 3, 224, 224), -1.0)
    frames[1, 3, 0] = 1.0  # red, in the fourth frame of the second window
    face = SyncNetV2().faces(frames)
    assert face.shape == (2, 3, 5, 224, 224)
    expected = torch.zeros(2, 3, 5, 224, 224)
    expected[1, 2, 3] = 255.0
    assert torch.equal(face, expected)
    small = SyncNetV2().faces(torch.rand(1, 5, 3, 32, 32) * 2 - 1)
    assert small.shape == (1, 3, 5, 224, 224)
    assert small.min() >= 0
    assert small.max() <= 255
