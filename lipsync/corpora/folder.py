"""A corpus of your own videos, as `lipsync prepare` writes it."""

from lipsync.corpora.datamodule import Corpus
from lipsync.corpora.records import MANIFEST
from lipsync.errors import LipsyncError


class Folder(Corpus):
    """Serves what `lipsync prepare` wrote; splits are those of the records."""

    def prepare_data(self) -> None:
        # The splits are assigned and the manifest is built when all videos are done.
        if self.root.is_dir() and not (self.root / MANIFEST).is_file():
            raise LipsyncError(f"{self.root} is no finished corpus: run `lipsync prepare` again to finish it")
