"""Writes an integer network as TensorFlow Lite, operator by operator.

Values are int8, the integer of a grid less 128; biases are int32 at the accumulator's step; weights are int8, from -127
on as TFLite has it, or int4, two a byte, where they have 4 bits and fewer. What differs from the integer network is how
TFLite rounds. Each choice is one that TFLite Micro has a kernel for:

- pixels are taken as they are, uint8, and normalised by a convolution of one pixel;
- where windows begin elsewhere than under TFLite's SAME a convolution reads a padded image; a pool, whose padding must
  not count, has stride 1, and every second pixel is left out afterwards;
- what is averaged is int16 while it is, for its sum is to be rounded once;
- what is concatenated is put on one grid by adding 0, which TFLite does with 20 bits more than it requantizes with;
- the last layer is TFLite's 16x8: logits of int16, of which few are equal, and weights of int8.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from qnas.errors import QnasError
from qnas.exporters.onnx import INPUT, OUTPUT
from qnas.exporters.tflite_graph import Graph, Value
from qnas.network.deployed import DeployedNetwork
from qnas.network.integers import Step, integer_network
from qnas.network.plan import Node
from qnas.quant.fixed_point import LARGEST, Integers, Reals
from qnas.quant.grid import levels
from qnas.quant.scheme import HIGHEST
from qnas.task import Task

TFLITE = "model.tflite"
PACKED_BITS = 4
MIDDLE = 128
"""What an int8 is less than the integer of its grid."""
LEAST_WEIGHT = -127
"""Of int8, by TFLite's specification: kernels may add two products in 16 bits, which do not hold 2 * (-128)^2."""
FINER = 128
"""Steps of an int16 that is averaged in one of the int8 that it was: 255 of these fit."""
LARGEST_SHORT = 2**15 - 1
FACTORS = np.arange(64, 128)
"""Weights of a pixel in its normalisation: the one is taken with which the mean is rounded least."""


class _Network(Graph):
    """The operators of one network."""

    def __init__(self, network: DeployedNetwork, task: Task) -> None:
        super().__init__()
        self.network, self.task = network, task

    def sum(self, inputs: Sequence[int], output: Value) -> Value:
        return self.add("ADD", inputs, output, self.table("AddOptions"))

    def requantized(self, name: str, value: Value, kind: str, scale: float, zero: int = 0) -> Value:
        output = self.value(name, kind, value.shape, scale, zero)
        return self.add("QUANTIZE", [value.place], output)

    def padded(self, node: Node, source: Value) -> Value:
        pad, (channels, height, width) = node.padding, source.shape
        shape = (channels, height + 2 * pad, width + 2 * pad)
        output = self.value(f"{node.name}/padded", source.kind, shape, source.scale, source.zero)
        sizes = self.constant(f"{node.name}/padding", np.array([(0, 0), (pad, pad), (pad, pad), (0, 0)], np.int32))
        return self.add("PAD", [source.place, sizes], output, self.table("PadOptions"))

    def convolved(
        self, node: Node, source: Value, weight: Integers, steps: Reals, bias: Reals, bits: int, output: Value
    ) -> Value:
        """A convolution of weights (Cout, Cin / groups, k, k), on grids of these steps (Cout,), with real biases."""
        weight, steps, biases = within(weight, steps, bias, source.scale)
        kind, least = ("INT4", weight.min()) if bits <= PACKED_BITS else ("INT8", LEAST_WEIGHT)
        code, table, order = "CONV_2D", "Conv2DOptions", (0, 2, 3, 1)
        told = {"strideW": node.stride, "strideH": node.stride}
        told |= {"dilationWFactor": node.dilation, "dilationHFactor": node.dilation}
        if node.groups > 1:
            code, table, order = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", (1, 2, 3, 0)
            told["depthMultiplier"] = 1
        if not begins_as_same(node, source.shape):
            source, told["padding"] = self.padded(node, source), self.schema.Padding.VALID
        ordered = weight.clip(least).astype(np.int8).transpose(order)
        wide = np.int64 if output.kind == "INT16" else np.int32
        inputs = [
            source.place,
            self.constant(f"{node.name}/weight", ordered, self.grid(steps, axis=order.index(0)), kind),
            self.constant(f"{node.name}/bias", biases.astype(wide), self.grid(steps * source.scale)),
        ]
        return self.add(code, inputs, output, self.table(table, **told), kind if kind == "INT4" else "")

    def pooled(self, name: str, code: str, node: Node, source: Value) -> Value:
        """A pool on the grid of its source."""
        if begins_as_same(node, source.shape):
            return self.slid(name, code, source, node.shape, node.kernel, node.stride)
        whole = self.slid(f"{name}/whole", code, source, source.shape, node.kernel, 1)
        return self.slid(name, "MAX_POOL_2D", whole, node.shape, 1, node.stride)

    def slid(self, name: str, code: str, source: Value, shape: tuple[int, ...], kernel: int, stride: int) -> Value:
        """A pool with TFLite's padding."""
        output = self.value(name, source.kind, shape, source.scale, source.zero)
        sizes = {"strideW": stride, "strideH": stride, "filterWidth": kernel, "filterHeight": kernel}
        return self.add(code, [source.place], output, self.table("Pool2DOptions", **sizes))


