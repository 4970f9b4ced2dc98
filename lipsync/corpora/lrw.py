"""LRW: single words from British television (Lip Reading in the Wild)."""

from lipsync.corpora.folder import Folder


class LRW(Folder):
    """Serves LRW with its official splits; clips have 29 frames, so that testing dubs 25."""

    layouts = ("lrw",)
    raw = "lipread_mp4"

    def __init__(self, root: str = "data/lrw", pair_frames: int = 25, **others: object) -> None:
        super().__init__(root, pair_frames=pair_frames, **others)
