"""The one integer meaning of a deployed network, from 8-bit pixels to logits: what a device without floats computes.

A network is a list of steps. Every value is a whole number of steps of its grid: integers of 2 to 8 bits between
layers, 32 bits in accumulators, of which weights prove that they do not overflow. ``qnas.quant.fixed_point`` says how
an accumulator becomes an output; nothing else rounds. Pixels are looked up in a table of 256 integers a channel, which
holds normalisation and rounding as torch does them. A sum that a concatenation reads is rounded to that one's grid
straight away, since no value is rounded twice (``qnas.network.plan.Node``).

Against the deployed network in torch, which multiplies and adds real numbers, what differs is how halves and all but
halves round, and at 8 bits the biases, which torch rounds to the accumulator's step as onnxruntime does.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from qnas.errors import QnasError
from qnas.network.deployed import DeployedNetwork
from qnas.network.memory import PIXELS
from qnas.network.outline import LOGIT_BITS, Outline, outline
from qnas.network.plan import Node
from qnas.quant.fixed_point import COARSEST, HEADROOM, LARGEST, Integers, Reals, Rescaling, room, within_ends
from qnas.quant.grid import Grid, levels, next_power_of_two
from qnas.task import Task

EXACT_IN_FLOAT = 2**24
"""Sums of integers below this are exact in single precision, in whatever order they are added."""
AT_ONCE = 64
"""Images that are computed together."""


@dataclass(frozen=True)
class Step(Outline):
    """One step: what it makes of what earlier steps made.

    Args:
        zero_point: Z of its output's grid; values are held without it, from -Z to 2^N - 1 - Z.
        scale: what one step of its output is.
        weight: (Cout, Cin / groups, k, k), whole steps, without its zero point.
        weight_zero: that zero point: integers of the weight's grid are ``weight + weight_zero``.
        rescaling: of its accumulators: one a channel of a layer, one an input of a sum or a concatenation, one a count
            of pixels under an average pool's kernel (1 to k^2), one of a global average.
    """

    zero_point: int
    scale: float
    rescaling: Rescaling | None = None
    weight: Integers | None = None
    weight_zero: int = 0

    @property
    def highest(self) -> int:
        """The largest integer of its output's grid."""
        return levels(self.bits)


@dataclass(frozen=True)
class IntegerNetwork:
    """Steps in order, the first the image, the last the logits.

    Args:
        steps: see ``Step``.
        table: (channels, 256), uint8: the integer of every pixel.
        scale: what one step of a logit is, for all classes.
    """

    steps: tuple[Step, ...]
    table: NDArray[np.uint8]
    scale: float

    def __call__(self, pixels: Tensor) -> Integers:
        """Logits (n, classes), whole multiples of ``scale``, of images (n, channels, height, width), uint8."""
        return np.concatenate([self._logits(part.numpy()) for part in pixels.split(AT_ONCE)])

    def _logits(self, pixels: NDArray[np.uint8]) -> Integers:
        values: list[Integers] = []
        for step in self.steps:
            inputs = [values[source] for source in step.inputs]
            values.append(self._image(pixels) if step.node.kind == "input" else computed(step, inputs))
        return values[-1][:, 0, 0]

    def _image(self, pixels: NDArray[np.uint8]) -> Integers:
        channels = [row[channel] for row, channel in zip(self.table, pixels.transpose(1, 0, 2, 3), strict=True)]
        return np.stack(channels, -1).astype(np.int64) - self.steps[0].zero_point


def computed(step: Step, inputs: list[Integers]) -> Integers:
    """What a step makes of its inputs, all (n, height, width, channels), without zero points."""
    if step.node.kind == "max_pool":
        return _pooled(step, inputs[0], largest=True)
    assert step.rescaling is not None
    match step.node.kind:
        case "conv" | "linear":
            integers = step.rescaling(_convolved(step, inputs[0]))
        case "sum":
            (first, second), (left, right) = step.rescaling.multiplier, inputs
            integers = step.rescaling.finished(first * left + second * right)
        case "concat":
            parts = zip(step.rescaling.multiplier, inputs, strict=True)
            integers = step.rescaling.finished(np.concatenate([factor * x for factor, x in parts], -1))
        case "avg_pool":
            integers = _averaged(step, inputs[0])
        case _:
            integers = step.rescaling(inputs[0].sum((1, 2), keepdims=True))
    return integers if step.bits == LOGIT_BITS else integers.clip(0, step.highest) - step.zero_point


