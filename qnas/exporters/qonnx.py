"""Writes a deployed network as QONNX, which FINN and hls4ml read, and runs it by the package ``qonnx``.

QONNX carries real numbers and says by ``Quant`` nodes how many bits they need (Pappalardo et al., 2022; the operator is
``IntQuant`` of version 1, under the name by which FINN, Brevitas and qonnx's own clean-up know it). Layout, as FINN
converts it: every zero point is 0; a Quant without a sign stands behind a Relu, which changes nothing where no value is
negative; linear layers are matrix products; one image at a time. Halves go to the next even integer; where a grid has
all halves go up, a constant before the rounding sees to it, as in ONNX; here it is part of a layer's bias, if there is
one, for hls4ml adds no single number to a convolution.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from qnas.data.images import Images
from qnas.errors import QnasError
from qnas.exporters.onnx import BYTES, OUTPUT, Graph, model_of
from qnas.exporters.parity import PARITY_BATCH, Parity, held_against, inputs, integers_of
from qnas.network.deployed import DeployedNetwork
from qnas.network.memory import Memory
from qnas.network.plan import Node, Plan
from qnas.quant.grid import Grid
from qnas.task import Task

QONNX = "model_qonnx.onnx"
DOMAIN, DOMAIN_VERSION = "qonnx.custom_op.general", 1
OPSET = 13
MOST_VALUES, NODES_A_LAYER = 1 << 27, 5
"""Numbers that qonnx is given to keep, which is all that nodes make of a batch; and nodes that a layer has at most."""


class _Graph(Graph):
    """Quant nodes where ONNX has QuantizeLinear and DequantizeLinear; ``untied`` are values that break ties already."""

    def __init__(self, network: DeployedNetwork, pixels: Task | None) -> None:
        super().__init__(network, BYTES, pixels)
        self.untied: set[str] = set()

    def add(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """A node; a value is doubled, not added to itself: qonnx renames the first of two equal inputs alone."""
        if kind == "Add" and inputs[0] == inputs[1]:
            kind, inputs = "Mul", [inputs[0], self.constant(f"{name}/twice", 2.0)]
        return super().add(kind, inputs, name, **attributes)

    def quant(self, value: str, name: str, scale: object, bits: int, signed: bool) -> str:
        numbers = {"step": scale, "zero_point": 0.0, "bits": bits}
        inputs = [value, *(self.constant(f"{name}/{key}", number) for key, number in numbers.items())]
        attributes = {"signed": int(signed), "narrow": 0, "rounding_mode": "ROUND"}
        return self.add("Quant", inputs, name, domain=DOMAIN, **attributes)

    def quantized(self, value: str, grid: Grid) -> str:
        """A real value put on a grid and back.

        Only the image may have a zero point that is no sign's: without it, its integers take a sign and one bit more.
        """
        zero, name = int(grid.zero_point), f"{value}/rounded"
        if grid.tie_break and value not in self.untied:
            value = self.add("Add", [value, self.constant(f"{value}/tie_break", _nudge(grid))], f"{value}/untied")
        if not zero:
            value = self.add("Relu", [value], f"{value}/positive")
        return self.quant(value, name, grid.scale, grid.bits + (zero not in (0, _middle(grid))), signed=zero > 0)

    def weight(self, node: Node) -> str:
        """(Cout, Cin / groups, k, k), or (Cin, Cout) of a linear layer."""
        layer, name = self.network.layers[node.name], f"{node.name}/weight"
        assert layer.grid is not None
        real, scale = layer.real_weight().numpy(), np.asarray(layer.grid.scale)
        if layer.grid.axis is not None:
            scale = scale.reshape(-1, *[1] * (real.ndim - 1))
        if node.kind == "linear":
            real, scale = real.T, scale.T
        return self.quant(self.constant(f"{name}/real", real), name, scale, layer.grid.bits, signed=True)

    def layer(self, node: Node, kind: str, value: str, **attributes: Any) -> str:
        """A convolution with its bias, or a matrix product and its bias by a node of its own; the bias breaks ties."""
        name = OUTPUT if node is self.network.plan.nodes[-1] else f"{node.name}/sum"
        grid, bias = self.network.activations.get(node.name), self.network.real_bias(node).numpy()
        if grid is not None:
            bias, self.untied = bias + np.float32(_nudge(grid)), self.untied | {name}
        constant = self.constant(f"{node.name}/bias", bias)
        if node.kind == "conv":
            return self.add(kind, [value, self.weight(node), constant], name, **attributes)
        product = self.add("MatMul", [value, self.weight(node)], f"{node.name}/product")
        return self.add("Add", [product, constant], name)

    def prune(self) -> None:
        """Leave out what no logit depends on, as the rounding of a sum that concatenations read unrounded."""
        needed, kept = {OUTPUT}, []
        for node in reversed(self.nodes):
            if node.output[0] in needed:
                kept.append(node)
                needed.update(node.input)
        self.nodes = kept[::-1]
        self.initializers = [tensor for tensor in self.initializers if tensor.name in needed]


def _nudge(grid: Grid) -> float:
    return grid.tie_break * float(grid.scale)


def _middle(grid: Grid) -> int:
    """The zero point of integers with a sign."""
    return 1 << (grid.bits - 1)


def write_qonnx(
    network: DeployedNetwork, pixels: Task | None = None, metadata: Mapping[str, str] | None = None
) -> ModelProto:
    """The QONNX model of a deployed network.

    Args:
        network: quantized, on grids whose zero points are those of a sign or 0.
        pixels: the task by whose mean and deviation 8-bit pixels are normalised in the graph.
        metadata: that the model carries, by name.

    Returns:
        A model from ``images`` (1, channels, height, width), float32, or, where ``pixels`` are taken, (1, height,
        width, channels), uint8, to ``logits`` (1, classes).

    Raises:
        QnasError: a layer is FP32, or its weights have a zero point.
    """
    for name, layer in network.layers.items():
        if layer.grid is None:
            raise QnasError(
                f"QONNX is written of layers of 2 to 8 bits, but {name} is FP32; take `profile='compact'`, or a "
                "network of `bits` such as w4a4."
            )
        zero = float(np.ravel(layer.grid.zero_point)[0])
        if zero != _middle(layer.grid):
            raise QnasError(
                f"QONNX has zero point 0, but weights of {name} are integers around {zero:.0f}; take "
                "`profile='compact'` or `profile='c'`, or train with `grid='power-of-two'`."
            )
    graph = _Graph(network, pixels)
    graph.written()
    graph.prune()
    return model_of(graph, metadata, OPSET, 1, [helper.make_opsetid(DOMAIN, DOMAIN_VERSION)])


def memory_of_qonnx(files: Mapping[str, bytes]) -> Memory:
    """Weights at their bits, all other numbers in 4 bytes."""
    graph = ModelProto.FromString(files[QONNX]).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    bits = {
        node.input[0]: int(numpy_helper.to_array(constants[node.input[3]]))
        for node in graph.node
        if node.op_type == "Quant"
    }
    sizes = (prod(tensor.dims) * bits.get(name, 32) for name, tensor in constants.items())
    return Memory(sum(-(-size // 8) for size in sizes), 0)


def compare_qonnx(files: Mapping[str, bytes], network: DeployedNetwork, images: Images) -> Parity:
    """Run a QONNX model, cleaned up, by the package ``qonnx``, beside torch and the integer network on the same images.

    The integer network is left out where it says that there is none (``qnas.network.integers.integer_network``).
    """
    logits = executed(files[QONNX], network.plan, images)
    parity = held_against(network, images, logits, "qonnx", version("qonnx"))
    with suppress(QnasError):
        integers = integers_of(network, images)(images.pixels)
        same = 100 * float((integers.argmax(1) == logits.argmax(1)).mean())
        return replace(parity, integers_same_class=same)
    return parity


def executed(model: bytes, plan: Plan, images: Images) -> NDArray[np.float32]:
    """Logits (n, classes) of images by ``qonnx.core.onnx_exec``, after ``qonnx.util.cleanup``."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.util.cleanup import cleanup_model

    an_image = NODES_A_LAYER * sum(prod(node.shape) for node in plan.nodes)
    size = max(1, min(PARITY_BATCH, len(images), MOST_VALUES // an_image))
    cleaned = cleanup_model(ModelWrapper(ModelProto.FromString(model)), override_inpsize=size)
    (taken,), (given,) = cleaned.graph.input, cleaned.graph.output
    batches = inputs(images, taken.type.tensor_type.elem_type == TensorProto.UINT8, size)
    logits = [execute_onnx(cleaned, {taken.name: _filled(x, size)})[given.name] for x in batches]
    return np.concatenate(logits)[: len(images)]


def _filled(x: NDArray[Any], size: int) -> NDArray[Any]:
    """A batch of the size that is run, the last image as often as it takes."""
    return np.concatenate([x, np.repeat(x[-1:], size - len(x), 0)])
