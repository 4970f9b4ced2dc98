"""SyncNet against Wav2Lip's numbers, and its narrow forms."""

import pytest
import torch
import torch.nn.functional as F

from lipsync.errors import LipsyncError
from lipsync.networks.syncnet import SyncNet


@pytest.fixture(scope="module")
def original(weights):
    syncnet = SyncNet()
    syncnet.load_state_dict(weights("wav2lip_syncnet"))
    return syncnet.eval().requires_grad_(False)


def test_embeddings(original, reference):
    numbers = reference("wav2lip_syncnet")
    mel, face = numbers["mel"], numbers["face_u8"] / 255
    audio, mouth = original(mel, face)
    torch.testing.assert_close(audio, numbers["audio_embedding"], atol=2e-6, rtol=0)
    torch.testing.assert_close(mouth, numbers["face_embedding"], atol=2e-6, rtol=0)
    torch.testing.assert_close(original.audio_encoder(mel).flatten(1), numbers["audio_raw"], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(original.face_encoder(face).flatten(1), numbers["face_raw"], atol=2e-5, rtol=1e-5)

    cosine = (audio * mouth).sum(dim=1)
    torch.testing.assert_close(cosine, numbers["cosine"], atol=2e-6, rtol=0)
    each = F.binary_cross_entropy(cosine, numbers["y"], reduction="none")
    torch.testing.assert_close(each, numbers["bce_each"], atol=1e-5, rtol=0)
    torch.testing.assert_close(each.mean(), numbers["bce_mean"], atol=1e-5, rtol=0)


def test_gradient_reaches_the_painted_half_only(original, reference):
    numbers = reference("wav2lip_syncnet")
    bgr = numbers["g_u8_btchw"] / 255
    frames = (bgr.flip(2) * 2 - 1).requires_grad_()
    audio, face = original(numbers["mel"][:2], original.faces(frames))
    loss = F.binary_cross_entropy((audio * face).sum(dim=1), torch.ones(2))
    torch.testing.assert_close(loss, numbers["sync_loss"], atol=1e-5, rtol=0)

    loss.backward()
    # The reference differentiates by BGR in [0, 1], channels before frames; ours by RGB in [-1, 1].
    gradient = 2 * frames.grad[0].flip(1).transpose(0, 1)
    expected = numbers["sync_grad_lower_b0"]
    torch.testing.assert_close(gradient[:, :, 48:], expected, atol=1e-4 * expected.abs().max().item(), rtol=0)
    assert frames.grad[..., :48, :].abs().max() == numbers["sync_grad_upper_absmax"] == 0


def test_faces_of_another_size():
    frames = torch.rand(2, 5, 3, 64, 64) * 2 - 1
    frames[:, :, 0], frames[:, 1, 2] = 1.0, -1.0
    face = SyncNet(width=8).faces(frames)
    assert face.shape == (2, 15, 48, 96)
    assert face.min() >= 0
    # Channel 3 * frame + colour, blue first.
    torch.testing.assert_close(face[:, 2::3], torch.ones(2, 5, 48, 96))
    torch.testing.assert_close(face[:, 3], torch.zeros(2, 48, 96))
    # What it looks at is the lower half.
    assert not torch.equal(SyncNet(width=8).faces(frames.flip(3)), face)
    torch.testing.assert_close(face[:, 1].mean(), (frames[:, 0, 1, 32:].mean() + 1) / 2, atol=0.01, rtol=0)


@pytest.mark.parametrize("size", [(48, 96), (24, 48), (32, 64)])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_narrow(size, norm):
    syncnet = SyncNet(width=8, norm=norm, face_size=size)
    frames = torch.randn(2, 5, 3, 64, 64)
    audio, face = syncnet(torch.randn(2, 1, 80, 16), syncnet.faces(frames))
    for embedding in (audio, face):
        assert embedding.shape == (2, 128)
        assert embedding.min() >= 0
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))


def test_group_norm_does_not_mix_windows():
    syncnet = SyncNet(width=8, norm="group").train()
    mel = torch.randn(3, 1, 80, 16)
    torch.testing.assert_close(syncnet.embed_audio(mel)[:1], syncnet.embed_audio(mel[:1]), atol=1e-5, rtol=1e-4)


def test_unknown_norm():
    with pytest.raises(LipsyncError, match="layer"):
        SyncNet(norm="layer")
