"""The forward pass of training: every quantized value is a whole number, held as float, and knows its step.

A convolution reads whole numbers; the step goes into its weight, which is small. A batch norm divides by the next step
on its way, and rounding to whole numbers between two ends is the ReLU. So a layer is one convolution, one batch norm
and one rounding, as fast as in float, and all of it is what an integer kernel computes.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.network.convolution import max_pool
from qnas.network.forward import convolve
from qnas.network.plan import Node, Plan
from qnas.quant.fold import EPSILON
from qnas.quant.learned import integer_ends, rounded, scaled_step

if TYPE_CHECKING:
    from qnas.network.module import Network


class Steps(NamedTuple):
    """Real values as multiples of a step: (batch, channels, height, width), and a scalar."""

    count: Tensor
    step: Tensor

    @property
    def real(self) -> Tensor:
        """The real values."""
        return self.count * self.step


def forward_in_steps(network: "Network", images: Tensor) -> Tensor:
    """Logits (batch, classes) of a quantized network, differentiable in its weights and steps."""
    plan, values, sums = network.plan, list[Steps](), dict[int, Tensor]()
    rounded_sums = read_rounded(plan)
    for position, node in enumerate(plan.nodes):
        inputs = [values[source] for source in node.inputs]
        match node.kind:
            case "input":
                grid = network.input_grid(node)
                step = torch.as_tensor(grid.scale, device=images.device)
                value = Steps(grid.round(images.contiguous(memory_format=torch.channels_last)) / step, step)
            case "conv" | "linear":
                value = _layer(network, node, inputs[0])
            case "max_pool":
                value = Steps(max_pool(inputs[0].count, node.kernel, node.stride), inputs[0].step)
            case "avg_pool":
                pool = F.avg_pool2d(inputs[0].count, node.kernel, node.stride, node.padding, count_include_pad=False)
                value = _rounded(network, node, Steps(pool, inputs[0].step))
            case "global_avg":
                value = _rounded(network, node, Steps(inputs[0].count.mean((2, 3), keepdim=True), inputs[0].step))
            case "sum":
                sums[position] = _total(inputs[0], inputs[1], node.relu)
                one = sums[position].new_ones(())
                value = Steps(sums[position], one)
                if position in rounded_sums:
                    value = _rounded(network, node, value)
            case "concat":
                whole = torch.cat([sums[source] for source in node.inputs], 1)
                value = _rounded(network, node, Steps(whole, whole.new_ones(())))
        values.append(value)
    return values[-1].real


def read_rounded(plan: Plan) -> set[int]:
    """The positions of nodes that something other than a concatenation reads."""
    return {source for node in plan.nodes if node.kind != "concat" for source in node.inputs}


def _total(left: Steps, right: Steps, relu: bool) -> Tensor:
    total = left.real + right.real
    return total.relu() if relu else total


def _rounded(network: "Network", node: Node, value: Steps) -> Steps:
    """A value put on the node's grid; a grid from 0 is a ReLU."""
    lowest, highest = integer_ends(node.bits.activations, node.signed)
    step = scaled_step(network.step(node), value.count.numel(), highest)
    return Steps(rounded(value.count * (value.step / step), lowest, highest), step)


def _layer(network: "Network", node: Node, x: Steps) -> Steps:
    """A layer on whole numbers, its output whole numbers too unless it is the last one."""
    if node.kind == "linear":
        x = Steps(x.count.flatten(1), x.step)
    if not node.quantized:
        return Steps(_linear(network, node, x, torch.ones_like(x.step)), torch.ones_like(x.step))
    lowest, highest = integer_ends(node.bits.activations, node.signed)
    count = len(x.count) * node.shape[0] * node.shape[1] * node.shape[2]
    step = scaled_step(network.step(node), count, highest)
    return Steps(rounded(_linear(network, node, x, step), lowest, highest), step)


def _linear(network: "Network", node: Node, x: Steps, step: Tensor) -> Tensor:
    """The linear part of a layer and its batch norm or bias, in units of ``step``."""
    if not network.weights.per_channel:
        weight, bias = network.rounded_after_folding(node, lambda weight: convolve(node, x.count, weight * x.step, None))
        return convolve(node, x.count, weight * (x.step / step), bias / step)
    weight = network.rounded_weight(node)
    if not node.norm:
        return convolve(node, x.count, weight * (x.step / step), network.slots[f"{node.name}/bias"] / step)
    scale, shift = network.norm(node)
    if network.frozen:
        ratio, bias = network.folding(node)
        return convolve(node, x.count, weight * (ratio * x.step / step).view(-1, 1, 1, 1), bias / step)
    mean, variance = network.average(node, "mean"), network.average(node, "variance")
    output = convolve(node, x.count, weight * x.step, None)
    return torch.batch_norm(output, scale / step, shift / step, mean, variance, True, network.momentum, EPSILON, False)
