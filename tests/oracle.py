"""A tiny Diff2Lip, batches for it, and a network whose answer is known: what tests of the model share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lipsync import Diff2Lip

TINY = {
    "fold": 2,
    "channels": 8,
    "channel_mult": [1, 2],
    "num_res_blocks": 1,
    "attention_resolutions": [8],
    "head_channels": 8,
    "groups": 4,
    "audio_channels": [8, 8],
}
ALONE = dict.fromkeys(("simple", "vb", "l2", "sync", "lpips", "mesh", "gan"), 0.0)


def windows(count: int = 2, size: int = 32) -> dict[str, Tensor]:
    """A batch with smooth pictures in [-1, 1]."""
    coarse = torch.rand(count, 5 * 3, 4, 4) * 2 - 1
    frames = nn.functional.interpolate(coarse, size, mode="bilinear").view(count, 5, 3, size, size)
    return {
        "frames": frames,
        "reference": frames[:, :1].flip(0),
        "frame_mels": torch.rand(count, 5, 80, 16) * 8 - 4,
        "mel": torch.rand(count, 1, 80, 16) * 8 - 4,
        "index": torch.arange(count) + 11,
    }


def tiny(**arguments: object) -> Diff2Lip:
    base = {"size": 32, "unet": TINY, "audio_dropout": 0.0, "loss_weights": {"lpips": 0.0, "gan": 0.0}}
    return Diff2Lip(**base | arguments)


def small_heads(model: Diff2Lip) -> Diff2Lip:
    """Float64, and a last layer that is not zero, yet small: the estimate stays off the clamp, whose slope is a lie."""
    torch.manual_seed(5)
    nn.init.normal_(model.unet.out[-1].weight, std=0.02)
    nn.init.normal_(model.unet.audio_encoder_to_style[-2].weight, std=0.2)
    return model.double().train()


def terms_of(model: Diff2Lip, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The terms with their weights at the end of the schedule."""
    return model.objective(batch, model.schedule.at(None))


class Oracle(nn.Module):
    """Stands for the UNet: remembers what it was given and answers with `answer(x_t, t)`."""

    channels = 8

    def __init__(self, answer: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x_t: Tensor, t: Tensor, masked: Tensor, reference: Tensor, mels: Tensor) -> Tensor:
        self.x_t, self.t, self.masked, self.reference, self.mels = x_t, t, masked, reference, mels
        return torch.cat((self.answer(x_t, t), torch.zeros_like(x_t)), dim=1)

    def embed_audio(self, mels: Tensor) -> Tensor:
        return mels

    denoise = forward
