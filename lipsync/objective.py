"""What training minimises: a batch noised, guessed by the UNet, and the terms of eq. 9 (arXiv 2308.09716)."""

from typing import NamedTuple

import torch
from torch import Tensor

from lipsync.losses import clamp_straight_through, painted_mean, sync_term
from lipsync.randomness import integers, normal, uniform
from lipsync.thinning import Thinned, thin


class Guess(NamedTuple):
    """What the UNet made of a batch, of its K frames that are trained.

    Attributes:
        output, target: What it predicted, and what that should be (K, 3, S, S).
        variance: Its other three channels (K, 3, S, S).
        x_0, x_t: Clean frames and diffusion states (K, 3, S, S).
        estimate: One-step estimate of x_0, the frame's own upper half in it (K, 3, S, S).
        t: Time steps (K,).
        trust: What terms in x_0 are weighed by (K,).
        kept: Which frames these are.
        heard: Which windows (B,) were given their sound.
    """

    output: Tensor
    target: Tensor
    variance: Tensor
    x_0: Tensor
    x_t: Tensor
    estimate: Tensor
    t: Tensor
    trust: Tensor
    kept: Thinned
    heard: Tensor


class Objective:
    """The half of `Diff2Lip` that training needs: what a batch of windows costs, term by term."""

    def guess(self, batch: dict[str, Tensor]) -> Guess:
        """Noises a batch of windows and lets the UNet guess what they were (Sec. 3.1)."""
        frames, index, seed = batch["frames"], batch["index"], self.hparams.seed
        B, T = frames.shape[:2]
        kept = thin(index, T, self.every(), seed)
        at = kept.window, kept.place
        # One t a window: "essential" for the expert and the critic, which look at whole windows (Sec. 3.2).
        t = integers(seed, "t", index, self.diffusion.timesteps)[:, None].expand(B, T)[at]
        drawn = frames.shape[2:] if self.hparams.share_noise else frames.shape[1:]
        # The noise inside `masked` is not eps: sharing them would hand the network its target.
        eps, hidden = (
            normal(seed, stream, index, drawn).view(B, -1, *frames.shape[2:]).expand_as(frames)[at].to(frames)
            for stream in ("eps", "masked")
        )
        heard = uniform(seed, "audio_dropout", index) >= self.hparams.audio_dropout

        x_0 = frames[at]
        reference = batch["reference"].expand_as(frames)[at]
        mels = (batch["frame_mels"] * heard[:, None, None, None])[at]
        masked = torch.where(self.mask > 0, hidden, x_0)
        x_t = self.diffusion.q_sample(x_0, t, eps)

        output, variance = self.unet(x_t, t, masked, reference, mels).chunk(2, dim=1)
        target = {"eps": eps, "v": self.diffusion.v(x_0, t, eps), "x_0": x_0}[self.prediction]
        estimate = self.diffusion.x_0(output, x_t, t, self.prediction)
        # With eps or v the estimate is only as good as alpha_bar_t: weigh the terms in x_0 by it.
        trust = self.diffusion.gather("alpha_bar", t, x_0.dtype)
        if self.hparams.literal or self.prediction == "x_0":
            trust = torch.ones_like(trust)
        if not self.hparams.literal:
            estimate = clamp_straight_through(estimate)
        estimate = torch.where(self.mask > 0, estimate, x_0)
        kept = kept._replace(share=kept.share.to(frames))
        return Guess(output, target, variance, x_0, x_t, estimate, t, trust, kept, heard)

    def objective(self, batch: dict[str, Tensor], weights: dict[str, float]) -> dict[str, Tensor]:
        """Computes those terms of eq. 9 that have a weight, for a batch of windows.

        Returns:
            Name -> scalar, with `loss`, their weighted sum. Where `gan` counts, also `discriminator`, the other side's
            loss, which is in the sum, too, and its `discriminator_accuracy`.
        """
        g = self.guess(batch)
        terms = {}
        if "simple" in weights:
            errors = painted_mean((g.output - g.target) ** 2, self.mask)
            terms["simple"] = (g.kept.share * errors).sum()
            if self.training:
                self.by_timestep.add(errors, g.t)
        if "vb" in weights:
            given = (g.output.detach(), g.variance, g.x_0, g.x_t, g.t, self.prediction, self.mask)
            terms["vb"] = (g.kept.share * self.diffusion.variational_term(*given)).sum()
        if "l2" in weights:
            terms["l2"] = (g.kept.share * g.trust * painted_mean((g.estimate - g.x_0) ** 2, self.mask)).sum()
        for name in weights.keys() & self.perceptual.keys():
            terms[name] = (g.kept.share * g.trust * self.perceptual[name](g.estimate, g.x_0)).sum()
        terms |= self.judge(batch, g, weights)
        loss = sum(weight * terms[name] for name, weight in weights.items() if name in terms)
        return terms | {"loss": loss + terms.get("discriminator", 0)}

    def judge(self, batch: dict[str, Tensor], g: Guess, weights: dict[str, float]) -> dict[str, Tensor]:
        """Computes the terms of those who look at whole windows: the expert's and the discriminator's (Sec. 3.2)."""
        T, terms = batch["frames"].shape[1], {}
        fake = g.estimate[g.kept.complete].unflatten(0, (-1, T))
        real = g.x_0[g.kept.complete].unflatten(0, (-1, T))
        trust = g.trust[g.kept.complete].view(-1, T)[:, 0]
        # How many are to be expected, not how many there are: so processes and half batches add up to one large batch.
        expected = len(batch["frames"]) / self.every()
        if self.expert is not None and "sync" in weights:
            compared = self.hparams.sync_against_real, self.hparams.sync_by_real
            verdict = sync_term(self.expert, batch["mel"][g.kept.whole], fake, real, *compared)
            terms["sync"] = (trust * g.heard[g.kept.whole] * verdict).sum() / expected
        if self.discriminator is not None and "gan" in weights:
            place = self.hparams.seed, batch["index"][g.kept.whole]
            real, fake = self.discriminator.view(real, *place), self.discriminator.view(fake, *place)
            loss, right = self.discriminator.judging(real, fake)
            terms["gan"] = (trust * self.discriminator.passing(fake)).sum() / expected
            terms["discriminator"] = (trust * loss).sum() / expected
            terms["discriminator_accuracy"] = right.sum() / expected
        return terms

    def every(self) -> int:
        """Every how many windows one is whole; all are where steps are compared."""
        return self.hparams.whole_every if self.training else 1
