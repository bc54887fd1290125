"""Writes a deployed network as ONNX, node by node: truly packed weights at 4 bits and less.

Layout (each choice is one that onnxruntime loads and computes right at its default settings): weights are stored in the
narrowest of the widths that are asked for which holds their bits, as uint2, uint4 or uint8; activations are
QuantizeLinear to uint8, a Clip where they have fewer bits, and DequantizeLinear; a bias is int32 where the activations
have 8 bits and a separate float Add elsewhere.

The input is the prepared image; or, for a task that is given, its 8-bit pixels, which the first nodes normalise.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import (
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
    ValueInfoProto,
    checker,
    helper,
    numpy_helper,
)

from qnas.network.deployed import DeployedNetwork
from qnas.network.plan import Node
from qnas.quant.grid import Grid, levels
from qnas.quant.scheme import HIGHEST
from qnas.task import Shape, Task

INPUT, OUTPUT = "images", "logits"
MOMENTS = ("mean", "deviation")
STORED = {2: TensorProto.UINT2, 4: TensorProto.UINT4, 8: TensorProto.UINT8}
"""ONNX's types of weights by their bits."""
BYTES, NIBBLES, CRUMBS = (8,), (4, 8), (2, 4, 8)
"""Bits that weights are stored in: whole bytes, also two a byte, also four a byte."""
OPSET = 21
IR_VERSIONS = {13: 7, 21: 10, 25: 13}
"""The format's version of each opset that is written: that of the first release of ONNX that had it."""


