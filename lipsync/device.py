"""The device that a command computes on."""

import torch

from lipsync.errors import LipsyncError


def choose_device(name: str) -> torch.device:
    """The device of that name, or for `auto` the accelerator where there is one; raises LipsyncError."""
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise LipsyncError(f"device {name}: {str(error).splitlines()[0]}") from error
