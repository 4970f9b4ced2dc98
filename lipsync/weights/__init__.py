"""Weights that ship with the package; README.md says where each file comes from."""

from importlib.resources import files

from safetensors.torch import load
from torch import Tensor


def read_weights(name: str) -> dict[str, Tensor]:
    """The state dict shipped as `<name>.safetensors`, on the CPU."""
    return load(files(__name__).joinpath(f"{name}.safetensors").read_bytes())