class Graph:
    """Nodes and initializers while they are written; ``values`` maps plan nodes to the names their readers use."""

    def __init__(self, network: DeployedNetwork, widths: Sequence[int] = NIBBLES, pixels: Task | None = None) -> None:
        self.network, self.widths, self.pixels = network, widths, pixels
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.values: list[str] = []
        self.unrounded: dict[int, str] = {}

    def add(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """A node of ONNX with one output, which has its name."""
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def written(self) -> str:
        """All nodes of the plan; the name of what the last one makes."""
        for place, node in enumerate(self.network.plan.nodes):
            value, grid = self.node(node), self.network.activations.get(node.name)
            if node.handed_on:
                self.unrounded[place] = value
            self.values.append(value if grid is None else self.quantized(value, grid))
        return self.values[-1]

    def node(self, node: Node) -> str:
        """A node of the plan, before its values are rounded."""
        return WRITERS[node.kind](self, node, [self.values[source] for source in node.inputs])

    def constant(self, name: str, values: object, kind: int = TensorProto.FLOAT) -> str:
        """Numbers by a name."""
        array = np.asarray(values)
        if bits := next((bits for bits, stored in STORED.items() if stored == kind and bits < HIGHEST), 0):
            tensor = helper.make_tensor(name, kind, array.shape, packed(array.ravel(), bits).tobytes(), raw=True)
        else:
            tensor = numpy_helper.from_array(array.astype(helper.tensor_dtype_to_np_dtype(kind)), name)
        self.initializers.append(tensor)
        return name

    def quantized(self, value: str, grid: Grid) -> str:
        """A real value put on a grid and back."""
        return self.dequantized(value, self.integers(value, grid))

    def integers(self, value: str, grid: Grid) -> str:
        """A real value put on a grid."""
        scale = self.constant(f"{value}/step", grid.scale)
        zero_point = self.constant(f"{value}/zero_point", grid.zero_point, TensorProto.UINT8)
        unrounded = value
        if grid.tie_break:
            nudge = self.constant(f"{value}/tie_break", grid.tie_break * float(grid.scale))
            unrounded = self.add("Add", [value, nudge], f"{value}/untied")
        integers = self.add("QuantizeLinear", [unrounded, scale, zero_point], f"{value}/integers")
        if grid.bits < HIGHEST:
            bounds = [self.constant(f"{value}/{key}", bound, TensorProto.UINT8)
                      for key, bound in (("lowest", 0), ("highest", levels(grid.bits)))]  # fmt: skip
            integers = self.add("Clip", [integers, *bounds], f"{value}/clipped")
        return integers

    def dequantized(self, value: str, integers: str) -> str:
        """The real value of what ``integers`` made of one."""
        return self.add("DequantizeLinear", [integers, f"{value}/step", f"{value}/zero_point"], f"{value}/rounded")

    def weight(self, node: Node) -> str:
        """A layer's weight as real numbers."""
        layer = self.network.layers[node.name]
        name = f"{node.name}/weight"
        if layer.grid is None:
            return self.constant(name, layer.weight.numpy())
        kind = STORED[next(width for width in self.widths if layer.grid.bits <= width)]
        integers = self.constant(f"{name}/integers", layer.weight.numpy(), kind)
        scale = self.constant(f"{name}/step", layer.grid.scale)
        zero_point = self.constant(f"{name}/zero_point", layer.grid.zero_point, kind)
        return self.add("DequantizeLinear", [integers, scale, zero_point], name, **_axis(layer.grid))

    def layer(self, node: Node, kind: str, value: str, **attributes: Any) -> str:
        """A convolution or matrix product with its bias."""
        layer, rounded = self.network.layers[node.name], self.network.integer_bias(node)
        inputs, bias = [value, self.weight(node)], f"{node.name}/bias"
        if layer.grid is None:
            return self.add(kind, [*inputs, self.constant(bias, layer.bias.numpy())], f"{node.name}/sum", **attributes)
        if rounded is not None:
            integers = self.constant(f"{bias}/integers", rounded[0].numpy(), TensorProto.INT32)
            step = self.constant(f"{bias}/step", rounded[1].numpy())
            dequantized = self.add("DequantizeLinear", [integers, step], bias, **_axis(layer.grid))
            return self.add(kind, [*inputs, dequantized], f"{node.name}/sum", **attributes)
        shape = (1, -1, 1, 1) if node.kind == "conv" else (1, -1)
        product = self.add(kind, inputs, f"{node.name}/product", **attributes)
        return self.add("Add", [product, self.constant(bias, layer.bias.numpy().reshape(shape))], f"{node.name}/sum")


def _axis(grid: Grid) -> dict[str, int]:
    return {} if grid.axis is None else {"axis": grid.axis}


def packed(integers: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Integers (n,) from 0 on in containers of 2, 4 or 8 bits, the first in the lowest bits of a byte."""
    each = 8 // bits
    padded = np.pad(integers.astype(np.uint8), (0, -len(integers) % each)).reshape(-1, each)
    result: NDArray[np.uint8] = (padded << np.arange(each, dtype=np.uint8) * bits).sum(1).astype(np.uint8)
    return result


def _conv(graph: Graph, node: Node, inputs: list[str]) -> str:
    attributes = {
        "kernel_shape": [node.kernel] * 2,
        "strides": [node.stride] * 2,
        "dilations": [node.dilation] * 2,
        "pads": [node.padding] * 4,
        "group": node.groups,
    }
    return _ending(graph, node, graph.layer(node, "Conv", inputs[0], **attributes))


def _ending(graph: Graph, node: Node, value: str) -> str:
    """A layer's ReLU, if it has one: a grid from 0 saturates there, and is a ReLU itself."""
    if not node.relu or node.name in graph.network.activations:
        return value
    return graph.add("Relu", [value], node.name)


def _linear(graph: Graph, node: Node, inputs: list[str]) -> str:
    flat = graph.add("Flatten", inputs, f"{node.name}/flat")
    return _ending(graph, node, graph.layer(node, "Gemm", flat, transB=1))


def _pool(graph: Graph, node: Node, inputs: list[str]) -> str:
    kind = "MaxPool" if node.kind == "max_pool" else "AveragePool"
    sizes = {"kernel_shape": [node.kernel] * 2, "strides": [node.stride] * 2, "pads": [node.padding] * 4}
    return graph.add(kind, inputs, node.name, **sizes)


def _input(graph: Graph, node: Node, inputs: list[str]) -> str:
    """The prepared image; of 8-bit pixels, the channels of a pixel side by side, it is made here."""
    if graph.pixels is None:
        return INPUT
    real = graph.add("Cast", [INPUT], f"{INPUT}/real", to=TensorProto.FLOAT)
    mean, deviation = (graph.constant(f"{INPUT}/{name}", getattr(graph.pixels, name)) for name in MOMENTS)
    centred = graph.add("Sub", [real, mean], f"{INPUT}/centred")
    normalised = graph.add("Div", [centred, deviation], f"{INPUT}/normalised")
    return graph.add("Transpose", [normalised], f"{INPUT}/prepared", perm=[0, 3, 1, 2])


def _global_avg(graph: Graph, node: Node, inputs: list[str]) -> str:
    return graph.add("GlobalAveragePool", inputs, node.name)


def _sum(graph: Graph, node: Node, inputs: list[str]) -> str:
    return _ending(graph, node, graph.add("Add", inputs, f"{node.name}/sum" if node.relu else node.name))


def _concat(graph: Graph, node: Node, inputs: list[str]) -> str:
    parts = [graph.unrounded.get(source, graph.values[source]) for source in node.inputs]
    return graph.add("Concat", parts, node.name, axis=1)


WRITERS: dict[str, Callable[[Graph, Node, list[str]], str]] = {
    "input": _input,
    "conv": _conv,
    "linear": _linear,
    "max_pool": _pool,
    "avg_pool": _pool,
    "global_avg": _global_avg,
    "sum": _sum,
    "concat": _concat,
}


def write_onnx(
    network: DeployedNetwork,
    widths: Sequence[int] = NIBBLES,
    opset: int = OPSET,
    pixels: Task | None = None,
    metadata: Mapping[str, str] | None = None,
) -> ModelProto:
    """The ONNX model of a deployed network.

    Args:
        network: of a plan.
        widths: bits that weights may be stored in, ascending: ``BYTES``, ``NIBBLES`` from opset 21 on, or ``CRUMBS``
            from opset 25 on.
        opset: one of ``IR_VERSIONS``.
        pixels: the task by whose mean and deviation 8-bit pixels are normalised in the graph.
        metadata: that the model carries, by name.

    Returns:
        A model from ``images`` (batch, channels, height, width), float32, or, where ``pixels`` are taken, (batch,
        height, width, channels), uint8, to ``logits`` (batch, classes).
    """
    graph = Graph(network, widths, pixels)
    graph.add("Identity", [graph.written()], OUTPUT)
    return model_of(graph, metadata, opset)


def model_of(
    graph: Graph,
    metadata: Mapping[str, str] | None,
    opset: int,
    batch: str | int = "batch",
    domains: Sequence[OperatorSetIdProto] = (),
) -> ModelProto:
    """The checked model of a graph that is written, from ``images`` to ``logits``.

    Args:
        graph: of all nodes.
        metadata: that the model carries, by name.
        opset: of ONNX, one of ``IR_VERSIONS``.
        batch: how many images it takes; a name for any number.
        domains: of operators that are not ONNX's.
    """
    plan = graph.network.plan
    channels, height, width = plan.nodes[0].shape
    images = _batch_of(INPUT, (channels, height, width), batch)
    if graph.pixels is not None:
        images = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [batch, height, width, channels])
    logits = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [batch, plan.classes])
    model = _model(graph, [images], [logits], opset, domains)
    helper.set_model_props(model, dict(metadata or {}))
    checker.check_model(model, full_check=True)
    return model


