"""The UNet against the original's numbers, and what does not need them: sizes, shapes, folding, precision."""

import math

import pytest
import torch
from torch import Tensor

from lipsync.corpora.crop import mask
from lipsync.errors import LipsyncError
from lipsync.networks.unet import Attention, UNet, timestep_embedding

SMALL = {
    "image_size": 32,
    "channels": 16,
    "channel_mult": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (8,),
    "head_channels": 16,
    "groups": 4,
    "audio_channels": (8, 12),
    "audio_blocks": 1,
}


def alive(unet: UNet) -> UNet:
    """Gives every parameter a value, those that start at zero too."""
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter, 1.0 if parameter.dim() == 1 else 0.0, 0.05)
    return unet.eval()


def inputs(n: int = 2, size: int = 32) -> tuple[Tensor, ...]:
    x_t, masked, reference = torch.randn(3, n, 3, size, size)
    return x_t, torch.randint(0, 1000, (n,)), masked, reference, torch.randn(n, 80, 16)


def check_against(unet: UNet, numbers: dict[str, Tensor]) -> None:
    size = numbers["x"].shape[-1]
    images = numbers["image_u8"] / 255 * 2 - 1
    torch.testing.assert_close(numbers["mask"], mask(size).expand_as(numbers["mask"]))
    masked = torch.where(numbers["mask"] > 0, numbers["noise"], images)
    torch.testing.assert_close(masked, numbers["cond_img"], atol=1e-6, rtol=0)

    t = numbers["timesteps"]
    sinusoids = timestep_embedding(t, unet.channels)
    torch.testing.assert_close(sinusoids, numbers["timestep_embedding"], atol=1e-5, rtol=0)
    torch.testing.assert_close(unet.embed_time(t), numbers["time_emb"], atol=1e-5, rtol=0)
    audio = unet.embed_audio(numbers["indiv_mels"])
    torch.testing.assert_close(audio, numbers["audio_style"], atol=1e-5, rtol=0)
    output = unet(numbers["x"], t, masked, numbers["ref_img"], numbers["indiv_mels"])
    torch.testing.assert_close(output, numbers["output"], atol=1e-4, rtol=0)


def test_small_reference(unet_64, reference):
    check_against(unet_64, reference("tfg_64"))


@torch.no_grad()
def test_official_reference(weights, reference):
    with torch.device("meta"):
        unet = UNet()
    unet.load_state_dict(weights("tfg_128_official"), strict=True, assign=True)
    check_against(unet.eval(), reference("tfg_128_official"))


def test_official_size():
    with torch.device("meta"):
        unet = UNet()
    assert sum(p.numel() for p in unet.parameters()) == 101_670_630
    assert len(unet.state_dict()) == 632


def test_starts_at_zero():
    unet = UNet(**SMALL)
    assert unet(*inputs()).abs().max() == 0
    assert unet.embed_audio(torch.randn(2, 80, 16)).abs().max() == 0
    zeros = {name for name, p in unet.named_parameters() if name.endswith("weight") and not p.any()}
    endings = ("out_layers.3.weight", "proj_out.weight")
    expected = {name for name, _ in unet.named_parameters() if name.endswith(endings)}
    assert zeros == expected | {"out.2.weight", "audio_encoder_to_style.3.weight"}


@torch.no_grad()
def test_upper_half_of_the_state_is_not_seen():
    unet = alive(UNet(**SMALL))
    x_t, t, masked, reference, mels = inputs()
    output = unet(x_t, t, masked, reference, mels)
    torch.testing.assert_close(unet(x_t + (1 - mask(32)), t, masked, reference, mels), output, atol=0, rtol=0)
    assert (unet(x_t + mask(32), t, masked, reference, mels) - output).abs().max() > 1e-3
    assert (unet(x_t, t, masked + (1 - mask(32)), reference, mels) - output).abs().max() > 1e-3


@torch.no_grad()
def test_audio_embedded_once_serves_all_steps():
    unet = alive(UNet(**SMALL))
    x_t, t, masked, reference, mels = inputs()
    calls = []
    unet.audio_encoder.register_forward_hook(lambda *_: calls.append(1))
    audio = unet.embed_audio(mels)
    cached = [unet.denoise(x_t, t + step, masked, reference, audio) for step in range(3)]
    assert len(calls) == 1
    for step, output in enumerate(cached):
        torch.testing.assert_close(output, unet(x_t, t + step, masked, reference, mels), atol=0, rtol=0)


@torch.no_grad()
def test_fold():
    plain, folded = UNet(**SMALL), alive(UNet(**SMALL, fold=2))
    assert folded(*inputs()).shape == (2, 6, 32, 32)
    # Three times as many channels more in the stem's input and the head's output.
    extra = 16 * 27 * 9 + 18 * (16 * 9 + 1)

    def convolutional(unet: UNet) -> int:
        return sum(p.numel() for p in unet.parameters()) - sum(
            p.numel() for m in unet.modules() if isinstance(m, Attention) for p in m.parameters()
        )

    assert convolutional(folded) == convolutional(plain) + extra
    # 8 px is a level of the folded network (16, 8) and none of the plain one (32, 16), whose middle attends anyway.
    assert [sum(isinstance(m, Attention) for m in unet.modules()) for unet in (plain, folded)] == [1, 4]


@torch.no_grad()
def test_layouts_and_precisions_agree():
    unet, arguments = alive(UNet(**SMALL)), inputs()
    expected = unet(*arguments)
    last = unet.to(memory_format=torch.channels_last)
    moved = [a.to(memory_format=torch.channels_last) if a.dim() == 4 else a for a in arguments]
    torch.testing.assert_close(last(*moved), expected, atol=1e-5, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        half = last(*moved)
    assert half.dtype == torch.float32
    assert (half - expected).std() < 0.02 * expected.std()


def test_every_parameter_learns():
    unet = alive(UNet(**SMALL)).train()
    unet(*inputs()).square().mean().backward()
    assert not [name for name, p in unet.named_parameters() if not p.grad.abs().max() > 0]


def test_attention_is_softmax_over_pixels():
    attention = Attention(16, 8, groups=4)
    torch.nn.init.normal_(attention.proj_out.weight)
    x = torch.randn(2, 16, 3, 5)
    qkv = attention.qkv(attention.norm(x).flatten(2)).view(2, 2, 3, 8, 15)
    q, k, v = qkv.unbind(2)
    share = torch.einsum("nhcq,nhck->nhqk", q, k).div(math.sqrt(8)).softmax(dim=-1)
    read = torch.einsum("nhqk,nhck->nhcq", share, v).reshape(2, 16, 15)
    expected = x + attention.proj_out(read).view_as(x)
    torch.testing.assert_close(attention(x), expected, atol=1e-5, rtol=1e-5)


def test_timestep_embedding_closed_form():
    embedding = timestep_embedding(torch.tensor([0, 7]), 6)
    angles = [7 * 10_000 ** (-i / 3) for i in range(3)]
    expected = [[1, 1, 1, 0, 0, 0], [*map(math.cos, angles), *map(math.sin, angles)]]
    torch.testing.assert_close(embedding, torch.tensor(expected, dtype=torch.float32), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"groups": 5}, "groups"),
        ({"head_channels": 24}, "head_channels"),
        ({"image_size": 33}, "image_size"),
        ({"channel_mult": (1,) * 7}, "image_size"),
    ],
)
def test_sizes_that_do_not_fit_are_named(wrong, words):
    with pytest.raises(LipsyncError, match=words):
        UNet(**SMALL | wrong)
