"""Painting with a network whose answer is known, and with a drawn one."""

import pytest
import torch
from oracle import TINY, Oracle, tiny, windows

from lipsync import LipsyncError, painter


def test_generate_paints_what_the_network_knows_and_keeps_the_rest() -> None:
    batch, model = windows(), tiny(prediction="x_0")
    frames = batch["frames"][0]
    truth = torch.rand_like(frames) * 2 - 1
    model.unet = Oracle(lambda x_t, t: truth)
    noise = torch.randn(1, 3, 32, 32)
    painted = model.generate(frames, batch["reference"][0], batch["frame_mels"][0], noise, steps=3)
    torch.testing.assert_close(painted[:, :, 16:], truth[:, :, 16:], atol=1e-5, rtol=0)
    assert torch.equal(painted[:, :, :16], frames[:, :, :16])
    # One map: x_T is the noise that `masked` shows.
    assert torch.equal(model.unet.masked[:, :, 16:], noise[:, :, 16:].expand(5, -1, -1, -1))


def test_generate_needs_nothing_but_tensors() -> None:
    batch, model = windows(), tiny(sampling_steps=(4,), prediction="x_0")
    frames, reference, mels = batch["frames"][0], batch["reference"][0], batch["frame_mels"][0]
    for parameter in model.unet.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    painted = model.generate(frames, reference, mels)
    assert painted.shape == frames.shape
    assert torch.equal(painted, model.generate(frames, reference, mels, model.noise("sampling", 0), steps=4))
    for how in ({"steps": 2}, {"guidance": 3.0}, {"sampler": "ddpm"}, {"sampler": "dpmpp_2m"}, {"sampler": "fast"}):
        other = model.generate(frames, reference, mels, **how)
        assert torch.equal(other, model.generate(frames, reference, mels, **how))
        assert (other - painted)[:, :, 16:].abs().max() > 1e-5
        assert torch.equal(other[:, :, :16], frames[:, :, :16])
    exact, rounded = (model.generate(frames, reference, mels, precision=name) for name in ("float32", "bfloat16"))
    assert torch.equal(exact, painted)
    assert 1e-4 < (rounded - painted).abs().mean() < 0.05
    # A frame is painted alike, whatever stands beside it in a batch.
    for sampler in ("ddim", "ddpm", "dpmpp_2m"):
        alone = model.generate(frames[3:4], reference, mels[3:4], sampler=sampler)
        together = model.generate(frames, reference, mels, sampler=sampler)[3:4]
        torch.testing.assert_close(alone, together, atol=1e-4, rtol=0)
    with pytest.raises(LipsyncError, match=r"euler.*ddim, ddpm, dpmpp_2m, fast"):
        model.generate(frames, reference, mels, sampler="euler")


def test_a_large_network_paints_frames_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, model = windows(), tiny(unet=TINY | {"channels": 96, "groups": 8})
    frames, reference, mels = batch["frames"][0], batch["reference"][0], batch["frame_mels"][0]
    for parameter in model.unet.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    sizes = []
    model.unet.out.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    found = model.generate(frames, reference, mels, steps=2)
    assert sorted(sizes) == [1, 1, 2, 2, 2, 2]
    monkeypatch.setattr(painter, "NARROWEST", 1000)
    torch.testing.assert_close(found, model.generate(frames, reference, mels, steps=2), atol=1e-4, rtol=0)
    assert sizes[6:] == [5, 5]


def test_guidance_overstates_the_sound() -> None:
    """A network that paints the mean of the mel it hears: silence, which training shows it, is 0."""
    batch, model = windows(), tiny(prediction="x_0")
    model.unet = Oracle(lambda x_t, t: 0.1 * model.unet.mels.mean(dim=(1, 2))[:, None, None, None].expand_as(x_t))
    mels = torch.full((5, 80, 16), 2.0)
    for guidance in (0.0, 1.0, 3.0):
        painted = model.generate(batch["frames"][0], batch["reference"][0], mels, guidance=guidance)
        torch.testing.assert_close(painted[:, :, 16:], torch.full((5, 3, 16, 32), 0.2 * guidance), atol=1e-5, rtol=0)
