"""The objective with networks whose answer is known, its randomness, and what a checkpoint holds."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from lipsync import Diff2Lip, LipsyncError, load, painter
from lipsync.expert import FrozenExpert
from lipsync.networks.syncnet import SyncNet
from lipsync.perceptual import LPIPS, MeshDistance

TINY = {
    "fold": 2,
    "channels": 8,
    "channel_mult": [1, 2],
    "num_res_blocks": 1,
    "attention_resolutions": [8],
    "head_channels": 8,
    "groups": 4,
    "audio_channels": [8, 8],
}


def windows(count: int = 2, size: int = 32) -> dict[str, Tensor]:
    """A batch with smooth pictures in [-1, 1]."""
    coarse = torch.rand(count, 5 * 3, 4, 4) * 2 - 1
    frames = nn.functional.interpolate(coarse, size, mode="bilinear").view(count, 5, 3, size, size)
    return {
        "frames": frames,
        "reference": frames[:, :1].flip(0),
        "frame_mels": torch.rand(count, 5, 80, 16) * 8 - 4,
        "mel": torch.rand(count, 1, 80, 16) * 8 - 4,
        "index": torch.arange(count) + 11,
    }


ALONE = dict.fromkeys(("simple", "vb", "l2", "sync", "lpips", "mesh", "gan"), 0.0)


def tiny(**arguments: object) -> Diff2Lip:
    base = {"size": 32, "unet": TINY, "audio_dropout": 0.0, "loss_weights": {"lpips": 0.0, "gan": 0.0}}
    return Diff2Lip(**base | arguments)


def terms_of(model: Diff2Lip, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The terms with their weights at the end of the schedule."""
    return model.objective(batch, model.schedule.at(None))


class Oracle(nn.Module):
    """Stands for the UNet: remembers what it was given and answers with `answer(x_t, t)`."""

    channels = 8

    def __init__(self, answer: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x_t: Tensor, t: Tensor, masked: Tensor, reference: Tensor, mels: Tensor) -> Tensor:
        self.x_t, self.t, self.masked, self.reference, self.mels = x_t, t, masked, reference, mels
        return torch.cat((self.answer(x_t, t), torch.zeros_like(x_t)), dim=1)

    def embed_audio(self, mels: Tensor) -> Tensor:
        return mels

    denoise = forward


@pytest.mark.parametrize("prediction", ["eps", "v", "x_0"])
def test_a_perfect_network_has_no_loss(prediction: str) -> None:
    batch, model = windows(), tiny(prediction=prediction)
    x_0 = batch["frames"].flatten(0, 1)

    def answer(x_t: Tensor, t: Tensor) -> Tensor:
        eps = model.diffusion.eps(x_0, x_t, t)
        return {"eps": eps, "v": model.diffusion.v(x_0, t, eps), "x_0": x_0}[prediction]

    model.unet = Oracle(answer)
    terms = terms_of(model, batch)
    assert terms["simple"] < 1e-6
    assert terms["l2"] < 1e-6


def test_a_constant_error_is_counted_on_the_painted_half_only() -> None:
    batch, model = windows(), tiny(prediction="x_0", loss_weights=ALONE | {"simple": 1.0, "l2": 2.0})
    x_0 = batch["frames"].flatten(0, 1) * 0.5
    batch["frames"] = batch["frames"] * 0.5
    error = torch.where(model.mask > 0, 0.3, 7.0)
    model.unet = Oracle(lambda x_t, t: x_0 + error)
    terms = terms_of(model, batch)
    assert terms["simple"].item() == pytest.approx(0.09, rel=1e-4)
    assert terms["l2"].item() == pytest.approx(0.09, rel=1e-4)
    assert terms["loss"].item() == pytest.approx(0.09 + 2 * 0.09, rel=1e-4)


def test_the_noise_in_masked_is_not_eps() -> None:
    """Sharing them would hand the network its target: the loss would fall and nothing be learned."""
    batch, model = windows(count=8), tiny()
    model.unet = Oracle(lambda x_t, t: x_t)
    terms_of(model, batch)
    x_0, lower = batch["frames"].flatten(0, 1), model.mask.expand_as(model.unet.masked) > 0
    eps = model.diffusion.eps(x_0, model.unet.x_t, model.unet.t)[lower]
    hidden = model.unet.masked[lower]
    assert hidden.std().item() == pytest.approx(1, abs=0.02)
    assert abs(torch.corrcoef(torch.stack((eps, hidden)))[0, 1]) < 5 / len(eps) ** 0.5
    assert torch.equal(model.unet.masked[~lower], x_0[~lower])