def _convolved(step: Step, x: Integers) -> Integers:
    """The accumulators of a layer, exact: floating-point sums of integers that stay below what the type holds."""
    assert step.weight is not None
    most = int(np.abs(step.weight).sum((1, 2, 3)).max()) * max(1, int(np.abs(x).max()))
    kind = torch.float32 if most < EXACT_IN_FLOAT else torch.float64
    images, weight = (torch.from_numpy(array).to(kind) for array in (x.transpose(0, 3, 1, 2), step.weight))
    node = step.node
    output = F.conv2d(images.contiguous(), weight, None, node.stride, node.padding, node.dilation, node.groups)
    return output.permute(0, 2, 3, 1).to(torch.int64).numpy()


def _pooled(step: Step, x: Integers, largest: bool) -> Integers:
    """The largest value, or the sum, of what lies under a pool's kernel without padding."""
    images, node = torch.from_numpy(x.transpose(0, 3, 1, 2)).double(), step.node
    sizes = (node.kernel, node.stride, node.padding)
    output = F.max_pool2d(images, *sizes) if largest else F.avg_pool2d(images, *sizes, divisor_override=1)
    return output.permute(0, 2, 3, 1).to(torch.int64).numpy()


def _averaged(step: Step, x: Integers) -> Integers:
    rescaling = step.rescaling
    assert rescaling is not None
    sums, counts = _pooled(step, x, largest=False), _pooled(step, np.ones_like(x[:1, ..., :1]), largest=False)
    return rescaling.finished(sums * rescaling.multiplier[counts - 1] >> rescaling.shift[counts - 1])


def integer_network(network: DeployedNetwork, task: Task) -> IntegerNetwork:
    """A deployed network in integers.

    Args:
        network: quantized, at any widths.
        task: says how its images are normalised.

    Raises:
        QnasError: a layer is FP32, or its numbers are not finite or too large for accumulators of 32 bits; or nothing
            says how images are normalised.
    """
    if not task.mean:
        raise QnasError(
            "Integer networks read 8-bit pixels, so the task must say their mean and deviation, got none; "
            "give the task of the network's data set."
        )
    for node in network.plan.nodes[1:]:
        if node.bits.is_float:
            raise QnasError(
                f"Integer networks have layers of 2 to 8 bits, but {node.name} is FP32; "
                "take a network of `bits` such as w8a8."
            )
    return _Compiler(network).compiled(task)


def pixel_table(task: Task, grid: Grid) -> NDArray[np.uint8]:
    """The integer of every pixel of every channel, (channels, 256): normalised and rounded as torch does it."""
    mean, deviation = (torch.tensor(values).view(-1, 1) for values in (task.mean, task.deviation))
    table: NDArray[np.uint8] = grid.integers((torch.arange(float(PIXELS)) - mean) / deviation).to(torch.uint8).numpy()
    return table


