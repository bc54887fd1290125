"""The functional forward pass of a plan: images and parameters in, logits out, differentiable in both.

Tensors are (batch, channels, height, width), kept in channels-last memory. How a layer computes and where values are
rounded is the business of an ``Arithmetic`` (``qnas.network.arithmetic``).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.network.convolution import conv2d, max_pool
from qnas.network.plan import Node, Plan
from qnas.network.tiles import concatenated, reduced

Parameters = Mapping[str, Tensor]


class Arithmetic(Protocol):
    """How layers compute and values are rounded."""

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """A convolution or linear layer with its batch norm or bias, before its ReLU."""

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """A node's output as its readers see it; what a layer gave may be overwritten."""


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
                value = arithmetic.layer(node, inputs[0], parameters)
            case "linear":
                value = arithmetic.layer(node, inputs[0].flatten(1), parameters)
            case "max_pool":
                value = max_pool(inputs[0], node.kernel, node.stride)
            case "avg_pool":
                value = F.avg_pool2d(inputs[0], node.kernel, node.stride, node.padding, count_include_pad=False)
            case "global_avg":
                value = inputs[0].mean((2, 3), keepdim=True)
            case "sum":
                value = inputs[0] + inputs[1]
            case "concat":
                channels = [plan.nodes[source].shape[0] for source in node.inputs]
                value = concatenated([unrounded.get(source, values[source]) for source in node.inputs], channels)
        if node.relu:
            value = value.relu_()
        if node.handed_on:
            unrounded[position] = value
        values.append(arithmetic.activation(node, value) if node.quantized else value)
    return values[-1]


def features(plan: Plan, parameters: Parameters, images: Tensor, arithmetic: Arithmetic) -> Tensor:
    """What a plan's classifier reads of the images, rounded: (batch, width), or the first tile.

    The arguments are those of ``forward``.
    """
    return forward(replace(plan, nodes=plan.nodes[:-1]), parameters, images, arithmetic).flatten(1)


def classified(plan: Plan, x: Tensor, parameters: Parameters, arithmetic: Arithmetic) -> Tensor:
    """The logits (batch, classes) of a plan's features."""
    return arithmetic.layer(plan.nodes[-1], x, parameters)


def convolve(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The linear part of a convolution or linear node, also of tiles."""
    if node.groups > 1:
        return conv2d(x, weight, bias, node.stride, node.dilation, x.shape[1])
    x, weight = reduced(x, weight, node.channels_in)
    if node.kind == "linear":
        return F.linear(x, weight, bias)
    return conv2d(x, weight, bias, node.stride, node.dilation, 1)