def with_values(model: ModelProto, network: DeployedNetwork, pixels: Task | None) -> dict[str, str]:
    """Make a network's rounded values further outputs of its model; their names there, by the nodes of the plan.

    A model of another network keeps those that it has.
    """
    graph, made = Graph(network, pixels=pixels), {name for node in model.graph.node for name in node.output}
    graph.written()
    named = zip((node.name for node in network.plan.nodes), graph.values, strict=True)
    names = {node: name for node, name in named if node in network.activations and name in made}
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names.values())
    return names


def write_layers(network: DeployedNetwork, inputs: int) -> ModelProto:
    """The ONNX model of the layers after the first ``inputs`` nodes, which are its inputs; every layer is an output.

    Layers turn what they read into real numbers and what they make into integers, as between other layers.
    """
    graph, nodes, made = Graph(network), network.plan.nodes, []
    for place, node in enumerate(nodes):
        value = node.name if place < inputs else graph.node(node)
        grid = network.activations.get(node.name)
        if place < inputs:
            graph.values.append(value if grid is None else graph.quantized(value, grid))
        else:
            made.append(value if grid is None else graph.integers(value, grid))
    outputs = [helper.make_empty_tensor_value_info(value) for value in made]
    return _model(graph, [_batch_of(node.name, node.shape) for node in nodes[:inputs]], outputs)


def _batch_of(name: str, shape: Shape, batch: str | int = "batch") -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape])


def _model(
    graph: Graph,
    inputs: list[ValueInfoProto],
    outputs: list[ValueInfoProto],
    opset: int = OPSET,
    domains: Sequence[OperatorSetIdProto] = (),
) -> ModelProto:
    body = helper.make_graph(graph.nodes, "qnas", inputs, outputs, graph.initializers)
    return helper.make_model(
        body,
        opset_imports=[helper.make_opsetid("", opset), *domains],
        ir_version=IR_VERSIONS[opset],
        producer_name="qnas",
    )
