"""Diff2Lip (arXiv 2308.09716) as a LightningModule: diffusion UNet, frozen SyncNet expert, temporal discriminator."""

import torch
from lightning import LightningModule
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lipsync import checkpoints
from lipsync.adversary import Adversary
from lipsync.corpora.crop import RULES, mask
from lipsync.diffusion import PREDICTIONS, SPACINGS, Diffusion
from lipsync.errors import LipsyncError, check_choice, check_keys
from lipsync.evaluation.evaluation import Evaluation
from lipsync.expert import FrozenExpert, examine
from lipsync.learning_rate import obey, warm_up_then_decay
from lipsync.loss_by_timestep import LossByTimestep
from lipsync.networks.unet import UNet
from lipsync.objective import Objective
from lipsync.painter import Painter
from lipsync.perceptual import LPIPS, MeshDistance
from lipsync.schedule import Schedule

EXAMINED = 64  # windows that an expert is tried on before training
BETAS_OF_DISCRIMINATOR = (0.5, 0.9)  # a long memory of a moving target is wrong


class Diff2Lip(checkpoints.SafeLoading, Objective, Painter, LightningModule):
    """Repaints the lower half of a face to match speech.

    Args:
        size: Side S of the square pictures.
        unet: Arguments of `networks.unet.UNet` other than the size.
        prediction: What the network's first three channels mean: `eps` (the paper), `v` or `x_0`.
        timesteps: Length of the diffusion.
        loss_weights: Weights of eq. 9's terms, over the paper's (`schedule`): simple, vb, l2, sync, lpips, mesh, gan.
        schedule: By term, first step and steps of the rise from there, over `schedule`'s two stages.
        literal: As the paper has it: terms in x_0 neither weighed by alpha_bar_t nor on a clamped estimate.
        share_noise: Draw one noise for all frames of a window, as sampling does.
        expert: Name of a shipped expert or path of a trained one; without one the sync term is off.
        expert_bar: Two-way accuracy on the corpus at hand below which an expert is refused; 0 takes any.
        sync_against_real: Count only what a window falls behind its real frames: no pushing beyond them.
        sync_by_real: Weigh each window by the expert's cosine for its real frames: what it does not hear, it does not
            teach.
        lpips_net: Whose features LPIPS compares: `alex` (the authors' code) or `vgg` (their paper).
        lpips_weights: File of torchvision's weights of it, or `download`; None takes those of an earlier download.
        discriminator: Arguments of `adversary.Adversary` other than the frames.
        frames: T, frames of the windows that the discriminator sees.
        whole_every: Every how many windows one is trained with all its frames; the others give one frame each, and
            expert and discriminator see only the whole ones. 1 is the paper's; more shows a small batch more faces.
        audio_dropout: Share of windows trained without their sound, so that guidance works.
        frozen: Beginnings of names of the UNet's weights that are not to change (`input_blocks`, `time_embed.0`).
        lr: Learning rate of AdamW.
        discriminator_lr: That of the discriminator, which warms up when its term starts.
        weight_decay: Of AdamW.
        warmup: Steps over which the learning rate rises.
        decay: Share of the run, at its end, over which the learning rate falls to zero.
        seed: Together with a sample's index it decides t, noise and dropout.
        crop_rule: How faces are cut out (`corpora.crop`): `square`, `tight` or `voxceleb2`; dubbing does the same.
        spacing: Which time steps samplers visit: `leading` (the paper's 0, 40, ..., 960), `trailing` (for few steps) or
            `quadratic`.
        sampling_steps: Numbers of DDIM steps that testing compares; the first is the one reported.
        evaluation: Arguments of `evaluation.evaluation.Evaluation`, to test by protocols; None tests in short.
        init_from: Checkpoint whose weights training starts from, ours or a published one; its network must be this one.
        compiled: Run the UNet through torch.compile in training.
        channels_last: Keep the UNet's tensors in that order in training; some networks gain by it, others lose.
        gradients_every: Steps between two logs of the gradient norm of every term at the UNet's last layer, and of
            L_simple by time step; 0: never.
    """

    def __init__(
        self,
        size: int = 128,
        unet: dict[str, int | float | bool | list[int]] | None = None,
        prediction: str = "eps",
        timesteps: int = 1000,
        loss_weights: dict[str, float] | None = None,
        schedule: dict[str, list[int]] | None = None,
        literal: bool = False,
        share_noise: bool = False,
        expert: str | None = None,
        expert_bar: float = 0.75,
        sync_against_real: bool = False,
        sync_by_real: bool = False,
        lpips_net: str = "alex",
        lpips_weights: str | None = None,
        discriminator: dict[str, bool | int | float | str] | None = None,
        frames: int = 5,
        whole_every: int = 1,
        audio_dropout: float = 0.1,
        frozen: tuple[str, ...] = (),
        lr: float = 1e-4,
        discriminator_lr: float = 1e-4,
        weight_decay: float = 0.0,
        warmup: int = 500,
        decay: float = 0.0,
        seed: int = 0,
        crop_rule: str = "square",
        spacing: str = "leading",
        sampling_steps: tuple[int, ...] = (25,),
        evaluation: dict[str, int | float | list[str] | str | None] | None = None,
        init_from: str | None = None,
        compiled: bool = False,
        channels_last: bool = False,
        gradients_every: int = 100,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.schedule = Schedule(loss_weights, schedule)
        check_keys("evaluation", Evaluation, evaluation or {})  # now, not after a fit
        check_choice("prediction", prediction, PREDICTIONS)
        check_choice("spacing", spacing, SPACINGS)
        self.size, self.crop_rule, self.prediction = size, crop_rule, prediction
        check_choice("crop_rule", crop_rule, RULES)
        self.unet = self._part("unet", UNet, image_size=size, **(unet or {}))
        self.diffusion = Diffusion(timesteps)
        self.by_timestep = LossByTimestep(timesteps)
        self.discriminator: Adversary | None = None
        if self.schedule.wants("gan"):
            self.discriminator = self._part("discriminator", Adversary, frames=frames, **(discriminator or {}))
        # Read when training starts: a checkpoint loads on a machine that has neither file.
        self.expert: FrozenExpert | None = None
        self.perceptual = torch.nn.ModuleDict()
        self.register_buffer("mask", mask(size), persistent=False)
        for beginning in frozen:
            named = [weight for name, weight in self.unet.named_parameters() if name.startswith(beginning)]
            if not named:
                raise LipsyncError(f"frozen: the UNet has no weights whose names begin with {beginning!r}")
            for weight in named:
                weight.requires_grad_(False)

    @staticmethod
    def _part(argument: str, kind: type, **arguments: object) -> torch.nn.Module:
        check_keys(argument, kind, arguments)
        try:
            return kind(**arguments)
        except TypeError as error:
            raise LipsyncError(f"{argument}: {error}") from error

    def setup(self, stage: str) -> None:
        """Reads the expert and the perceptual network, which only training needs; no other stage asks for files."""
        data = getattr(self.trainer, "datamodule", None)
        stored = getattr(data, "crop_rule", self.crop_rule)
        if stored != self.crop_rule:
            raise LipsyncError(f"the model's crop_rule is {self.crop_rule}, the data's {stored}: set data.crop_rule")
        if stage != "fit":
            return
        frames = getattr(data, "frames", self.hparams.frames)
        if self.discriminator is not None and frames != self.hparams.frames:
            raise LipsyncError(f"the discriminator looks at {self.hparams.frames} frames, the data's windows: {frames}")
        if self.schedule.wants("sync"):
            self._read_expert(frames)
        if self.schedule.wants("lpips"):
            self.perceptual["lpips"] = LPIPS(self.hparams.lpips_net, self.hparams.lpips_weights)
        if self.schedule.wants("mesh"):
            self.perceptual["mesh"] = MeshDistance()
        # Lightning reads a checkpoint into the module before it gives it its precision: float64 would be rounded.
        self.trainer.precision_plugin.convert_module(self)
        if self.hparams.compiled:
            self.unet.compile()
        if self.hparams.channels_last:
            self.unet.to(memory_format=torch.channels_last)

    def _read_expert(self, frames: int) -> None:
        if self.hparams.expert is None:
            rank_zero_info("No expert: L_sync is off. Train one on this corpus with experiments/syncnet.yaml.")
            return
        expert = checkpoints.load_expert(self.hparams.expert)
        if expert.crop_rule != self.crop_rule:
            raise LipsyncError(f"the model's crop_rule is {self.crop_rule}, its expert's {expert.crop_rule}")
        if expert.syncnet.frames != frames:
            raise LipsyncError(f"the expert looks at {expert.syncnet.frames} frames, the data's windows have {frames}")
        self.expert = FrozenExpert(expert.syncnet)
        # What never changes need not be sent round before every step (a name that DDP knows).
        self._ddp_params_and_buffers_to_ignore = [f"expert.{name}" for name, _ in self.expert.named_buffers()]

    def on_fit_start(self) -> None:
        if self.hparams.init_from is not None and self.trainer.ckpt_path is None:  # a resumed run has its own
            checkpoints.take_weights(self, self.hparams.init_from)

    def on_train_start(self) -> None:
        obey(self.optimizers(False), self.lr_schedulers(), self._rates(), self.hparams.weight_decay)
        self.question_expert()

    def question_expert(self) -> None:
        """Refuses an expert that knows nothing of this corpus: its gradient would be noise."""
        if self.expert is None or self.hparams.expert_bar <= 0 or self.trainer.datamodule is None:
            return
        windows = self.trainer.datamodule.sample_windows(EXAMINED, self.device)
        accuracy = examine(self.expert, windows)
        if not accuracy >= self.hparams.expert_bar:
            raise LipsyncError(
                f"the expert {self.hparams.expert} tells own from foreign sound in {accuracy:.0%} of this corpus's "
                f"windows, fewer than {self.hparams.expert_bar:.0%}: train one on it with experiments/syncnet.yaml, or "
                "lower model.expert_bar"
            )

    def on_train_batch_start(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        # Dropout draws from the global generator, which a resumed run finds elsewhere.
        if self.unet.dropout:
            part = batch_idx % self.trainer.accumulate_grad_batches
            place = (self.global_step * self.trainer.accumulate_grad_batches + part) * self.trainer.world_size
            torch.manual_seed(self.hparams.seed + place + self.global_rank)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        weights = self.schedule.at(self.global_step)
        terms = self.objective(batch, weights)
        means = torch.stack([term.detach() for term in terms.values()])
        if self.trainer.log_every_n_steps and (self.global_step + 1) % self.trainer.log_every_n_steps == 0:
            # Of all processes where they are written down, in one message: each waits for the others.
            means = self.trainer.strategy.reduce(means, reduce_op="mean")
        self.log_dict({f"train/{name}": mean for name, mean in zip(terms, means, strict=True)})
        self.log("loss", terms["loss"], prog_bar=True, logger=False)
        # A last layer that is frozen has none.
        every = self.hparams.gradients_every
        if every and self.global_step % every == 0 and self.unet.out[-1].weight.requires_grad:
            self.log_dict(self.gradients({name: w * terms[name] for name, w in weights.items() if name in terms}))
        if self.discriminator is not None and "gan" not in weights:
            # DDP waits for every weight's gradient; `on_before_optimizer_step` takes it away again.
            return terms["loss"] + 0 * sum(weight.sum() for weight in self.discriminator.parameters())
        return terms["loss"]

    def gradients(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Measures the norm of each weighted term's gradient at the UNet's last layer: which one leads?"""
        last = self.unet.out[-1].weight
        found = {}
        for name, term in terms.items():
            (slope,) = torch.autograd.grad(term, last, retain_graph=True)
            found[f"gradient/{name}"] = slope.norm()
        return found

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        every = self.hparams.gradients_every
        if every and (self.global_step + 1) % every == 0:  # here, once a step, however many batches it has
            gathered = self.trainer.strategy.reduce(self.by_timestep.take(), reduce_op="sum")
            self.log_dict({f"train/simple_{t}": mean for t, mean in self.by_timestep.means(gathered).items()})
        if self.discriminator is None:
            return
        if self.global_step < self.schedule.start("gan"):
            for weight in self.discriminator.parameters():
                weight.grad = None  # no step, no decay, and Adam's averages begin when it does
        elif any(weight.grad is not None for weight in self.discriminator.parameters()):  # or the step is skipped
            self.discriminator.network.renew()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips each network by its own norm."""
        for group in optimizer.param_groups if gradient_clip_val else ():
            if gradient_clip_algorithm == "value":
                torch.nn.utils.clip_grad_value_(group["params"], gradient_clip_val)
            else:
                torch.nn.utils.clip_grad_norm_(group["params"], gradient_clip_val)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        # The discriminator moves, so that its verdicts of two steps cannot be compared.
        weights = {name: weight for name, weight in self.schedule.at(None).items() if name != "gan"}
        terms = self.objective(batch, weights)
        if "sync" in terms:
            terms["sync_loss"] = terms.pop("sync")  # `val/sync` is how well dubbed clips do (`SyncValidation`)
        named = {f"val/{name}": term for name, term in terms.items()}
        self.log_dict(named, sync_dist=True, batch_size=len(batch["index"]))

    def _rates(self) -> list[float]:
        return [self.hparams.lr] + [self.hparams.discriminator_lr] * (self.discriminator is not None)

    def configure_optimizers(self) -> dict:
        trained = [weight for weight in self.unet.parameters() if weight.requires_grad]
        groups, starts = [{"name": "unet", "params": trained}], [0]
        if self.discriminator is not None:
            weights = list(self.discriminator.parameters())
            groups.append({"name": "discriminator", "params": weights, "betas": BETAS_OF_DISCRIMINATOR})
            starts.append(self.schedule.start("gan"))
        for group, rate in zip(groups, self._rates(), strict=True):
            group["lr"] = rate
        optimizer = torch.optim.AdamW(groups, weight_decay=self.hparams.weight_decay)
        return warm_up_then_decay(optimizer, self.hparams.warmup, self.hparams.decay, self.trainer.max_steps, starts)
