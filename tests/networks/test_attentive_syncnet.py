"""The modern SyncNet: shapes, sizes, what it looks at, and that it learns."""

import pytest
import torch

from lipsync.errors import LipsyncError
from lipsync.networks.attentive_syncnet import AttentiveSyncNet


@pytest.mark.parametrize(("frames", "face_size", "size"), [(5, (32, 64), 64), (16, (48, 96), 96), (5, (27, 55), 64)])
def test_any_number_of_frames_and_any_size(frames: int, face_size: tuple[int, int], size: int) -> None:
    network = AttentiveSyncNet(8, frames, face_size, embedding=48)
    pictures = torch.rand(2, frames, 3, size, size) * 2 - 1
    face = network.faces(pictures)
    assert face.shape == (2, 3 * frames, *face_size)
    for embedding in network(torch.rand(2, 1, 80, 16 * frames // 5), face):
        assert embedding.shape == (2, 48)
        assert embedding.min() >= 0
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))


def test_batch_norm_in_place_of_group_norm() -> None:
    kinds = {type(part).__name__ for part in AttentiveSyncNet(8, norm="batch").face_encoder.modules()}
    assert "BatchNorm2d" in kinds
    assert "BatchNorm2d" not in {type(part).__name__ for part in AttentiveSyncNet(8).modules()}
    with pytest.raises(LipsyncError, match=r"layer.*group, batch"):
        AttentiveSyncNet(8, norm="layer")


def test_windows_do_not_mix() -> None:
    network = AttentiveSyncNet(8).train()
    mel = torch.randn(3, 1, 80, 16)
    torch.testing.assert_close(network.embed_audio(mel)[:1], network.embed_audio(mel[:1]), atol=1e-5, rtol=1e-4)


def test_every_parameter_gets_a_gradient_after_a_step() -> None:
    network = AttentiveSyncNet(8)
    mel, frames = torch.randn(4, 1, 80, 16), torch.rand(4, 5, 3, 64, 64) * 2 - 1
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):  # what starts at zero opens the way for the rest
        optimizer.zero_grad()
        audio, face = network(mel, network.faces(frames))
        (audio @ face.T)[0].sum().backward()
        optimizer.step()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_width_that_cannot_be_grouped() -> None:
    with pytest.raises(LipsyncError, match="20 is no multiple of 8"):
        AttentiveSyncNet(20)
