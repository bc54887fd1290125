"""The functional forward pass of a plan: images and parameters in, logits out, differentiable in both.

Tensors are (batch, channels, height, width), kept in channels-last memory. How a layer computes and where values are
rounded is the business of an ``Arithmetic``; the dynamic ones here use the batch's own statistics and ranges, as the
paper does when it trains and tests predicted parameters.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.network.convolution import conv2d, max_pool
from qnas.network.plan import Node, Plan
from qnas.network.tiles import concatenated, met
from qnas.quant.fake import noise_quant, sim_quant
from qnas.quant.fold import EPSILON, batch_moments, fold
from qnas.quant.ranges import CLIP_AT, range_of

Parameters = Mapping[str, Tensor]


class Arithmetic(Protocol):
    """How layers compute and values are rounded."""

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """A convolution or linear layer with its batch norm or bias, before the ReLU."""

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """A node's output as its readers see it."""


def forward(plan: Plan, parameters: Parameters, images: Tensor, arithmetic: Arithmetic) -> Tensor:
    """Run a plan.

    Args:
        plan: the network.
        parameters: a tensor for every slot, by its name: all of them whole, or all their first tiles.
        images: (batch, channels, height, width).
        arithmetic: float, quantized with the batch's statistics, or frozen.

    Returns:
        Logits (batch, classes).
    """
    values: list[Tensor] = []
    unrounded: dict[int, Tensor] = {}
    for position, node in enumerate(plan.nodes):
        inputs = [values[source] for source in node.inputs]
        match node.kind:
            case "input":
                value = images.contiguous(memory_format=torch.channels_last)
            case "conv":
                value = arithmetic.layer(node, inputs[0], parameters).relu_()
            case "linear":
                value = arithmetic.layer(node, inputs[0].flatten(1), parameters)
            case "max_pool":
                value = max_pool(inputs[0], node.kernel, node.stride)
            case "avg_pool":
                value = F.avg_pool2d(inputs[0], node.kernel, node.stride, node.padding, count_include_pad=False)
            case "global_avg":
                value = inputs[0].mean((2, 3), keepdim=True)
            case "sum":
                value = unrounded[position] = inputs[0] + inputs[1]
            case "concat":
                channels = [plan.nodes[source].shape[0] for source in node.inputs]
                value = concatenated([unrounded[source] for source in node.inputs], channels)
        values.append(arithmetic.activation(node, value) if node.quantized else value)
    return values[-1]


def convolve(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The linear part of a convolution or linear node, also of tiles."""
    if node.groups > 1:
        return conv2d(x, weight, bias, node.stride, node.dilation, x.shape[1])
    x, weight = met(x, weight, node.channels_in)
    if node.kind == "linear":
        return F.linear(x, weight, bias)
    return conv2d(x, weight, bias, node.stride, node.dilation, 1)


class FloatArithmetic:
    """No rounding; batch norms use the statistics of the batch."""

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """See ``Arithmetic``."""
        weight = parameters[f"{node.name}/weight"]
        if not node.norm:
            return convolve(node, x, weight, parameters[f"{node.name}/bias"])
        scale, shift = parameters[f"{node.name}/norm_weight"], parameters[f"{node.name}/norm_bias"]
        output = convolve(node, x, weight, None)
        return torch.batch_norm(output, scale, shift, None, None, True, 0.0, EPSILON, False)  # also of one value

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """See ``Arithmetic``."""
        return x


class DynamicArithmetic:
    """Quantized at each node's bit widths: folds and ranges are made anew from every batch.

    Args:
        noise: model quantization as noise (NoiseQuant) instead of rounding (SimQuant).
        generator: source of that noise.
    """

    def __init__(self, noise: bool = False, generator: torch.Generator | None = None) -> None:
        self.noise, self.generator = noise, generator

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """See ``Arithmetic``."""
        weight, bias = folded(node, x, parameters)
        return convolve(node, x, self._round(weight, node.bits.weights), bias)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """See ``Arithmetic``."""
        return self._round(x, node.bits.activations, from_zero=node.kind != "input")

    def _round(self, x: Tensor, bits: int, from_zero: bool = False) -> Tensor:
        low, high = range_of(x.detach(), bits, from_zero)
        if self.noise:
            return noise_quant(x, low, high, bits, self.generator)
        return sim_quant(x, low, high, bits, inside=bits > CLIP_AT)


def folded(node: Node, x: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer, its batch norm folded in with the statistics of this batch (equation 4)."""
    weight = parameters[f"{node.name}/weight"]
    if not node.norm:
        return weight, parameters[f"{node.name}/bias"]
    mean, variance = batch_moments(convolve(node, x, weight, None))
    scale, shift = parameters[f"{node.name}/norm_weight"], parameters[f"{node.name}/norm_bias"]
    return fold(weight, scale, shift, mean, variance)


def arithmetic_for(plan: Plan) -> Arithmetic:
    """The dynamic arithmetic of a plan's bit widths."""
    return FloatArithmetic() if plan.nodes[-1].bits.is_float else DynamicArithmetic()
