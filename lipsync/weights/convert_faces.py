"""Converts MediaPipe's two face networks from TensorFlow Lite to safetensors; done once, needs `pip install tflite`."""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import tflite
import torch
from safetensors.torch import save
from torch import Tensor, nn

from lipsync.files import whole
from lipsync.networks.face_detector import FaceDetector
from lipsync.networks.face_mesh import FaceMesh

# name: (network, file, its sha256)
NETWORKS = {
    "face_detector": (
        FaceDetector,
        "face_detection_full_range_sparse.tflite",
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    ),
    "face_mesh": (
        FaceMesh,
        "face_landmark.tflite",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    ),
}
VECTORS = {
    tflite.SparseIndexVector.Uint8Vector: tflite.Uint8Vector,
    tflite.SparseIndexVector.Uint16Vector: tflite.Uint16Vector,
    tflite.SparseIndexVector.Int32Vector: tflite.Int32Vector,
}


def vector(kind: int, table: object) -> np.ndarray:
    """Integers of a flatbuffer union, whose width differs from tensor to tensor."""
    values = VECTORS[kind]()
    values.Init(table.Bytes, table.Pos)
    return values.ValuesAsNumpy().astype(np.int64)


def dense(values: np.ndarray, shape: np.ndarray, sparsity: tflite.SparsityParameters) -> np.ndarray:
    """A kernel stored by rows (CSR): one row an output channel, the last axis compressed."""
    rows = sparsity.DimMetadata(sparsity.DimMetadataLength() - 1)
    segments = vector(rows.ArraySegmentsType(), rows.ArraySegments())
    columns = vector(rows.ArrayIndicesType(), rows.ArrayIndices())
    kernel = np.zeros((len(segments) - 1, shape[-1]), values.dtype)
    kernel[np.repeat(np.arange(len(segments) - 1), np.diff(segments)), columns] = values
    return kernel.reshape(shape)


class Graph:
    """The one subgraph of a TensorFlow Lite file."""

    def __init__(self, content: bytes) -> None:
        self.model = tflite.Model.GetRootAs(content, 0)
        self.subgraph = self.model.Subgraphs(0)
        operators = [self.subgraph.Operators(i) for i in range(self.subgraph.OperatorsLength())]
        self.producer = {output: operator for operator in operators for output in operator.OutputsAsNumpy()}

    def kind(self, operator: tflite.Operator) -> int:
        """The builtin operator's code."""
        return self.model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()

    def constant(self, index: int) -> np.ndarray:
        """A stored tensor, seen through the DEQUANTIZE and DENSIFY steps (both exact) that widen it."""
        while index in self.producer:
            index = self.producer[index].Inputs(0)
        tensor = self.subgraph.Tensors(index)
        shape = tensor.ShapeAsNumpy()
        values = self.model.Buffers(tensor.Buffer()).DataAsNumpy().view(np.float16)
        return dense(values, shape, tensor.Sparsity()) if tensor.Sparsity() else values.reshape(shape)

    def parameters(self) -> list[np.ndarray]:
        """Kernels (PyTorch's layout), biases and PReLU slopes, each after all that it depends on."""
        found, seen = [], set()

        def visit(index: int) -> None:
            if index in seen or index not in self.producer:
                return
            seen.add(index)
            operator = self.producer[index]
            kind = self.kind(operator)
            inputs = operator.InputsAsNumpy()
            if kind in (tflite.BuiltinOperator.CONV_2D, tflite.BuiltinOperator.DEPTHWISE_CONV_2D):
                visit(inputs[0])
                axes = (0, 3, 1, 2) if kind == tflite.BuiltinOperator.CONV_2D else (3, 0, 1, 2)
                found.extend([self.constant(inputs[1]).transpose(axes), self.constant(inputs[2])])
            elif kind == tflite.BuiltinOperator.PRELU:
                visit(inputs[0])
                found.append(self.constant(inputs[1]).reshape(-1))
            else:
                for source in inputs:
                    visit(source)

        for output in self.subgraph.OutputsAsNumpy():
            visit(output)
        return found


def parameter_names(network: nn.Module) -> list[str]:
    """Names of the parameters in the order in which a forward pass uses them."""
    names = []
    handles = [
        module.register_forward_hook(
            lambda module, *_, prefix=prefix: names.extend(f"{prefix}.{name}" for name, _ in module.named_parameters())
        )
        for prefix, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.PReLU)
    ]
    with torch.inference_mode():
        network(torch.zeros(1, 3, 192, 192))
    for handle in handles:
        handle.remove()
    return names


def convert(name: str, content: bytes) -> dict[str, Tensor]:
    """The float16 state dict of the network `name` from the bytes of its TensorFlow Lite file."""
    network, _, _ = NETWORKS[name]
    arrays = Graph(content).parameters()
    keys = parameter_names(network())
    state = {
        key: torch.from_numpy(array.astype(np.float16)).contiguous() for key, array in zip(keys, arrays, strict=True)
    }
    network().load_state_dict(state)
    return state


def main() -> None:
    """Writes the two safetensors files beside this script."""
    parser = argparse.ArgumentParser(prog="python -m lipsync.weights.convert_faces", description=__doc__)
    parser.add_argument("models", type=Path, metavar="MODELS_FOLDER", help="folder that holds the two .tflite files")
    folder = parser.parse_args().models
    for name, (_, file, digest) in NETWORKS.items():
        if not (folder / file).is_file():
            parser.error(f"no {file} in {folder}: take it from the wheel mediapipe 0.10.21, folder mediapipe/modules")
        content = (folder / file).read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            parser.error(f"{folder / file} is another version: its sha256 must be {digest}")
        metadata = {"source": f"Google MediaPipe 0.10.21, {file}, Apache-2.0"}
        with whole(Path(__file__).with_name(f"{name}.safetensors")) as beside:
            beside.write_bytes(save(convert(name, content), metadata))


if __name__ == "__main__":
    main()