def begins_as_same(node: Node, read: tuple[int, ...]) -> bool:
    """Whether windows begin where TFLite's SAME has them.

    It pads as little as it can, and before no more than after.
    """
    reach = node.dilation * (node.kernel - 1) + 1
    sides = zip(read[1:], node.shape[1:], strict=True)
    return all(max((made - 1) * node.stride + reach - side, 0) // 2 == node.padding for side, made in sides)


def within(weight: Integers, steps: Reals, bias: Reals, scale: float) -> tuple[Integers, Reals, Integers]:
    """Weights, their steps, and biases as integers with which accumulators keep 32 bits.

    Where a channel is all but switched off, its bias has too many at the step of its weights; these get a coarser one.

    Args:
        weight: (Cout, Cin / groups, k, k), integers.
        steps: of the weights, (Cout,).
        bias: real, (Cout,).
        scale: step of what is read.
    """
    most = np.abs(weight).sum((1, 2, 3)) * levels(HIGHEST) + np.abs(bias) / (steps * scale)
    factor = np.exp2(np.ceil(np.log2(np.maximum(most / LARGEST, 1))))
    coarser = np.rint(weight / factor[:, None, None, None]).astype(np.int64)
    return coarser, steps * factor, np.rint(bias / (steps * scale * factor)).astype(np.int64)


def _on_grid(graph: _Network, step: Step) -> Value:
    return graph.value(step.name, "INT8", step.shape, step.scale, step.zero_point - MIDDLE)


def _image(graph: _Network, step: Step, inputs: list[Value]) -> Value:
    """(pixel - mean) / deviation."""
    mean, deviation = np.array(graph.task.mean), np.array(graph.task.deviation)
    means = mean[:, None] * FACTORS
    factor = FACTORS[(np.abs(means - np.rint(means)) / FACTORS).argmin(1)]
    pixels, node = (
        graph.requantized(f"{INPUT}/signed", inputs[0], "INT8", 1.0, -MIDDLE),
        step.node._replace(groups=len(mean)),
    )
    weight, steps = factor.reshape(-1, 1, 1, 1), 1 / (factor * deviation)
    return graph.convolved(node, pixels, weight, steps, -mean / deviation, HIGHEST, _on_grid(graph, step))


def _parts(graph: _Network, step: Step) -> tuple[Integers, Reals, Reals]:
    """A layer's weights, without zero point, their steps, and its biases."""
    layer = graph.network.layers[step.node.name]
    assert step.weight is not None
    assert layer.grid is not None
    steps = torch.as_tensor(layer.grid.scale).double().expand(len(step.weight)).numpy()
    return step.weight, steps, layer.bias.double().numpy()


def _layer(graph: _Network, step: Step, inputs: list[Value]) -> Value:
    return graph.convolved(step.node, inputs[0], *_parts(graph, step), step.node.bits.weights, _on_grid(graph, step))


def _logits(graph: _Network, step: Step, inputs: list[Value]) -> Value:
    """The last layer: the largest logit that its weights allow is the largest int16."""
    (weight, steps, bias), (read,) = _parts(graph, step), inputs
    most = np.abs(weight).sum((1, 2, 3)) * levels(HIGHEST) * steps * read.scale + np.abs(bias)
    output = graph.value(step.name, "INT16", step.shape, float(most.max()) / LARGEST_SHORT)
    wide = graph.requantized(f"{step.name}/wide", read, "INT16", read.scale)
    made = graph.convolved(step.node, wide, weight, steps, bias, HIGHEST, output)
    sizes, flat = np.array([-1, len(bias)], np.int32), graph.value(OUTPUT, "INT16", bias.shape, output.scale)
    shape, options = graph.constant(f"{OUTPUT}/shape", sizes), graph.table("ReshapeOptions", newShape=sizes)
    return graph.add("RESHAPE", [made.place, shape], flat, options)


def _max_pool(graph: _Network, step: Step, inputs: list[Value]) -> Value:
    return graph.pooled(step.name, "MAX_POOL_2D", step.node, inputs[0])


def _avg_pool(graph: _Network, step: Step, inputs: list[Value]) -> Value:
    finer = graph.requantized(f"{step.name}/finer", inputs[0], "INT16", inputs[0].scale / FINER)
    pooled = graph.pooled(f"{step.name}/pooled", "AVERAGE_POOL_2D", step.node, finer)
    return graph.requantized(step.name, pooled, "INT8", step.scale, step.zero_point - MIDDLE)


def _sum(graph: _Network, step: Step, inputs: list[Value]) -> Value:
    return graph.sum([value.place for value in inputs], _on_grid(graph, step))


def _concat(graph: _Network, step: Step, inputs: list[Value]) -> Value:
    parts = []
    for number, value in enumerate(inputs):
        grid, name = graph.grid(np.array([value.scale])), f"{step.name}/{number}"
        nothing = graph.constant(f"{name}/0", np.zeros((1, 1, 1, 1), np.int8), grid)
        part = graph.value(name, "INT8", value.shape, step.scale, step.zero_point - MIDDLE)
        parts.append(graph.sum([value.place, nothing], part).place)
    return graph.add("CONCATENATION", parts, _on_grid(graph, step), graph.table("ConcatenationOptions", axis=3))


def _global_avg(graph: _Network, step: Step, inputs: list[Value]) -> Value:
    axes, options = np.array([1, 2], np.int32), graph.table("ReducerOptions", keepDims=True)
    places = [inputs[0].place, graph.constant(f"{step.name}/axes", axes)]
    return graph.add("MEAN", places, _on_grid(graph, step), options)


WRITERS: dict[str, Callable[[_Network, Step, list[Value]], Value]] = {
    "input": _image,
    "conv": _layer,
    "linear": _logits,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_avg": _global_avg,
    "sum": _sum,
    "concat": _concat,
}
"""By the kind of a step."""


def write_tflite(network: DeployedNetwork, task: Task, metadata: Mapping[str, str]) -> bytes:
    """The file of a network, from ``images`` (batch, height, width, channels), uint8, to ``logits`` (batch, classes).

    Args:
        network: of symmetric weights, and activations of 8 bits.
        task: says how its images are normalised.
        metadata: that the file carries, by name.

    Raises:
        QnasError: TFLite does not hold it.
    """
    steps = integer_network(network, task).steps
    for step in steps:
        check(step)
    graph = _Network(network, task)
    pixels = graph.value(INPUT, "UINT8", task.image, 1.0)
    values: list[Value] = []
    for step in steps:
        values.append(WRITERS[step.kind](graph, step, [values[source] for source in step.inputs] or [pixels]))
    return graph.written(pixels, values[-1], metadata)


def check(step: Step) -> None:
    """Check that TFLite holds a step.

    Raises:
        QnasError: it does not.
    """
    if step.bits < HIGHEST:
        raise QnasError(
            f"TFLite has activations of 8 bits, but those of {step.name} have {step.bits}; take a network of `bits` "
            "w8a8 or w4a8, or give `profile='c'`."
        )
    if step.weight is not None and step.weight_zero != 1 << step.node.bits.weights - 1:
        raise QnasError(
            f"TFLite has symmetric weights, but those of {step.name} have the zero point {step.weight_zero}; train "
            "with `grid='per-channel'`, or give `profile='c'`."
        )
