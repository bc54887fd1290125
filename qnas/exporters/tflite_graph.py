"""A TensorFlow Lite file while it is written: its tensors, constants and operators, by the runtime's own schema."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qnas.exporters.onnx import packed
from qnas.quant.fixed_point import Reals

ALIGNMENT = 16
"""Of constants in the file, in bytes, as the schema has it."""
VERSIONS = {
    ("CONV_2D", "INT8"): 3,
    ("CONV_2D", "INT16"): 4,
    ("CONV_2D", "INT4"): 7,
    ("DEPTHWISE_CONV_2D", "INT8"): 3,
    ("DEPTHWISE_CONV_2D", "INT4"): 7,
    ("AVERAGE_POOL_2D", "INT16"): 3,
    ("MAX_POOL_2D", "INT16"): 3,
    ("RESHAPE", "INT16"): 1,
}
"""Of operators, by the type of their values, or of int4 weights; 2 for all others."""


class Value(NamedTuple):
    """A tensor: its place, type, shape of (channels, height, width) or (classes,), step, and the integer of 0."""

    place: int
    kind: str
    shape: tuple[int, ...]
    scale: float
    zero: int


class Graph:
    """Tensors and operators."""

    def __init__(self) -> None:
        self.schema = import_module("ai_edge_litert.schema_py_generated")
        self.buffers = [self.table("Buffer")]  # the first is that of all tensors without content
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: dict[tuple[str, int], Any] = {}

    def table(self, of: str, /, **values: Any) -> Any:
        """A table of the schema with these values."""
        result = getattr(self.schema, f"{of}T")()
        for key, value in values.items():
            setattr(result, key, value)
        return result

    def buffer(self, content: bytes) -> int:
        """The number of a new buffer of these bytes."""
        self.buffers.append(self.table("Buffer", data=np.frombuffer(content, np.uint8)))
        return len(self.buffers) - 1

    def tensor(self, name: str, kind: str, sizes: Sequence[int], **values: Any) -> int:
        """The place of a new tensor of these sizes."""
        number, shape = getattr(self.schema.TensorType, kind), np.array(sizes, np.int32)
        self.tensors.append(self.table("Tensor", name=name, type=number, shape=shape, **values))
        return len(self.tensors) - 1

    def grid(self, scale: Reals, zero: int = 0, axis: int = 0) -> Any:
        """Steps, one for each entry along an axis, or one for all where they are the same."""
        steps = (scale[:1] if (scale == scale[0]).all() else scale).astype(np.float32)
        zeros = np.full(len(steps), zero, np.int64)
        return self.table("QuantizationParameters", scale=steps, zeroPoint=zeros, quantizedDimension=axis)

    def value(self, name: str, kind: str, shape: tuple[int, ...], scale: float, zero: int = 0) -> Value:
        """A tensor of a batch of any size, channels last."""
        channels, *sides = shape
        sizes = np.array([-1, *sides, channels], np.int32)
        grid = self.grid(np.array([scale]), zero)
        place = self.tensor(name, kind, np.abs(sizes).tolist(), shapeSignature=sizes, quantization=grid)
        return Value(place, kind, shape, scale, zero)

    def constant(self, name: str, values: NDArray[Any], grid: Any = None, kind: str = "") -> int:
        """The place of a new tensor with content; of 4 bits, two values a byte, if it is of the kind ``INT4``."""
        content = packed(values.ravel() & 15, 4).tobytes() if kind == "INT4" else values.tobytes()
        kind = kind or values.dtype.name.upper()
        return self.tensor(name, kind, values.shape, buffer=self.buffer(content), quantization=grid)

    def add(self, code: str, inputs: Sequence[int], output: Value, options: Any = None, kind: str = "") -> Value:
        """An operator that makes ``output``; ``kind`` decides its version, where the type of its values does not."""
        key, number = (code, VERSIONS.get((code, kind or output.kind), 2)), getattr(self.schema.BuiltinOperator, code)
        self.codes[key] = self.table("OperatorCode", builtinCode=number, deprecatedBuiltinCode=number, version=key[1])
        told = {"opcodeIndex": list(self.codes).index(key), "inputs": list(inputs), "outputs": [output.place]}
        if options is not None:
            number = getattr(self.schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
            told |= {"builtinOptionsType": number, "builtinOptions": options}
        self.operators.append(self.table("Operator", **told))
        return output

    def written(self, source: Value, output: Value, metadata: Mapping[str, str]) -> bytes:
        """The file of all that was added, from one value to another."""
        ends = {"inputs": [source.place], "outputs": [output.place]}
        graph = self.table("SubGraph", name="qnas", tensors=self.tensors, operators=self.operators, **ends)
        told = [self.table("Metadata", name=key, buffer=self.buffer(text.encode())) for key, text in metadata.items()]
        parts = {"subgraphs": [graph], "operatorCodes": list(self.codes.values()), "buffers": self.buffers}
        model = self.table("Model", version=3, description="qnas", metadata=told, **parts)
        builder = _aligned()
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _aligned() -> Any:
    """A builder that puts what buffers hold, the only vectors of bytes, at multiples of ``ALIGNMENT``."""

    class Aligned(import_module("flatbuffers").Builder):  # type: ignore[misc]
        def StartVector(self, size: int, count: int, alignment: int) -> Any:  # noqa: N802
            return super().StartVector(size, count, ALIGNMENT if size == 1 else alignment)

    return Aligned()
