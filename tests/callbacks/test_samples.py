"""The layout of a sheet."""

import torch

from lipsync.callbacks import sheet


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
