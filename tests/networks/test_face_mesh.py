"""FaceMesh against MediaPipe's numbers."""

import numpy as np
import pytest
import torch

from lipsync.networks.face_detector import FaceDetector
from lipsync.networks.face_mesh import FaceMesh, Residual, pad_same
from lipsync.weights import read_weights


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return FaceMesh.pretrained()


def test_raw_outputs_equal_mediapipes(mesh, shared) -> None:
    reference = np.load(shared / "reference" / "faces" / "facemesh.npz")
    with torch.inference_mode():
        landmarks, logits = mesh(torch.from_numpy(reference["inputs"]).permute(0, 3, 1, 2) / 255)
    np.testing.assert_allclose(landmarks, reference["landmarks"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(logits, reference["raw_presence"].reshape(-1), rtol=0, atol=1e-3)
    np.testing.assert_allclose(logits.sigmoid(), reference["presence"], rtol=0, atol=1e-5)


def test_shipped_weights_are_the_modules(mesh) -> None:
    shipped = read_weights("face_mesh")
    assert {key: value.shape for key, value in shipped.items()} == {
        key: value.shape for key, value in FaceMesh().state_dict().items()
    }
    assert {value.dtype for value in shipped.values()} == {torch.float16}
    assert sum(value.numel() for value in shipped.values()) == 604_685
    assert all(torch.equal(value.float(), mesh.state_dict()[key]) for key, value in shipped.items())


def test_a_batch_equals_single_crops(mesh) -> None:
    crops = torch.rand(2, 3, 192, 192)
    with torch.inference_mode():
        together = mesh(crops)
        alone = [mesh(crop[None]) for crop in crops]
    for values, parts in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(values, torch.cat(parts), rtol=1e-5, atol=1e-3)


def test_same_padding_is_after_only() -> None:
    padded = pad_same(torch.ones(1, 1, 2, 2))
    assert padded[0, 0].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_a_residual_pools_its_input_and_pads_channels_with_zeros() -> None:
    block = Residual(1, 2, stride=2)
    torch.nn.init.zeros_(block.pointwise.weight)
    torch.nn.init.zeros_(block.pointwise.bias)
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert block(x)[0].tolist() == [[[5, 7], [13, 15]], [[0, 0], [0, 0]]]


@pytest.mark.parametrize("name", ["face_detector", "face_mesh"])
def test_converting_again_gives_the_shipped_weights(shared, name) -> None:
    pytest.importorskip("tflite")
    from lipsync.weights.convert_faces import NETWORKS, convert

    network, file, _ = NETWORKS[name]
    assert network in (FaceDetector, FaceMesh)
    shipped = read_weights(name)
    converted = convert(name, (shared / "models" / file).read_bytes())
    assert converted.keys() == shipped.keys()
    assert all(torch.equal(converted[key], shipped[key]) for key in shipped)
