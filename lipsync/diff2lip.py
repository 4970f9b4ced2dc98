"""Diff2Lip (arXiv 2308.09716) as a LightningModule: the diffusion UNet and the frozen SyncNet expert in its loss."""

import torch
from lightning import LightningModule
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torchmetrics import MetricCollection

from lipsync import checkpoints
from lipsync.contrast import cosines, negative_weights, two_way_accuracy
from lipsync.corpora.crop import RULES, mask
from lipsync.diffusion import PREDICTIONS, SPACINGS, Diffusion
from lipsync.errors import LipsyncError
from lipsync.expert import FrozenExpert
from lipsync.learning_rate import warm_up_then_decay
from lipsync.losses import clamp_straight_through, painted_mean, sync_loss
from lipsync.metrics.opening import MouthMeter, OpeningCorrelation
from lipsync.metrics.quality import PaintedQuality
from lipsync.networks.unet import UNet
from lipsync.randomness import integers, normal, uniform
from lipsync.samplers import Denoiser, guided, named

EXAMINED = 64  # windows that an expert is tried on before training
# Weights of eq. 9, as its authors gave them; the variational term is the hybrid loss's, 0.001 * T = 1 at T = 1000.
PAPER_WEIGHTS = {"simple": 1.0, "vb": 1.0, "l2": 1.0, "sync": 0.1}


