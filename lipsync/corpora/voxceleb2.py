"""VoxCeleb2: celebrities interviewed, a million utterances."""

from lipsync.corpora.folder import Folder


class VoxCeleb2(Folder):
    """Serves VoxCeleb2, cropped where the original crops it: the faces of its videos always lie in the same place."""

    layouts = ("voxceleb2", "voxceleb2_all")
    raw = "VOX2"

    def __init__(self, root: str = "data/voxceleb2", crop_rule: str = "voxceleb2", **others: object) -> None:
        super().__init__(root, crop_rule=crop_rule, **others)
