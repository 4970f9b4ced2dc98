"""The layout of a sheet; and pictures that a full disk does not take."""

from pathlib import Path
from types import SimpleNamespace

import av
import pytest
import torch
from full_disk import full_disk
from torchvision.io import read_image

from lipsync.callbacks import Samples, sheet


def test_sheet_stacks_clips_and_rows() -> None:
    frames = torch.zeros(2, 3, 3, 4, 4)
    batch = {"frames": frames, "reference": torch.full((2, 1, 3, 4, 4), -1.0)}
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 2:, :] = 1
    frames += torch.linspace(-0.5, 0.5, 3)[:, None, None, None]
    picture = sheet(batch, torch.ones_like(frames), mask)
    assert picture.shape == (3, 2 * 4 * 4, 3 * 4)
    column = picture[0, :, 0].view(2, 4, 4)  # clip, row of the sheet, row of the picture
    assert column[0, 0].tolist() == [0] * 4  # reference
    assert column[1, 1].tolist() == [64, 64, 128, 128]  # masked input: the lower half is grey
    assert column[0, 2].tolist() == [255] * 4  # generated
    assert picture[0, 12, ::4].tolist() == [64, 128, 191]  # truth


@pytest.mark.parametrize("room", [0, 200, 20_000])  # for nothing, for half the sheet, for the sheet and half the video
def test_pictures_are_whole_or_not_there(room: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples = Samples()
    noise = torch.rand(2, 25, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    samples.shown = {"frames": noise[:, :2] * 0.5, "reference": noise[:, :1]}
    samples.filmed, samples.sound = {"frames": noise}, torch.zeros(2, 16000, dtype=torch.int16)
    module = SimpleNamespace(dub_clips=lambda batch, *_: batch["frames"], mask=torch.ones(1, 1, 16, 16), size=16)
    trainer = SimpleNamespace(is_global_zero=True, default_root_dir=tmp_path, global_step=5, loggers=[])
    with full_disk(room):
        samples.on_validation_epoch_end(trainer, module)
        trainer.global_step = 6
        samples.on_validation_epoch_end(trainer, module)
    assert len([record for record in caplog.records if record.name == "lipsync.files"]) == 1
    written = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert written == (["step_0000005.png", "step_0000006.png"] if room == 20_000 else [])
    trainer.global_step = 7
    samples.on_validation_epoch_end(trainer, module)
    assert read_image(str(tmp_path / "samples" / "step_0000007.png")).shape == (3, 2 * 4 * 16, 2 * 16)
    with av.open(tmp_path / "samples" / "step_0000007.mp4") as film:
        assert sum(1 for _ in film.decode(video=0)) == 50
