"""The audio encoder's shapes at every depth, and its constant time embedding."""

import pytest
import torch

from lipsync.networks.audio_encoder import AudioEncoder
from lipsync.networks.unet import timestep_embedding


@pytest.mark.parametrize(
    ("channels", "shape"),
    [((8,), (8, 64, 16)), ((8, 12), (12, 32, 16)), ((8, 12, 16), (16, 16, 16)), ((8, 8, 12, 16), (16, 8, 8))],
)
def test_depths(channels, shape):
    encoder = AudioEncoder(channels, num_blocks=1, groups=4)
    assert encoder(torch.randn(3, 80, 16)).shape == (3, *shape)


def test_time_is_zero_and_computed_once_a_batch():
    encoder = AudioEncoder((8, 12), num_blocks=1, groups=4)
    seen = []
    encoder.time_embed.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    encoder(torch.randn(5, 80, 16))
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], timestep_embedding(torch.zeros(1, dtype=torch.int64), 8))


def test_frames_do_not_mix():
    encoder = AudioEncoder((8, 12), num_blocks=1, groups=4)
    mels = torch.randn(4, 80, 16)
    alone = torch.cat([encoder(mel[None]) for mel in mels])
    torch.testing.assert_close(encoder(mels), alone, atol=1e-5, rtol=1e-5)