class Diff2Lip(checkpoints.SafeLoading, LightningModule):
    """Repaints the lower half of a face to match speech.

    Args:
        size: Side S of the square pictures.
        unet: Arguments of `networks.unet.UNet` other than the size.
        prediction: What the network's first three channels mean: `eps` (the paper), `v` or `x_0`.
        timesteps: Length of the diffusion.
        loss_weights: Weights of eq. 9's terms, over the paper's: simple, vb, l2, sync.
        expert: Name of a shipped expert or path of a trained one; without one the sync term is off.
        expert_bar: Two-way accuracy on the corpus at hand below which an expert is refused; 0 takes any.
        sync_ramp: Steps over which the sync term's weight rises from zero; at full weight from the start it explodes.
        sync_against_real: Count only what a window falls behind its real frames: no pushing beyond them.
        sync_by_real: Weigh each window by the expert's cosine for its real frames: what it does not hear, it does not
            teach.
        whole_every: Every how many windows one is trained with all its frames; the others give one frame each, and the
            expert hears only of the whole ones. 1 is the paper's; more shows a small batch more faces.
        audio_dropout: Share of windows trained without their sound, so that guidance works.
        lr: Learning rate of AdamW.
        weight_decay: Of AdamW.
        warmup: Steps over which the learning rate rises.
        decay: Share of the run, at its end, over which the learning rate falls to zero.
        seed: Together with a sample's index it decides t, noise and dropout.
        crop_rule: How faces are cut out (`corpora.crop`): `square`, `tight` or `voxceleb2`; dubbing does the same.
        spacing: Which time steps samplers visit: `leading` (the paper's 0, 40, ..., 960) or `trailing` (for few steps).
        sampling_steps: Numbers of DDIM steps that testing compares; the first is the one reported.
        init_from: Checkpoint whose weights training starts from, ours or a published one; its network must be this one.
    """

    def __init__(
        self,
        size: int = 128,
        unet: dict[str, int | float | list[int]] | None = None,
        prediction: str = "eps",
        timesteps: int = 1000,
        loss_weights: dict[str, float] | None = None,
        expert: str | None = None,
        expert_bar: float = 0.75,
        sync_ramp: int = 1000,
        sync_against_real: bool = False,
        sync_by_real: bool = False,
        whole_every: int = 1,
        audio_dropout: float = 0.1,
        lr: float = 1e-4,
        weight_decay: float = 0.0,
        warmup: int = 500,
        decay: float = 0.0,
        seed: int = 0,
        crop_rule: str = "square",
        spacing: str = "leading",
        sampling_steps: tuple[int, ...] = (25,),
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.loss_weights = PAPER_WEIGHTS | (loss_weights or {})
        if unknown := self.loss_weights.keys() - PAPER_WEIGHTS.keys():
            raise LipsyncError(f"loss_weights: no such term {sorted(unknown)}; there are {sorted(PAPER_WEIGHTS)}")
        if prediction not in PREDICTIONS:
            raise LipsyncError(f"prediction: {prediction!r} is none of {', '.join(PREDICTIONS)}")
        if spacing not in SPACINGS:
            raise LipsyncError(f"spacing: {spacing!r} is none of {', '.join(SPACINGS)}")
        self.size, self.crop_rule, self.prediction = size, crop_rule, prediction
        if crop_rule not in RULES:
            raise LipsyncError(f"crop_rule: {crop_rule!r} is none of {', '.join(RULES)}")
        try:
            self.unet = UNet(image_size=size, **(unet or {}))
        except TypeError as error:
            raise LipsyncError(f"unet: {error}") from error
        self.diffusion = Diffusion(timesteps)
        self.expert: FrozenExpert | None = None
        self.register_buffer("mask", mask(size), persistent=False)

    def setup(self, stage: str) -> None:
        """Reads the expert, which only training needs; no other stage asks for its file."""
        data = getattr(self.trainer, "datamodule", None)
        stored = getattr(data, "crop_rule", self.crop_rule)
        if stored != self.crop_rule:
            raise LipsyncError(f"the model's crop_rule is {self.crop_rule}, the data's {stored}: set data.crop_rule")
        if stage != "fit" or not self.loss_weights["sync"]:
            return
        if self.hparams.expert is None:
            rank_zero_info("No expert: L_sync is off. Train one on this corpus with experiments/syncnet.yaml.")
            return
        expert = checkpoints.load_expert(self.hparams.expert)
        if expert.crop_rule != self.crop_rule:
            raise LipsyncError(f"the model's crop_rule is {self.crop_rule}, its expert's {expert.crop_rule}")
        frames = getattr(data, "frames", expert.syncnet.frames)
        if expert.syncnet.frames != frames:
            raise LipsyncError(f"the expert looks at {expert.syncnet.frames} frames, the data's windows have {frames}")
        self.expert = FrozenExpert(expert.syncnet).to(self.device)

    def on_fit_start(self) -> None:
        if self.hparams.init_from is not None and self.trainer.ckpt_path is None:  # a resumed run has its own
            checkpoints.take_weights(self, self.hparams.init_from)

    def on_train_start(self) -> None:
        """Refuses an expert that knows nothing of this corpus: its gradient would be noise."""
        if self.expert is None or self.hparams.expert_bar <= 0 or self.trainer.datamodule is None:
            return
        windows = self.trainer.datamodule.sample_windows(EXAMINED, self.device)
        places = [windows[name] for name in ("clip", "speaker", "first_frame")]
        with torch.no_grad():
            cosine = cosines(*self.expert(windows["mel"], windows["frames"]))
        accuracy = float(two_way_accuracy(cosine, negative_weights(*places, windows["frames"].shape[1]) > 0))
        if not accuracy >= self.hparams.expert_bar:
            raise LipsyncError(
                f"the expert {self.hparams.expert} tells own from foreign sound in {accuracy:.0%} of this corpus's "
                f"windows, fewer than {self.hparams.expert_bar:.0%}: train one on it with experiments/syncnet.yaml, or "
                "lower model.expert_bar"
            )

    def on_test_start(self) -> None:
        """Builds the metrics, after the checkpoint is in: they are no part of it."""
        self.meter = MouthMeter().to(self.device)
        scores = MetricCollection([OpeningCorrelation(), PaintedQuality()]).to(self.device)
        self.scores = torch.nn.ModuleDict({str(steps): scores.clone() for steps in self.hparams.sampling_steps})

    def objective(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Computes the terms of eq. 9 for a batch of windows: name -> scalar; `loss` is their weighted sum."""
        frames, index, seed = batch["frames"], batch["index"], self.hparams.seed
        B, T = frames.shape[:2]
        whole, kept = self.thin(index, T)
        # One t a window: "essential" for the expert and the critic, which look at whole windows (Sec. 3.2).
        t = integers(seed, "t", index, self.diffusion.timesteps)[:, None].expand(B, T)[kept]
        eps = normal(seed, "eps", index, frames.shape[1:])[kept]
        # The noise inside `masked` is not eps: sharing them would hand the network its target.
        hidden = normal(seed, "masked", index, frames.shape[1:])[kept]
        heard = uniform(seed, "audio_dropout", index) >= self.hparams.audio_dropout

        x_0 = frames[kept]
        reference = batch["reference"].expand_as(frames)[kept]
        mels = (batch["frame_mels"] * heard[:, None, None, None])[kept]
        masked = torch.where(self.mask > 0, hidden, x_0)
        x_t = self.diffusion.q_sample(x_0, t, eps)

        output, variance = self.unet(x_t, t, masked, reference, mels).chunk(2, dim=1)
        target = {"eps": eps, "v": self.diffusion.v(x_0, t, eps), "x_0": x_0}[self.prediction]
        estimate = clamp_straight_through(self.diffusion.x_0(output, x_t, t, self.prediction))
        estimate = torch.where(self.mask > 0, estimate, x_0)
        # With eps or v the estimate is only as good as alpha_bar_t: weigh the terms in x_0 by it.
        alpha_bar = self.diffusion.gather("alpha_bar", t)
        trust = torch.ones_like(alpha_bar) if self.prediction == "x_0" else alpha_bar
        vb = self.diffusion.variational_term(output.detach(), variance, x_0, x_t, t, self.prediction, self.mask)

        terms = {
            "simple": painted_mean((output - target) ** 2, self.mask).mean(),
            "vb": vb.mean(),
            "l2": (trust * painted_mean((estimate - x_0) ** 2, self.mask)).mean(),
        }
        if self.expert is not None:
            window = whole[:, None].expand(B, T)[kept]
            mel = batch["mel"][whole]
            verdict = sync_loss(*self.expert(mel, estimate[window].unflatten(0, (-1, T))))
            weight = trust[window].view(-1, T)[:, 0] * heard[whole]
            if self.hparams.sync_against_real or self.hparams.sync_by_real:
                with torch.no_grad():
                    real = sync_loss(*self.expert(mel, frames[whole]))
                if self.hparams.sync_against_real:
                    verdict = (verdict - real).clamp_min(0)
                if self.hparams.sync_by_real:
                    weight = weight * (-real).exp()
            terms["sync"] = (weight * verdict).sum() / max(len(verdict), 1)
        weights = self.loss_weights | {"sync": self.loss_weights["sync"] * self.ramp()}
        return terms | {"loss": sum(weights[name] * term for name, term in terms.items())}

    def thin(self, index: Tensor, T: int) -> tuple[Tensor, Tensor]:
        """Chooses, by index, the windows that are trained whole, and the frames (B, T) of all windows that are kept."""
        every = self.hparams.whole_every if self.training else 1
        whole = index % every == 0
        one = integers(self.hparams.seed, "frame", index, T)
        return whole, whole[:, None] | (torch.arange(T, device=index.device) == one[:, None])

    def ramp(self) -> float:
        """Share of the sync term's weight at this step; validation, which compares steps, takes the whole."""
        risen = not self.training or self.global_step >= self.hparams.sync_ramp
        return 1.0 if risen else self.global_step / self.hparams.sync_ramp

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        terms = self.objective(batch)
        self.log_dict({f"train/{name}": term for name, term in terms.items()})
        self.log("loss", terms["loss"], prog_bar=True, logger=False)
        return terms["loss"]

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        terms = self.objective(batch)
        named = {f"val/{name}": term for name, term in terms.items()}
        self.log_dict(named, sync_dist=True, batch_size=len(batch["index"]))

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Dubs every clip with its own and with another clip's sound, at each number of sampling steps."""
        frames, reference = batch["frames"], batch["reference"]
        for steps, scores in self.scores.items():
            own = self.dub_clips(batch, "own_mels", int(steps))
            other = self.dub_clips(batch, "driving_mels", int(steps))
            opening = self.meter(other.flatten(0, 1)).view(other.shape[:2])
            scores["OpeningCorrelation"].update(opening, batch["opening_driving"])
            scores["PaintedQuality"].update(own, frames, reference)

    def on_test_epoch_end(self) -> None:
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
    ) -> Tensor:
        """Repaints frames (Sec. 3.3).

        Args:
            frames: (N, 3, S, S) in [-1, 1]; only their upper half is looked at.
            reference: (1 or N, 3, S, S), another moment of the same person.
            frame_mels: (N, 80, 16), each frame's mel.
            noise: (1, 3, S, S), one map for a whole video: x_T and the lower half of `masked` alike. None: the seed's.
            steps: Sampling steps; None: the first of `sampling_steps`.
            sampler: Name of one of `samplers`.
            guidance: How far the sound's influence is overstated; 1 is as trained.
            seed: Of all that is drawn; None: the module's.

        Returns:
            (N, 3, S, S) in [-1, 1]; the upper half is that of `frames`.

        Raises:
            LipsyncError: No such sampler.
        """
        noise = self.noise("sampling", 0, seed) if noise is None else noise
        reference, noise = reference.expand_as(frames), noise.expand_as(frames)
        masked = torch.where(self.mask > 0, noise, frames)

        def hearing(mels: Tensor) -> Denoiser:
            audio = self.unet.embed_audio(mels)

            def denoise(x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
                output, interpolation = self.unet.denoise(x_t, t, masked, reference, audio).chunk(2, dim=1)
                return self.diffusion.x_0(output, x_t, t, self.prediction), interpolation

            return denoise

        denoise = hearing(frame_mels)
        if guidance != 1:
            denoise = guided(denoise, hearing(torch.zeros_like(frame_mels)), guidance)
        painted = named(sampler)(
            denoise,
            noise,
            self.diffusion,
            self.hparams.sampling_steps[0] if steps is None else steps,
            spacing=self.hparams.spacing,
            draw=lambda place: self.noise("sampler", place, seed),
        )
        return torch.where(self.mask > 0, painted.clamp(-1, 1), frames)

    def noise(self, stream: str, place: int, seed: int | None = None) -> Tensor:
        """Draws a map (1, 3, S, S) that is the same for all frames, so that what it paints does not flicker."""
        index = torch.tensor([place], device=self.device)
        return normal(self.hparams.seed if seed is None else seed, stream, index, (3, self.size, self.size))

    def configure_optimizers(self) -> dict:
        weights = self.unet.parameters()
        optimizer = torch.optim.AdamW(weights, lr=self.hparams.lr, weight_decay=self.hparams.weight_decay)
        return warm_up_then_decay(optimizer, self.hparams.warmup, self.hparams.decay, self.trainer.max_steps)
