"""Post-training quantization, as Yun and Wong (section 3) do it: a trained float network on grids that nothing trained.

Weights have their batch norms folded in (equation 4); each tensor has one asymmetric grid (equations 1 to 3). Ranges of
activations come from training images, with the outer 1 % clipped at both ends. Images and logits have 8 bits
at all widths.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from qnas.network.arithmetic import StaticArithmetic
from qnas.network.forward import forward
from qnas.network.module import Network, has_weights
from qnas.network.plan import Node, Plan
from qnas.network.refitted import Unrounded
from qnas.quant.distribution import distribution
from qnas.quant.grid import Grid
from qnas.quant.ranges import Ends, percentile_range, sampled
from qnas.quant.scheme import HIGHEST, Bits

KEPT = 1 << 16
"""Values of each activation that a batch leaves, at most about."""


class LayerRange(NamedTuple):
    """What one layer with weights spans once its batch norm is folded in.

    ``weight`` and ``activation`` are the widths of their ranges (of the activation within the outer 1 %), ``precision``
    is the weight's average precision (``qnas.quant.distribution``): where it is small, one channel takes the grid of
    all.
    """

    name: str
    weight: float
    precision: float
    activation: float


class _Watched(Unrounded):
    """A float network as it is deployed, which notes what its quantized nodes put out."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.values: dict[str, list[Tensor]] = {}

    def activation(self, node: Node, x: Tensor) -> Tensor:
        self.values.setdefault(node.name, []).append(sampled(x, KEPT).clone())
        return x


def with_rounded_logits(plan: Plan) -> Plan:
    """The plan with its last node quantized, too."""
    return Plan((*plan.nodes[:-1], plan.nodes[-1]._replace(quantized=True)), plan.slots, plan.classes)


@torch.no_grad()
def activation_ranges(network: Network, batches: Iterable[Tensor]) -> dict[str, Ends]:
    """The range of every quantized node's values over some images, its outer 1 % clipped; the image's own is fixed.

    Args:
        network: trained in float, in evaluation mode.
        batches: of images (batch, channels, height, width).
    """
    watched, plan = _Watched(network), with_rounded_logits(network.plan)
    for images in batches:
        forward(plan, dict(network.slots), images, watched)
    ranges = {name: percentile_range(torch.cat(parts), sample=1 << 62) for name, parts in watched.values.items()}
    low, high = network.get_buffer("input_range")
    return {**ranges, plan.nodes[0].name: (low, high)}


@torch.no_grad()
def quantized(network: Network, bits: Bits, ranges: dict[str, Ends]) -> Callable[[Tensor], Tensor]:
    """A trained float network, quantized: from images (batch, channels, height, width) to logits (batch, classes).

    Args:
        network: trained in float, in evaluation mode.
        bits: of weights and activations.
        ranges: by ``activation_ranges``.
    """
    plan, layers, grids = with_rounded_logits(network.plan), {}, {}
    for node in plan.nodes:
        if has_weights(node):
            weight, bias = network.folded(node)
            layers[node.name] = Grid.of(weight, bits.weights).round(weight), bias
        if node.quantized:
            outer = node in (plan.nodes[0], plan.nodes[-1])
            grids[node.name] = Grid.spanning(*ranges[node.name], HIGHEST if outer else bits.activations)
    arithmetic = StaticArithmetic(layers, grids)
    return lambda images: forward(plan, {}, images, arithmetic)


@torch.no_grad()
def layer_ranges(network: Network, ranges: dict[str, Ends]) -> list[LayerRange]:
    """What each layer with weights spans, first to last."""
    found = []
    for node in network.plan.nodes:
        if has_weights(node):
            weight = distribution(network.folded(node)[0])
            start, end = ranges[node.name]
            found.append(LayerRange(node.name, weight.range, weight.precision, (end - start).item()))
    return found
