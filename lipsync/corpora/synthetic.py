"""The embedded corpus: talking heads, drawn and voiced by one script, written when first used."""

from lipsync.corpora.datamodule import Corpus
from lipsync.corpora.puppet.write import write_corpus


class Synthetic(Corpus):
    """Serves talking heads whose mouths follow their voices, for learning the ropes, tests and two-core training.

    Args:
        root: where the corpus is written and kept.
        speakers: how many talk; of 54, 40 train, 4 validate, 10 test.
        clips: per speaker.
        seconds: per clip.
        corpus_seed: decides the corpus; `seed` decides what is drawn from it.
        track_size: side of the stored squares in pixels.
        size, workers: as for `Corpus`, and so are all others.
    """

    def __init__(
        self,
        root: str = "data/synthetic",
        speakers: int = 54,
        clips: int = 3,
        seconds: float = 3.0,
        corpus_seed: int = 0,
        track_size: int = 112,
        size: int = 64,
        workers: int = 2,
        **others: object,
    ) -> None:
        super().__init__(root, size=size, workers=workers, **others)
        self.recipe = {"speakers": speakers, "clips": clips, "seconds": seconds, "seed": corpus_seed}
        self.track_size = track_size

    def prepare_data(self) -> None:
        write_corpus(self.root, **self.recipe, size=self.track_size)
