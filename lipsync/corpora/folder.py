"""Corpora that `lipsync prepare` wrote: of your own videos, or of a published corpus."""

import json

from lipsync.corpora.datamodule import Corpus
from lipsync.corpora.records import MANIFEST, SETTINGS
from lipsync.errors import LipsyncError


class Folder(Corpus):
    """Serves what `lipsync prepare` wrote; splits are those of the records."""

    layouts = ("",)  # of `lipsync prepare`, the one to name first
    raw = "VIDEOS"  # what the command is given

    def prepare_data(self) -> None:
        option = f" --layout {self.layouts[0]}" if self.layouts[0] else ""
        command = f"lipsync prepare {self.raw}{option} --out {self.root}"
        settings = self.root / SETTINGS
        if settings.is_file():
            layout = json.loads(settings.read_text(encoding="utf-8")).get("layout", "")
            if layout not in self.layouts:
                kind = layout or "a folder of videos"
                raise LipsyncError(f"{self.root} was prepared from {kind}: choose its data module, or run `{command}`")
        # The splits are assigned and the manifest is built when all videos are done.
        if not (self.root / MANIFEST).is_file():
            raise LipsyncError(f"{self.root} is no finished corpus: run `{command}`, as often as it takes to finish it")
