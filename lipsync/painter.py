"""What a trained Diff2Lip does: repaint frames (Sec. 3.3), dub clips, and have that measured."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from lipsync.callbacks import log_evaluation
from lipsync.corpora.datamodule import Corpus
from lipsync.errors import LipsyncError
from lipsync.evaluation.evaluation import Evaluation
from lipsync.metrics.opening import MouthMeter, OpeningCorrelation
from lipsync.metrics.quality import PaintedQuality
from lipsync.randomness import normal
from lipsync.samplers import Denoiser, course, guided, named
from lipsync.side_by_side import side_by_side

NARROWEST = 96  # base width of a network below which its layers are too short for a core a frame


class Painter:
    """The half of `Diff2Lip` that needs no training: sampling, testing, predicting."""

    def on_test_start(self) -> None:
        """Builds the metrics, after the checkpoint is in: they are no part of it."""
        if self.hparams.evaluation is not None:
            self.evaluation = self.start_evaluation(self.trainer.datamodule)
            return
        self.meter = MouthMeter().to(self.device)
        scores = MetricCollection([OpeningCorrelation(), PaintedQuality()]).to(self.device)
        self.scores = torch.nn.ModuleDict({str(steps): scores.clone() for steps in self.hparams.sampling_steps})

    def start_evaluation(self, data: Corpus) -> Evaluation:
        """Begins an evaluation in the run's folder, or goes on with the one begun there."""
        if data.judged is None:
            raise LipsyncError("an evaluation judges pictures of one size for all models: set data.judged to 128")
        try:
            folder, origin = Path(self.trainer.default_root_dir), str(self.trainer.ckpt_path or "")
            if (folder / "checkpoints").is_dir():  # tested after a fit: not among its own files
                folder /= "test"
            return Evaluation(self, data.test, folder, data.judged, origin=origin, **self.hparams.evaluation)
        except TypeError as error:
            raise LipsyncError(f"model.evaluation: {error}") from error

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Evaluates a clip, or dubs it with its own and with another's sound, at each number of sampling steps."""
        if self.hparams.evaluation is not None:
            self.evaluation.judge(batch)
            return
        frames, reference = batch["frames"], batch["reference"]
        for steps, scores in self.scores.items():
            own = self.dub_clips(batch, "own_mels", int(steps))
            other = self.dub_clips(batch, "driving_mels", int(steps))
            opening = self.meter(other.flatten(0, 1)).view(other.shape[:2])
            scores["OpeningCorrelation"].update(opening, batch["opening_driving"])
            scores["PaintedQuality"].update(own, frames, reference)

    def on_test_epoch_end(self) -> None:
        if self.hparams.evaluation is not None:
            self.trainer.strategy.barrier()
            if self.trainer.is_global_zero:
                summary = self.evaluation.finish()
                named = {f"{row}/{name}": found.mean for row, cells in summary.items() for name, found in cells.items()}
                self.log_dict(named, rank_zero_only=True)
                log_evaluation(self.trainer.loggers, self.evaluation.store.folder)
            return
        for place, (steps, scores) in enumerate(self.scores.items()):
            results = scores.compute()
            self.log_dict({f"{steps}_steps/{name}": value for name, value in results.items()})
            if place == 0:
                self.log_dict(results)

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Dubs clips with another's sound: (B, N, 3, S, S) in [-1, 1]."""
        return self.dub_clips(batch, "driving_mels", self.hparams.sampling_steps[0])

    def dub_clips(self, batch: dict[str, Tensor], mels: str, steps: int) -> Tensor:
        """Generates clips (B, N, 3, S, S) of a batch of pairs for the sound named by `mels`."""
        clips = [
            self.generate(clip, still, sound, steps=steps)
            for clip, still, sound in zip(batch["frames"], batch["reference"], batch[mels], strict=True)
        ]
        return torch.stack(clips)

    @torch.no_grad()
    def generate(
        self,
        frames: Tensor,
        reference: Tensor,
        frame_mels: Tensor,
        noise: Tensor | None = None,
        steps: int | None = None,
        sampler: str = "ddim",
        guidance: float = 1.0,
        seed: int | None = None,
        precision: str | None = None,
    ) -> Tensor:
        """Repaints frames (Sec. 3.3).

        Args:
            frames: (N, 3, S, S) in [-1, 1]; only their upper half is looked at.
            reference: (1 or N, 3, S, S), another moment of the same person.
            frame_mels: (N, 80, 16), each frame's mel.
            noise: (1, 3, S, S), one map for a whole video: x_T and the lower half of `masked` alike. None: the seed's.
            steps: Sampling steps; None: the preset's, or the first of `sampling_steps`.
            sampler: Name of one of `samplers`, or of a preset.
            guidance: How far the sound's influence is overstated; 1 is as trained.
            seed: Of all that is drawn; None: the module's.
            precision: Of the network's products, one of `device.PRECISIONS`; None: as it is set.

        Returns:
            (N, 3, S, S) in [-1, 1]; the upper half is that of `frames`.

        Raises:
            LipsyncError: No such sampler.
        """
        noise = self.noise("sampling", 0, seed) if noise is None else noise
        steps, spacing = course(sampler, steps, self.hparams.sampling_steps[0], self.hparams.spacing)
        sample = partial(named(sampler), diffusion=self.diffusion, steps=steps, spacing=spacing)
        rounding = nullcontext()
        if precision is not None:
            rounding = torch.autocast(frames.device.type, getattr(torch, precision), precision != "float32")

        def paint(frames: Tensor, reference: Tensor, frame_mels: Tensor) -> Tensor:
            x_T = noise.expand_as(frames)
            masked = torch.where(self.mask > 0, x_T, frames)

            def hearing(mels: Tensor) -> Denoiser:
                audio = self.unet.embed_audio(mels)

                def denoise(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
                    with rounding:
                        output, interpolation = self.unet.denoise(x_t, t, masked, reference, audio).chunk(2, dim=1)
                    return self.diffusion.x_0(output, x_t, t, self.prediction), interpolation

                return denoise

            denoise = hearing(frame_mels)
            if guidance != 1:
                denoise = guided(denoise, hearing(torch.zeros_like(frame_mels)), guidance)
            painted = sample(denoise, x_T, draw=lambda place: self.noise("sampler", place, seed))
            return torch.where(self.mask > 0, painted.clamp(-1, 1), frames)

        batch = frames, reference.expand_as(frames), frame_mels
        exact = precision in (None, "float32") and not torch.is_autocast_enabled(frames.device.type)
        # In bfloat16 each part would round all weights anew.
        if frames.device.type == "cpu" and exact and self.unet.channels >= NARROWEST:
            return side_by_side(paint, *batch)
        return paint(*batch)

    def noise(self, stream: str, place: int, seed: int | None = None) -> Tensor:
        """Draws a map (1, 3, S, S) that is the same for all frames, so that what it paints does not flicker."""
        index = torch.full((1,), place, device=self.device)  # made there: the host waits for nothing
        return normal(self.hparams.seed if seed is None else seed, stream, index, (3, self.size, self.size))
