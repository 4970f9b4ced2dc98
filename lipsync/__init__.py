"""Diff2Lip on PyTorch Lightning: train, evaluate and run audio-conditioned diffusion for lip-sync."""

from importlib import import_module

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
