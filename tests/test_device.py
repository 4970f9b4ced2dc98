import pytest
import torch

from lipsync.device import choose_device, choose_precision
from lipsync.errors import LipsyncError


def test_the_named_device_or_what_there_is(monkeypatch):
    assert choose_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    assert choose_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    assert choose_device("auto") == torch.device("cuda")


def test_no_such_device():
    with pytest.raises(LipsyncError, match="device nowhere: "):
        choose_device("nowhere")


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is there")
def test_a_device_that_is_not_there():
    with pytest.raises(LipsyncError, match="device cuda: "):
        choose_device("cuda")


def test_precisions(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert choose_precision("auto", cpu) == "float32"
    assert choose_precision("bfloat16", cpu) == "bfloat16"
    for able, name in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, able=able: able)
        assert choose_precision("auto", gpu) == name
    with pytest.raises(LipsyncError, match="precision: 'half' is none of auto, float32, bfloat16, float16"):
        choose_precision("half", cpu)
