"""What a model is given, by protocol, and what stands beside it in the table."""

import pytest
import torch
from torch import Tensor

from lipsync.errors import LipsyncError
from lipsync.evaluation.protocols import named, pasted, rows


def pair() -> dict[str, Tensor]:
    """A pair whose pictures say what they are: frame n is n / 10, the reference -0.5; judged at twice the size."""
    frames = (torch.arange(3) / 10).view(1, 3, 1, 1, 1).expand(1, 3, 3, 8, 8)
    reference = torch.full((1, 1, 3, 8, 8), -0.5)
    mels = torch.zeros(1, 3, 80, 16)
    return {
        "frames": frames,
        "reference": reference,
        "judged": frames.repeat_interleave(2, 3).repeat_interleave(2, 4),
        "judged_reference": reference.repeat_interleave(2, 3).repeat_interleave(2, 4),
        "own_mels": mels + 1,
        "driving_mels": mels + 2,
    }


@pytest.mark.parametrize(
    ("name", "frames", "reference", "mel"),
    [
        ("reconstruction", [0, 0, 0], [0.0], 1),
        ("cross", [0, 0.1, 0.2], [0, 0.1, 0.2], 2),
        ("cross/still", [0, 0.1, 0.2], [-0.5], 2),
        ("cross/first", [0, 0.1, 0.2], [0.0], 2),
        ("own", [0, 0.1, 0.2], [-0.5], 1),
        ("silence", [0, 0.1, 0.2], [0, 0.1, 0.2], -4),
    ],
)
def test_a_model_is_given_what_the_protocol_says(name: str, frames: list, reference: list, mel: float) -> None:
    given = []

    def paint(*arguments: Tensor) -> Tensor:
        given.append(arguments)
        return torch.full((3, 3, 8, 8), 0.9)

    found = {row.name: row for row in rows(pair(), {name: named(name)}, paint)}
    ((seen, shown, heard),) = given
    torch.testing.assert_close(seen[:, 0, 0, 0], torch.tensor(frames, dtype=torch.float32))
    torch.testing.assert_close(shown[:, 0, 0, 0], torch.tensor(reference))
    assert heard.unique().tolist() == [mel]
    generated = found[name]
    assert generated.generated
    assert generated.pictures.shape == (3, 3, 16, 16)
    # The upper half is that of the frames, the lower half painted.
    torch.testing.assert_close(generated.pictures[:, 0, 7, 0], torch.tensor(frames, dtype=torch.float32))
    assert (generated.pictures[:, :, 8:] - 0.9).abs().max() < 1e-6
    torch.testing.assert_close(found[f"copy_input@{name}"].pictures[:, 0, 15, 0], torch.tensor(frames).float())
    assert [row for row in found.values() if row.generated] == [generated]


def test_baselines_have_the_mouths_that_they_should() -> None:
    def paint(frames: Tensor, reference: Tensor, mels: Tensor) -> Tensor:
        return frames

    found = {row.name: row.pictures[:, 0] for row in rows(pair(), {"cross": named("cross")}, paint)}
    assert set(found) == {
        "truth", "resized", "cross", "copy_input@cross", "copy_reference@cross", "average_mouth@cross"
    }  # fmt: skip
    own = torch.tensor([0, 0.1, 0.2])
    for name, lower in (("copy_reference@cross", -0.5), ("average_mouth@cross", 0.1)):
        torch.testing.assert_close(found[name][:, 7, 3], own)
        torch.testing.assert_close(found[name][:, 8, 3], torch.full((3,), lower))


def test_pasting_resizes_without_a_shift() -> None:
    ramp = torch.linspace(-1, 1, 17)[:16].expand(1, 3, 16, 16) + 1 / 16  # column c at its centre
    small = torch.nn.functional.avg_pool2d(ramp, 2)
    back = pasted(small, torch.zeros(1, 3, 16, 16))
    assert (back[:, :, 8:, 4:-4] - ramp[:, :, 8:, 4:-4]).abs().max() < 1e-3
    assert (back[:, :, :8] == 0).all()


@pytest.mark.parametrize("name", ["crosss", "cross/nobody", ""])
def test_what_is_no_protocol_is_named(name: str) -> None:
    with pytest.raises(LipsyncError, match="is none of"):
        named(name)
