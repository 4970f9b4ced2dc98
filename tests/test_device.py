import pytest
import torch

from lipsync.device import choose_device
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
