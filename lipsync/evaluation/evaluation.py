"""A model on a test split: every clip by every protocol, judged, kept, and at the end a table and a report."""

from pathlib import Path
from typing import Any

from torch import Tensor

from lipsync import checkpoints, samplers
from lipsync.corpora.pair_list import pair_list
from lipsync.corpora.pairs import Pairs
from lipsync.errors import LipsyncError
from lipsync.evaluation.clips import Clip, Folder, plain
from lipsync.evaluation.finish import gather
from lipsync.evaluation.judges import Judges, Sound
from lipsync.evaluation.protocols import DELAYED, TRUTH, Protocol, Row, named, rows
from lipsync.evaluation.table import Summary
from lipsync.files import whole
from lipsync.metrics.quality import texture
from lipsync.metrics.views import View

SHIFTS = (1, 2, 5, 10)  # frames by which true sound is delayed, to see the judge notice
SOUNDS = ("own", "driving")


class Evaluation:
    """Evaluates one model; a folder that was begun is gone on with, clips that are done are not done again.

    Args:
        model: Whom: `generate`, `size`, `crop_rule`, and `hparams` with `seed`, `sampling_steps` and `expert`.
        pairs: On what.
        folder: Where results go.
        judged: Side of the pictures that the pairs hold for judging.
        protocols: Names of `protocols`.
        expert, lpips_net, lpips_weights, fid_weights: As `judges.Judges`.
        steps: Sampling steps; None: the preset's, or the model's.
        sampler: Name of one of `samplers`, or of a preset.
        guidance: As in `Painter.generate`.
        origin: Checkpoint that the model came from, for the record.

    Raises:
        LipsyncError: As `Judges`, `named` and `Folder`.
    """

    def __init__(
        self,
        model: Any,
        pairs: Pairs,
        folder: Path,
        judged: int,
        protocols: tuple[str, ...] = ("reconstruction", "cross"),
        expert: str | None = None,
        lpips_net: str = "alex",
        lpips_weights: str | None = None,
        fid_weights: str | None = None,
        steps: int | None = None,
        sampler: str = "ddim",
        guidance: float = 1.0,
        origin: str = "",
    ) -> None:
        samplers.named(sampler)
        self.model, self.pairs = model, pairs
        self.protocols: dict[str, Protocol] = {name: named(name) for name in protocols}
        steps, _ = samplers.course(sampler, steps, model.hparams.sampling_steps[0], "")
        self.how = {"steps": steps, "sampler": sampler, "guidance": guidance}
        judges = Judges(expert, model.hparams.expert, lpips_net, lpips_weights, fid_weights)
        self.judges = judges.to(model.device).eval()
        self.expert = expert
        about = {
            "checkpoint": origin,
            "weights": checkpoints.fingerprint(model.unet),
            "model size": model.size,
            "crop rule": model.crop_rule,
            "corpus": str(pairs.manifest.root),
            "pairs": len(pairs),
            "frames": pairs.frames,
            "judged size": judged,
            "protocols": list(protocols),
            **self.how,
            "seed": model.hparams.seed,
            "sync judge": expert or "none",
            "perceptual": self.judges.perceptual.names[0],
            "frechet": self.judges.viewer.frechet,
        }
        self.about, self.store = about, Folder(folder, about)
        with whole(folder / "pairs.txt", contested=True) as beside:
            beside.write_text(pair_list(pairs.manifest, pairs.rows.tolist()), encoding="utf-8")

    def judge(self, batch: dict[str, Tensor]) -> None:
        """Dubs and scores one pair, a batch of `Pairs` with `judged`, and keeps what was found."""
        number = int(batch["pair"])
        if self.store.has(number):
            return
        name = self.pairs.name(number)
        if "failed" in batch:
            self.store.write(number, Clip(name, {}, {}, batch["failed"][0]))
            return
        try:
            clip = self._clip(number, name, batch)
        except LipsyncError as error:  # what a metric cannot score
            clip = Clip(name, {}, {}, str(error))
        self.store.write(number, clip)

    def _clip(self, number: int, name: str, batch: dict[str, Tensor]) -> Clip:
        sounds = {which: Sound(batch[f"{which}_sliding"][0], batch[f"{which}_sound"][0]) for which in SOUNDS}
        openings = {"own": batch["opening"][0], "driving": batch["opening_driving"][0]}
        scores, features, films = {}, {}, {}
        views: dict[int, tuple[Tensor, View]] = {}
        for row in rows(batch, self.protocols, self._paint):
            # Some rows show the same pictures with another sound.
            if id(row.pictures) not in views:
                views[id(row.pictures)] = row.pictures, self.judges.viewer(row.pictures)
            view, truth = views[id(row.pictures)][1], next(iter(views.values()))[1]
            scores[row.name] = plain(self._score(row, view, truth, openings.get(row.sound)))
            if self.judges.syncnet is not None and row.sound in sounds:
                face, audio = self.judges.embed(row.pictures, sounds[row.sound])
                scores[row.name] |= plain(self.judges.hear(face, audio))
                if row.name == TRUTH:
                    scores |= delayed(self.judges, face, audio)
            features[row.name] = view.features
            if row.generated:
                heard = sounds[row.sound].samples if row.sound in sounds else None
                films[row.name] = self.store.film(row.name, number, truth.pictures, row.pictures, heard)
        return Clip(name, scores, features, None, films)

    def _paint(self, frames: Tensor, reference: Tensor, mels: Tensor) -> Tensor:
        return self.model.generate(frames, reference, mels, **self.how)

    def _score(self, row: Row, view: View, truth: View, opening: Tensor | None) -> dict[str, Tensor]:
        """What can be said of a row: with its own sound it should equal the truth, with another it should not."""
        found = {}
        if row.name != TRUTH:
            found |= texture(view, truth) if row.sound != "own" else self.judges.compare(view, truth)
        if row.name != TRUTH and row.sound == "driving":
            found |= self.judges.landmarks.score(view, truth)  # the paper's X-LMD: from the frames that were repainted
        if row.sound == "silence":
            found |= self.judges.leak.score(view)
        if opening is not None and opening.isfinite().all():
            found |= self.judges.opening.score(view, opening)
        return found

    def finish(self) -> Summary:
        """Gathers all clips, prints the table and writes tables and report.

        Raises:
            LipsyncError: Not one clip could be scored.
        """
        return gather(self.store, len(self.pairs), self.about)


def delayed(judges: Judges, face: Tensor, audio: Tensor) -> dict[str, dict[str, float]]:
    """Scores embeddings (W, E) of a true clip with the sound too late: a row for each of SHIFTS that leaves half."""
    return {f"{DELAYED}{late}": plain(judges.hear(face, audio, late)) for late in SHIFTS if 2 * late <= len(face)}