def test_one_t_a_window_and_the_reference_is_never_the_answer() -> None:
    batch, model = windows(count=4), tiny()
    model.unet = Oracle(lambda x_t, t: x_t)
    terms_of(model, batch)
    t = model.unet.t.view(4, 5)
    assert (t == t[:, :1]).all()
    assert len(t[:, 0].unique()) > 1
    assert torch.equal(model.unet.reference.view(4, 5, 3, 32, 32)[:, 3], batch["reference"][:, 0])


def test_noise_follows_the_index_not_the_place_in_the_batch() -> None:
    batch, model = windows(count=3), tiny()
    swapped = {key: value[[2, 0, 1]] for key, value in batch.items()}
    alone = {key: value[1:2] for key, value in batch.items()}
    model.unet = Oracle(lambda x_t, t: x_t)
    seen = []
    for b in (batch, swapped, alone):
        terms_of(model, b)
        seen.append(model.unet.x_t.view(-1, 5, 3, 32, 32))
    assert torch.equal(seen[1], seen[0][[2, 0, 1]])
    assert torch.equal(seen[2], seen[0][1:2])


def test_dropped_sound_is_zero_for_the_whole_window() -> None:
    batch, model = windows(count=40), tiny(audio_dropout=0.5)
    model.unet = Oracle(lambda x_t, t: x_t)
    terms_of(model, batch)
    silent = (model.unet.mels.view(40, -1) == 0).all(dim=1)
    partly = (model.unet.mels.view(40, 5, -1) == 0).all(dim=2).any(dim=1)
    assert torch.equal(silent, partly)
    assert 10 < silent.sum() < 30


def test_the_expert_teaches_and_does_not_learn() -> None:
    batch, model = windows(), tiny(prediction="x_0", loss_weights=ALONE | {"sync": 1.0})
    model.expert = FrozenExpert(SyncNet(width=8, norm="batch"))
    model.train()
    before = {name: tensor.clone() for name, tensor in model.expert.named_buffers()}
    assert not list(model.expert.parameters())
    assert not [key for key in model.state_dict() if "expert" in key]
    assert not model.expert.syncnet.training

    head = model.unet.out[-1].weight
    nn.init.normal_(head, std=0.1)  # it starts at zero, where the clamped estimate is grey and the expert sees no mouth
    terms_of(model, batch)["loss"].backward()
    assert head.grad[: 3 * 4].abs().max() > 0
    assert head.grad[3 * 4 :].abs().max() == 0  # the variance's channels have no part in it
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.expert.named_buffers())


def test_thinned_windows_give_one_frame_and_whole_ones_all() -> None:
    batch, model = windows(count=6), tiny(whole_every=3, prediction="x_0")  # indices 11 to 16: 12 and 15 are whole
    model.train()
    model.unet = Oracle(lambda x_t, t: x_t)
    heard = []
    model.expert = lambda mel, frames: heard.append((mel, frames)) or (torch.ones(len(mel), 1),) * 2
    terms_of(model, batch)
    assert len(model.unet.t) == 2 * 5 + 4
    upper = model.unet.masked[..., :16, :]
    frames = batch["frames"][..., :16, :]
    assert torch.equal(upper[1:6], frames[1])
    assert torch.equal(upper[8:13], frames[4])
    assert any(torch.equal(upper[0], frame) for frame in frames[0])
    mel, seen = heard[0]
    assert torch.equal(mel, batch["mel"][[1, 4]])
    assert torch.equal(seen[..., :16, :], frames[[1, 4]])
    model.eval()
    terms_of(model, batch)
    assert len(model.unet.t) == 30  # validation looks at everything


class Ear(nn.Module):
    """An expert whose cosine is the mean of the lower half, brought to [0, 1]."""

    def forward(self, mel: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        cosine = (frames[..., 16:, :].mean(dim=(1, 2, 3, 4)) + 1) / 2
        return torch.stack((cosine, (1 - cosine**2).sqrt()), 1), torch.tensor([[1.0, 0.0]]).expand(len(mel), 2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [-math.log(0.5), -math.log(0.5)]),
        # Generated 0.5 against real 0.8 and 0.4: only the first falls behind.
        ({"sync_against_real": True}, [math.log(0.8 / 0.5), 0]),
        ({"sync_by_real": True}, [-0.8 * math.log(0.5), -0.4 * math.log(0.5)]),
        ({"sync_against_real": True, "sync_by_real": True}, [0.8 * math.log(0.8 / 0.5), 0]),
    ],
)
def test_the_experts_verdict_is_compared_with_that_on_real_frames(options: dict, expected: list[float]) -> None:
    model, batch = tiny(prediction="x_0", **options).eval(), windows()
    model.expert, model.unet = Ear(), Oracle(lambda x_t, t: torch.zeros_like(x_t))
    batch["frames"] = torch.tensor([0.6, -0.2]).view(2, 1, 1, 1, 1).expand(2, 5, 3, 32, 32)
    assert terms_of(model, batch)["sync"] == pytest.approx(sum(expected) / 2, rel=1e-4)


