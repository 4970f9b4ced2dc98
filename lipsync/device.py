"""The device that a command computes on, and the precision."""

import torch

from lipsync.errors import LipsyncError, check_choice

PRECISIONS = ("float32", "bfloat16", "float16")


def choose_device(name: str) -> torch.device:
    """The device of that name, or for `auto` the accelerator where there is one; raises LipsyncError."""
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise LipsyncError(f"device {name}: {str(error).splitlines()[0]}") from error


def choose_precision(name: str, device: torch.device) -> str:
    """The precision of that name, or for `auto` bfloat16 on a GPU that computes in it; raises LipsyncError."""
    if name == "auto":
        fit = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if fit else "float32"
    check_choice("precision", name, ("auto", *PRECISIONS))
    return name
