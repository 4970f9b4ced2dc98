"""Other people's checkpoints: which network a file's keys name, and the arguments that build it here."""

import re
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

from torch import Tensor

from lipsync.errors import LipsyncError

State = dict[str, Tensor]
# What published files wrap their weights in, and what DistributedDataParallel puts before every key.
WRAPPERS = ("state_dict", "model_state_dict", "model", "ema")
PARALLEL = "module."
FIRST_ATTENDED = 32  # side in pixels of the first level with attention, in all of the original's configurations


class Original(NamedTuple):
    """Weights under this project's names.

    Attributes:
        kind: Class that takes them: Diff2Lip, SyncExpert or SyncNetV2.
        state: Its state_dict.
        arguments: Its constructor's arguments.
    """

    kind: str
    state: State
    arguments: dict


def recognise(content: object) -> Original:
    """Tells a published checkpoint by its keys, and reads the architecture off its shapes.

    Args:
        content: What torch.load or safetensors gave: a state_dict, nested or not, its keys prefixed or not.

    Raises:
        LipsyncError: Weights of no network that is known here; the message names no file.
    """
    state = unwrap(content)
    if "audio_encoder_to_style.3.weight" in state and "input_blocks.0.0.weight" in state:
        return Original("Diff2Lip", _prefixed(state, "unet."), diff2lip_arguments(state))
    if "face_encoder.0.conv_block.0.weight" in state:
        arguments = {"network": "wav2lip", "syncnet": syncnet_arguments(state), "crop_rule": "tight"}
        return Original("SyncExpert", _prefixed(state, "syncnet."), arguments)
    if "netcnnlip.0.weight" in state:
        return Original("SyncNetV2", state, {})
    keys = ", ".join(islice(state, 3))
    raise LipsyncError(f"weights of no network known here ({keys}, ...): Diff2Lip, Wav2Lip's SyncNet or SyncNet-v2")


def unwrap(content: object) -> State:
    """Finds the state_dict in a published file's content; half precision becomes float32.

    Raises:
        LipsyncError: There is none.
    """
    for _ in WRAPPERS:  # no deeper: a pickle may contain itself
        if isinstance(content, Mapping) and (inner := next((key for key in WRAPPERS if key in content), None)):
            content = content[inner]
    weights = isinstance(content, Mapping) and all(isinstance(value, Tensor) for value in content.values())
    if not weights or not content:
        raise LipsyncError("holds no weights")
    return {
        str(key).removeprefix(PARALLEL): value.float() if value.is_floating_point() else value
        for key, value in content.items()
    }


def diff2lip_arguments(state: State) -> dict:
    """Reads Diff2Lip's arguments off the shapes of an original network; what they leave open is the official choice.

    Raises:
        LipsyncError: A network that is not laid out as the original is.
    """
    found = (re.match(r"output_blocks\.(\d+)\.(\d)\.in_layers\.2\.weight", key) for key in state)
    residual = [(int(match[1]), int(match[2])) for match in found if match]
    blocks = [block for block, place in residual if place == 0]
    # A level's last block on the way up ends with a second residual block, which doubles the resolution.
    closing = [block for block, place in residual if place > 0]
    channels = state["time_embed.0.weight"].shape[1]
    if not closing or len(blocks) % (closing[0] + 1):
        raise LipsyncError("a UNet with other levels than the original's")
    a_level = closing[0] + 1
    levels = len(blocks) // a_level
    widths = [state[f"output_blocks.{level * a_level}.0.out_layers.3.weight"].shape[0] for level in range(levels)][::-1]
    # On the way down a level has one residual block fewer and its down block, so levels are as long.
    attended = [level for level in range(levels) if f"input_blocks.{1 + level * a_level}.1.qkv.weight" in state]
    size = FIRST_ATTENDED << (attended[0] if attended else levels - 1)
    unet = {
        "channels": channels,
        "channel_mult": [width // channels for width in widths],
        "num_res_blocks": a_level - 1,
        "attention_resolutions": [size >> level for level in attended],
    }
    return {"size": size, "unet": unet, "prediction": "eps", "crop_rule": "tight", "spacing": "leading"}


def syncnet_arguments(state: State) -> dict:
    """Reads SyncNet's arguments off the shapes of a network in Wav2Lip's layout."""
    return {"width": state["face_encoder.0.conv_block.0.weight"].shape[0]}


def obstacles(kind: str, arguments: dict) -> list[str]:
    """Lists, one a phrase, what in a module's arguments the original's code has no counterpart of."""
    if kind == "Diff2Lip":
        given = {"prediction": arguments.get("prediction", "eps")} | (arguments.get("unet") or {})
        known = {"prediction": "eps", "fold": 1, "groups": 32, "audio_channels": [32, 64, 96, 128], "audio_blocks": 2}
    else:
        given = arguments.get("syncnet") or {}
        given = given | {"network": arguments.get("network", "wav2lip")}
        known = {"network": "wav2lip", "width": 32, "norm": "batch", "face_size": [48, 96]}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
    return [f"{key} is {plain[key]}, not {value}" for key, value in known.items() if plain.get(key, value) != value]


def differences(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """Lists, one a phrase, the keys that are missing, not wanted, or of another shape; empty when all fit.

    BatchNorm's count of batches, which old files lack and nothing here reads, may be missing.
    """
    missing = [f"{key} is missing" for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [f"{key} is not known" for key in state if key not in wanted]
    shapes = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    return missing + unknown + shapes


def _prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}