def test_an_expert_that_knows_nothing_of_the_corpus_is_refused() -> None:
    model = tiny(expert="nobody")
    model.expert = FrozenExpert(SyncNet(width=2, norm="group"))
    count = torch.arange(16)
    batch = windows(16) | {"clip": count, "speaker": count, "first_frame": count}
    model.trainer = SimpleNamespace(datamodule=SimpleNamespace(sample_windows=lambda number, device: batch))
    with pytest.raises(LipsyncError, match=r"expert nobody tells own from foreign sound in \d+% .* fewer than 75%"):
        model.question_expert()
    model.hparams.expert_bar = 0
    model.question_expert()


def test_generate_paints_what_the_network_knows_and_keeps_the_rest() -> None:
    batch, model = windows(), tiny(prediction="x_0")
    frames = batch["frames"][0]
    truth = torch.rand_like(frames) * 2 - 1
    model.unet = Oracle(lambda x_t, t: truth)
    noise = torch.randn(1, 3, 32, 32)
    painted = model.generate(frames, batch["reference"][0], batch["frame_mels"][0], noise, steps=3)
    torch.testing.assert_close(painted[:, :, 16:], truth[:, :, 16:], atol=1e-5, rtol=0)
    assert torch.equal(painted[:, :, :16], frames[:, :, :16])
    # One map: x_T is the noise that `masked` shows.
    assert torch.equal(model.unet.masked[:, :, 16:], noise[:, :, 16:].expand(5, -1, -1, -1))


def test_generate_needs_nothing_but_tensors() -> None:
    batch, model = windows(), tiny(sampling_steps=(4,), prediction="x_0")
    frames, reference, mels = batch["frames"][0], batch["reference"][0], batch["frame_mels"][0]
    for parameter in model.unet.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    painted = model.generate(frames, reference, mels)
    assert painted.shape == frames.shape
    assert torch.equal(painted, model.generate(frames, reference, mels, model.noise("sampling", 0), steps=4))
    for how in ({"steps": 2}, {"guidance": 3.0}, {"sampler": "ddpm"}, {"sampler": "dpmpp_2m"}, {"sampler": "fast"}):
        other = model.generate(frames, reference, mels, **how)
        assert torch.equal(other, model.generate(frames, reference, mels, **how))
        assert (other - painted)[:, :, 16:].abs().max() > 1e-5
        assert torch.equal(other[:, :, :16], frames[:, :, :16])
    exact, rounded = (model.generate(frames, reference, mels, precision=name) for name in ("float32", "bfloat16"))
    assert torch.equal(exact, painted)
    assert 1e-4 < (rounded - painted).abs().mean() < 0.05
    # A frame is painted alike, whatever stands beside it in a batch.
    for sampler in ("ddim", "ddpm", "dpmpp_2m"):
        alone = model.generate(frames[3:4], reference, mels[3:4], sampler=sampler)
        together = model.generate(frames, reference, mels, sampler=sampler)[3:4]
        torch.testing.assert_close(alone, together, atol=1e-4, rtol=0)
    with pytest.raises(LipsyncError, match=r"euler.*ddim, ddpm, dpmpp_2m, fast"):
        model.generate(frames, reference, mels, sampler="euler")


def test_a_large_network_paints_frames_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, model = windows(), tiny(unet=TINY | {"channels": 96, "groups": 8})
    frames, reference, mels = batch["frames"][0], batch["reference"][0], batch["frame_mels"][0]
    for parameter in model.unet.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    sizes = []
    model.unet.out.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    found = model.generate(frames, reference, mels, steps=2)
    assert sorted(sizes) == [1, 1, 2, 2, 2, 2]
    monkeypatch.setattr(painter, "NARROWEST", 1000)
    torch.testing.assert_close(found, model.generate(frames, reference, mels, steps=2), atol=1e-4, rtol=0)
    assert sizes[6:] == [5, 5]


