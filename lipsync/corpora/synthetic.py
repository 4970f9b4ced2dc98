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
        size, frames, batch_size, seed, workers, augment, jitter, val_windows: as for `Corpus`.
        pair_frames, pair_clips, crop_rule, run, reference, balanced, filters: as for `Corpus`.
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
        frames: int = 5,
        batch_size: int = 8,
        seed: int = 0,
        workers: int = 2,
        augment: bool = True,
        jitter: float = 0.03,
        val_windows: int = 96,
        pair_frames: int = 50,
        pair_clips: int = 100,
        crop_rule: str = "square",
        run: int = 1,
        reference: str = "any",
        balanced: bool = False,
        filters: dict[str, list[float | None]] | None = None,
    ) -> None:
        super().__init__(
            root,
            size,
            frames,
            batch_size,
            seed,
            workers,
            augment,
            jitter,
            val_windows,
            pair_frames,
            pair_clips,
            crop_rule,
            run,
            reference,
            balanced,
            filters,
        )
        self.recipe = {"speakers": speakers, "clips": clips, "seconds": seconds, "seed": corpus_seed}
        self.track_size = track_size

    def prepare_data(self) -> None:
        write_corpus(self.root, **self.recipe, size=self.track_size)
