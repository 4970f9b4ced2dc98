"""Diff2Lip on PyTorch Lightning: train, evaluate and run audio-conditioned diffusion for lip-sync."""

import os
from importlib import import_module

# numpy's BLAS lets idle threads spin on the cores that torch and the codecs need: a dub took a quarter longer. numpy
# reads this when it is first imported; who sets it has the say.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Imported when first asked for, so that a decoding worker does not load all of Lightning.
_HOMES = {
    "Diff2Lip": "lipsync.diff2lip",
    "LipsyncError": "lipsync.errors",
    "SyncExpert": "lipsync.expert",
    "dub": "lipsync.dubbing.dub",
    "dub_frames": "lipsync.dubbing.dub",
    "dub_many": "lipsync.dubbing.dub_many",
    "load": "lipsync.checkpoints",
    "prepare": "lipsync.preparation.prepare",
    "sync": "lipsync.preparation.sync",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