def test_guidance_overstates_the_sound() -> None:
    """A network that paints the mean of the mel it hears: silence, which training shows it, is 0."""
    batch, model = windows(), tiny(prediction="x_0")
    model.unet = Oracle(lambda x_t, t: 0.1 * model.unet.mels.mean(dim=(1, 2))[:, None, None, None].expand_as(x_t))
    mels = torch.full((5, 80, 16), 2.0)
    for guidance in (0.0, 1.0, 3.0):
        painted = model.generate(batch["frames"][0], batch["reference"][0], mels, guidance=guidance)
        torch.testing.assert_close(painted[:, :, 16:], torch.full((5, 3, 16, 32), 0.2 * guidance), atol=1e-5, rtol=0)


def test_the_data_must_be_cut_as_the_model_expects() -> None:
    model = tiny(crop_rule="tight")
    model.trainer = SimpleNamespace(ckpt_path=None, datamodule=SimpleNamespace(crop_rule="square"))
    with pytest.raises(LipsyncError, match="crop_rule is tight, the data's square"):
        model.setup("fit")


def test_a_checkpoint_loads_without_arguments(tmp_path: Path) -> None:
    from lightning import Trainer

    model = tiny(prediction="v")
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", default_root_dir=tmp_path)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    for loaded in (load(tmp_path / "x.ckpt"), Diff2Lip.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)):
        assert loaded.prediction == "v"
        for key, value in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], value)


@pytest.mark.parametrize("arguments", [{"prediction": "noise"}, {"loss_weights": {"lipps": 1.0}}])
def test_unknown_choices_are_named(arguments: dict) -> None:
    with pytest.raises(LipsyncError, match=r"noise|lipps"):
        tiny(**arguments)


def small_heads(model: Diff2Lip) -> Diff2Lip:
    """Float64, and a last layer that is not zero, yet small: the estimate stays off the clamp, whose slope is a lie."""
    torch.manual_seed(5)
    nn.init.normal_(model.unet.out[-1].weight, std=0.02)
    nn.init.normal_(model.unet.audio_encoder_to_style[-2].weight, std=0.2)
    return model.double().train()


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of AlexNet's layers as LPIPS wants them, with weights drawn at random."""
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(nn.ModuleDict({"features": models.alexnet(weights=None).features}).state_dict(), path)
    return str(path)


