"""Predicted parameters as a static network: folds, rounded weights and ranges are made once, from one batch.

Scoring with the statistics of every batch, as the paper does, runs each convolution twice and looks for the range of
each tensor anew; a static network does neither, and is what a deployed one is.
"""

import torch
from torch import Tensor

from qnas.network.forward import DynamicArithmetic, Parameters, convolve, folded, forward
from qnas.network.plan import Node, Plan
from qnas.quant.affine import levels
from qnas.quant.fake import Number, grid_of, rounded
from qnas.quant.ranges import range_of

Grid = tuple[Number, Number, Number]


class CalibratedArithmetic:
    """The arithmetic of one network after one batch (see ``forward.Arithmetic``); without gradients.

    Args:
        plan: of the network.
        parameters: its own, whole or first tiles.
        images: the batch that folds and ranges are taken from, (batch, channels, height, width).
    """

    def __init__(self, plan: Plan, parameters: Parameters, images: Tensor) -> None:
        self.layers: dict[str, tuple[Tensor, Tensor]] = {}
        self.grids: dict[str, Grid] = {}
        with torch.no_grad():
            forward(plan, parameters, images, _Recorder(self))

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """See ``forward.Arithmetic``."""
        return convolve(node, x, *self.layers[node.name])

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """See ``forward.Arithmetic``."""
        grid = self.grids.get(node.name)
        return x if grid is None else rounded(x, *grid, inside=False)


class _Recorder(DynamicArithmetic):
    """The dynamic arithmetic, at floating point too, which writes down what it folds and rounds with."""

    def __init__(self, kept: CalibratedArithmetic) -> None:
        super().__init__()
        self.kept = kept

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        weight, bias = folded(node, x, parameters)
        if not node.bits.is_float:
            weight = self._round(weight, node.bits.weights)
        self.kept.layers[node.name] = weight, bias
        return convolve(node, x, weight, bias)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        if node.bits.is_float:
            return x
        bits = node.bits.activations
        step, zero_point = grid_of(*range_of(x, bits, from_zero=node.kind != "input"), bits)
        self.kept.grids[node.name] = step, -zero_point, levels(bits) - zero_point
        return rounded(x, *self.kept.grids[node.name], inside=False)
