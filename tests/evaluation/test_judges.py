"""Who judges does so in float32, whatever precision a model runs in, and is nobody the model was trained to please."""

import pytest
import torch

from lipsync.errors import LipsyncError
from lipsync.evaluation.judges import Judges, Sound


def test_the_judge_of_sync_computes_in_float32() -> None:
    judges, draw = Judges("synthetic_eval").eval(), torch.Generator().manual_seed(0)
    pictures = torch.rand(8, 3, 64, 64, generator=draw) * 2 - 1
    sound = Sound(torch.randn(4, 80, 16, generator=draw), torch.zeros(8 * 640, dtype=torch.int16))
    alone = judges.embed(pictures, sound)
    with torch.autocast("cpu", torch.bfloat16):
        inside = judges.embed(pictures, sound)
    doubled = judges.embed(pictures.double(), Sound(sound.sliding.double(), sound.samples))
    for expected, *found in zip(alone, inside, doubled, strict=True):
        assert all(torch.equal(each, expected) for each in found)


def test_the_expert_of_the_loss_is_known_by_any_path() -> None:
    with pytest.raises(LipsyncError, match="is the expert of the model's own loss"):
        Judges("./some/../mine.ckpt", forbidden="mine.ckpt")