@pytest.mark.parametrize("term", ["simple", "vb", "l2", "sync", "lpips", "mesh", "gan", "discriminator"])
@pytest.mark.parametrize("prediction", ["x_0", "eps"])
def test_every_terms_gradient_is_its_slope(term: str, prediction: str, alexnet: str) -> None:
    torch.manual_seed(4)
    weight = "gan" if term == "discriminator" else term
    critic = {"channels": 4, "layers": 2, "r1": 1.0, "augment": 0.1}
    # With eps the estimate leaves [-1, 1], where the clamp's slope is a lie by design: without it, then.
    how = {"prediction": prediction, "literal": prediction == "eps", "timesteps": 20}
    model = small_heads(tiny(**how, loss_weights=ALONE | {weight: 1.0}, discriminator=critic))
    model.expert = FrozenExpert(SyncNet(width=4, norm="group", face_size=(17, 32)).double())
    model.perceptual["mesh"] = MeshDistance().double()
    if term == "lpips":
        model.perceptual["lpips"] = LPIPS("alex", alexnet).double()
    batch = {name: x.double() if x.is_floating_point() else x for name, x in windows().items()}
    batch["frames"] *= 0.5

    learning = model.discriminator if term == "discriminator" else model.unet
    # The variational term sees the estimate detached: it has a slope in the variance's half of the head only.
    weights = [model.unet.out[-1].weight] if term == "vb" else list(learning.parameters())
    ways = [torch.randn_like(weight) for weight in weights]
    if term == "vb":
        ways[0][: len(ways[0]) // 2] = 0
    terms = terms_of(model, batch)
    slopes = torch.autograd.grad(terms[term], weights, allow_unused=True)
    along = sum((slope * way).sum() for slope, way in zip(slopes, ways, strict=True) if slope is not None)
    if term == "gan":
        own = list(model.discriminator.parameters())
        assert all(
            slope is None for slope in torch.autograd.grad(terms_of(model, batch)["gan"], own, allow_unused=True)
        )

    values, h = [], 1e-7
    for step in (h, -2 * h):
        with torch.no_grad():
            for weight, way in zip(weights, ways, strict=True):
                weight += step * way
        values.append(terms_of(model, batch)[term].item())
    assert along.item() == pytest.approx((values[0] - values[1]) / (2 * h), rel=2e-4, abs=1e-9)
    assert abs(along.item()) > 1e-8


def test_a_term_that_does_not_count_is_not_computed() -> None:
    model = tiny(loss_weights={"simple": 1.0, "lpips": 0.0, "mesh": 1.0, "gan": 1.0}, discriminator={"channels": 4})
    asked = []

    def ask(name: str) -> Callable[..., Tensor]:
        def answer(fake: Tensor, *_: Tensor) -> Tensor:
            asked.append(name)
            return fake.flatten(1).mean(1, keepdim=name == "gan")

        return answer

    model.expert = lambda mel, frames: (ask("sync")(frames)[:, None],) * 2
    model.perceptual["mesh"] = nn.Module()
    model.perceptual["mesh"].forward = ask("mesh")
    model.discriminator.network.forward = ask("gan")
    early = model.objective(windows(), model.schedule.at(0))
    assert early.keys() == {"simple", "vb", "l2", "loss"}
    assert asked == []
    late = model.objective(windows(), model.schedule.at(None) | {"l2": 0.0})
    assert {"sync", "mesh", "gan", "discriminator"} <= late.keys()
    assert {"sync", "mesh", "gan"} == set(asked)
    assert tiny().discriminator is None


def test_a_window_has_one_say_whatever_it_shares_a_batch_with() -> None:
    """Halves of a batch, thinned as they are, average to the whole: what processes and accumulation rely on."""
    model = tiny(
        whole_every=3, prediction="x_0", loss_weights=ALONE | {"simple": 1.0, "vb": 1.0, "sync": 1.0, "gan": 1.0}
    )
    model = small_heads(model)
    model.expert = FrozenExpert(SyncNet(width=4, norm="group", face_size=(17, 32)).double())
    batch = {name: x.double() if x.is_floating_point() else x for name, x in windows(8).items()}
    together = terms_of(model, batch)
    halves = [terms_of(model, {name: x[part] for name, x in batch.items()}) for part in (slice(4), slice(4, 8))]
    for name, value in together.items():
        assert value.item() == pytest.approx(0.5 * (halves[0][name] + halves[1][name]).item(), rel=1e-12), name


def test_the_papers_literal_form_and_the_shared_noise() -> None:
    batch = windows(count=3)
    far = tiny(literal=True, timesteps=1000)
    far.unet = Oracle(lambda x_t, t: torch.zeros_like(x_t))
    guess = far.guess(batch)
    assert (guess.trust == 1).all()
    assert guess.estimate.abs().max() > 1  # x_t / sqrt(alpha_bar), not clamped
    assert tiny().guess(batch).estimate.abs().max() <= 1

    shared = tiny(share_noise=True)
    shared.unet = Oracle(lambda x_t, t: x_t)
    shared.guess(batch)
    eps = shared.diffusion.eps(batch["frames"].flatten(0, 1), shared.unet.x_t, shared.unet.t).view(3, 5, 3, 32, 32)
    torch.testing.assert_close(eps, eps[:, :1].expand_as(eps), atol=2e-3, rtol=0)
    assert (eps[0] - eps[1]).abs().max() > 1


def test_frozen_layers_stay_out_of_the_optimizer() -> None:
    model = tiny(frozen=("input_blocks.0", "time_embed"))
    model.trainer = SimpleNamespace(max_steps=10)
    held = {name for name, weight in model.unet.named_parameters() if not weight.requires_grad}
    assert held == {
        "input_blocks.0.0.weight", "input_blocks.0.0.bias",
        *(f"time_embed.{n}.{kind}" for n in (0, 2) for kind in ("weight", "bias")),
    }  # fmt: skip
    (group,) = model.configure_optimizers()["optimizer"].param_groups
    assert len(group["params"]) == len(list(model.unet.parameters())) - len(held)
    with pytest.raises(LipsyncError, match="begin with 'encoder'"):
        tiny(frozen=("encoder",))


def test_recomputed_activations_give_the_same_gradient() -> None:
    batch, gradients = windows(), []
    for again in (False, True):
        torch.manual_seed(2)
        model, passes = small_heads(tiny(unet=TINY | {"checkpointing": again})), []
        for stage in (*model.unet.input_blocks, model.unet.middle_block, *model.unet.output_blocks):
            stage.register_forward_pre_hook(lambda stage, _, passes=passes: passes.append(stage))
        double = {name: x.double() if x.is_floating_point() else x for name, x in batch.items()}
        terms_of(model, double)["loss"].backward()
        assert {passes.count(stage) for stage in passes} == {2 if again else 1}
        gradients.append([weight.grad for weight in model.unet.parameters()])
    for kept, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, recomputed)