class _Compiler:
    """The steps so far, and the grid of each."""

    def __init__(self, network: DeployedNetwork) -> None:
        self.network, self.nodes = network, network.plan.nodes
        self.steps: list[Step] = []
        self.grids: list[Grid] = []

    def compiled(self, task: Task) -> IntegerNetwork:
        for one in outline(self.network.plan):
            grid = self._grid(one)
            self.steps.append(self._step(one, grid))
            self.grids.append(grid)
        return IntegerNetwork(tuple(self.steps), pixel_table(task, self.grids[0]), float(self.grids[-1].scale))

    def _grid(self, one: Outline) -> Grid:
        if one.kind == "max_pool":
            return self.grids[one.inputs[0]]
        node = one.node if one.reader is None else self.nodes[one.reader]
        return self.network.activations[node.name] if node.quantized else self._logits_grid(node)

    def _logits_grid(self, node: Node) -> Grid:
        """The power of two as a step with which the largest logit that the weights allow takes ``HEADROOM`` bits."""
        step, reach, bias = self._layer(node)
        return Grid(
            next_power_of_two(float((reach * step + np.abs(bias)).max()) * 1.001 / 2**HEADROOM), 0.0, LOGIT_BITS
        )

    def _step(self, one: Outline, grid: Grid) -> Step:
        node, inputs = one.node, one.inputs
        step = Step(**vars(one), zero_point=int(grid.zero_point), scale=float(grid.scale))
        if node.kind in ("input", "max_pool"):
            return step
        if node.kind in ("conv", "linear"):
            weight, zero = self._weight(node)
            return replace(step, rescaling=self._of_layer(step, grid), weight=weight, weight_zero=zero)
        ratios = np.array([float(self.grids[source].scale) for source in inputs]) / float(grid.scale)
        reaches = np.array([_reach(self.grids[source]) for source in inputs])
        spans = ratios * reaches
        span = spans.sum() if node.kind == "sum" else spans.max()
        offset = np.array([float(grid.zero_point) + grid.tie_break])
        point = self._point(node, span, offset)
        if node.kind in ("sum", "concat"):
            return replace(step, rescaling=Rescaling.unshifted(ratios, offset, point))
        _, height, width = self.nodes[node.inputs[0]].shape
        counts = np.arange(1, node.kernel**2 + 1) if node.kind == "avg_pool" else np.array([height * width])
        return replace(step, rescaling=Rescaling.of(ratios / counts, offset, point))

    def _of_layer(self, step: Step, grid: Grid) -> Rescaling:
        product, reach, bias = self._layer(step.node)
        product = np.where(reach, product, float(grid.scale))  # where all weights are 0 it does not matter
        ratio, offset = product / float(grid.scale), bias / float(grid.scale) + grid.zero_point + grid.tie_break
        if step.bits == LOGIT_BITS:
            return Rescaling.of(ratio, offset, 0)
        offset = within_ends(offset, reach * ratio, step.highest)
        return Rescaling.of(ratio, offset, self._point(step.node, reach * ratio, offset))

    def _point(self, node: Node, span: Reals, offset: Reals) -> int:
        point = room(span, offset)
        if point is None:
            raise QnasError(
                f"What a layer adds up must lie within some {2 ** (HEADROOM - COARSEST):,} steps of its output, but "
                f"{node.name} can reach {float(np.max(span)):.3g}; train the network again, or take more bits."
            )
        return point

    def _layer(self, node: Node) -> tuple[Reals, Reals, Reals]:
        """The real step of a layer's accumulators, the most that its weights let them reach, and its bias: (Cout,)."""
        layer, source = self.network.layers[node.name], self.network.input_grid(node)
        weight, _ = self._weight(node)
        assert layer.grid is not None
        assert source is not None
        lowest, highest = -source.zero_point, levels(source.bits) - source.zero_point
        ends = np.stack([weight * int(lowest), weight * int(highest)])
        sums = [ends.max(0).sum((1, 2, 3)), -ends.min(0).sum((1, 2, 3))]
        reach = np.maximum(*sums).astype(np.float64)
        step = torch.as_tensor(layer.grid.scale).double().expand(len(reach)).numpy() * float(source.scale)
        bias = layer.bias.double().numpy()
        if reach.max() > LARGEST or not (np.isfinite(step).all() and np.isfinite(bias).all()):
            raise QnasError(
                f"Accumulators have 32 bits and networks finite numbers, but the layer {node.name} can add up to "
                f"{reach.max():.3g} and has biases up to {np.abs(bias).max():.3g}; take fewer channels, or train again."
            )
        return step, reach, bias

    def _weight(self, node: Node) -> tuple[Integers, int]:
        """A layer's weight (Cout, Cin / groups, k, k) without its zero point, and that."""
        layer = self.network.layers[node.name]
        assert layer.grid is not None
        zero = int(torch.as_tensor(layer.grid.zero_point).flatten()[0])
        integers: Integers = layer.weight.numpy().astype(np.int64) - zero
        return integers.reshape(*integers.shape, *[1] * (4 - integers.ndim)), zero


def _reach(grid: Grid) -> float:
    """The value furthest from 0 on a grid, in steps."""
    return max(float(grid.zero_point), levels(grid.bits) - float(grid.zero_point))
