"""The view is FaceMesh's, features see blur and grain and little else, and what cannot be judged is refused."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor

from lipsync.errors import LipsyncError
from lipsync.metrics.frechet import frechet_distance, moments
from lipsync.metrics.views import View, Viewer, match, painted
from lipsync.networks.face_mesh import FaceMesh


def blurred(pictures: Tensor, sigma: float) -> Tensor:
    side = 2 * round(4 * sigma) + 1
    return gaussian_blur2d(pictures, (side, side), (sigma, sigma))


def below(pictures: Tensor, sigma: float) -> Tensor:
    return torch.cat([pictures[:, :, :64], painted(blurred(pictures, sigma))], dim=2)


def grainy(pictures: Tensor, sigma: float) -> Tensor:
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    return (pictures + sigma * noise).clamp(-1, 1)


def test_landmarks_are_those_of_the_mesh(viewer: Viewer, heads: list[tuple[Tensor, Tensor]], views: list[View]) -> None:
    large = F.interpolate(heads[0][0], (192, 192), mode="bilinear", align_corners=False)
    points, _ = FaceMesh.pretrained()(large * 0.5 + 0.5)
    torch.testing.assert_close(views[0].landmarks * 192, points[..., :2].detach(), atol=1e-2, rtol=0)
    assert views[0].landmarks.shape == (25, 468, 2)
    assert views[0].features.shape == (25, viewer.dimensions)
    with torch.autocast("cpu", torch.bfloat16):
        under = viewer(heads[0][0])
    assert torch.equal(under.landmarks, views[0].landmarks)
    assert under.features.dtype == torch.float32


def test_a_frame_is_seen_alike_in_any_company(viewer: Viewer, heads: list[tuple[Tensor, Tensor]]) -> None:
    alone = viewer(heads[1][0][10:11])
    torch.testing.assert_close(alone.landmarks[0], viewer(heads[1][0]).landmarks[10], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("spoil", "amounts"), [(blurred, (0.5, 1, 2, 4)), (below, (0.5, 1, 2, 4)), (grainy, (0.02, 0.1, 0.3, 1))]
)
def test_the_frechet_distance_rises_with_every_fault(
    viewer: Viewer, heads: list[tuple[Tensor, Tensor]], views: list[View], spoil: object, amounts: tuple[float, ...]
) -> None:
    every = slice(None, None, 3)
    truth = moments(torch.cat([view.features[every] for view in views]))
    spoilt = [[viewer(spoil(pictures[every], x)).features for pictures, _ in heads] for x in amounts]
    distances = [float(frechet_distance(moments(torch.cat(features)), truth)) for features in spoilt]
    assert all(2 * less < more for less, more in pairwise(distances)), distances
    # Other moments of the same clips are the same set.
    rest = moments(torch.cat([view.features[1::3] for view in views]))
    assert float(frechet_distance(rest, truth)) < distances[1] / 10


def test_what_cannot_be_judged_is_refused(viewer: Viewer) -> None:
    for shape in ((0, 3, 8, 8), (2, 1, 8, 8), (2, 3, 8, 9), (3, 8, 8)):
        with pytest.raises(LipsyncError, match="shape"):
            viewer(torch.zeros(shape))
    with pytest.raises(LipsyncError, match="finite"):
        viewer(torch.full((1, 3, 8, 8), torch.nan))


def test_clips_of_other_length_or_size_are_no_pair(face: View) -> None:
    match(face, face)
    with pytest.raises(LipsyncError, match=r"2 frames at 16 px .* 1 frames at 16 px"):
        match(face, View(*(part[:1] for part in face)))
    with pytest.raises(LipsyncError, match="8 px"):
        match(face._replace(pictures=torch.zeros(2, 3, 8, 8)), face)


def test_painted_is_the_lower_half() -> None:
    rows = torch.arange(6.0)[:, None].expand(1, 1, 3, 6, 6)
    assert painted(rows)[0, 0, 0, :, 0].tolist() == [3, 4, 5]
