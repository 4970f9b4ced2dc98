"""LRS2: sentences from British television (Oxford-BBC Lip Reading Sentences 2)."""

from lipsync.corpora.folder import Folder


class LRS2(Folder):
    """Serves LRS2 with its official splits; `pretrain` is for training, and a broadcast counts as a speaker."""

    layouts = ("lrs2",)
    raw = "mvlrs_v1"

    def __init__(self, root: str = "data/lrs2", **others: object) -> None:
        super().__init__(root, **others)
