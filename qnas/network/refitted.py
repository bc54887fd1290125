"""Grids that are chosen after training, for a whole network or for some of its nodes only.

``Refitted`` rounds predicted parameters by a ``Rounding``, with folds and ranges of every batch; ``post_training``
fixes a trained network's grids by its float activations on a sample, as Jacob et al. (2018) and the paper's section 3.1
do; ``Partly`` takes one arithmetic for some nodes and another one for all others.
"""

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from qnas.network.arithmetic import FloatArithmetic, StaticArithmetic, folded
from qnas.network.forward import Arithmetic, Parameters, convolve, forward
from qnas.network.module import Network, has_weights
from qnas.network.plan import Node, Plan
from qnas.quant.grid import Grid, Sharing
from qnas.quant.ranges import Fit


@dataclass(frozen=True)
class Rounding:
    """How numbers are rounded after training.

    Args:
        bits: of weights and activations; 0 for each node's own.
        fit: how ranges are found; as usual if nobody says: for weights a channel by their size, else by ``usual_fit``.
        weights: what shares a step: a tensor's, on the asymmetric grid of equations 1 to 3, or an output channel's, on
            a symmetric one.
    """

    bits: int = 0
    fit: Fit | None = None
    weights: Sharing = "tensor"

    def weight(self, node: Node, weight: Tensor) -> Tensor:
        """A weight (Cout, ...) on its grid."""
        bits = self.bits or node.bits.weights
        if self.weights == "channel":
            return Grid.of(weight, bits, fit=self.fit or "normal", kind="symmetric", axis=0).round(weight)
        return Grid.of(weight, bits, fit=self.fit).round(weight)

    def grid(self, node: Node, x: Tensor) -> Grid:
        """The grid of a node's output, by values of it."""
        return Grid.of(x, self.bits or node.bits.activations, from_zero=not node.signed, fit=self.fit)


class Refitted:
    """Predicted parameters on grids of each batch's own ranges: ``arithmetic_for``'s, where ``rounding`` says nothing.

    Args:
        rounding: how.
    """

    def __init__(self, rounding: Rounding) -> None:
        self.rounding = rounding

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """See ``Arithmetic``."""
        if self.rounding.weights == "channel":  # rounded before folding, which then only rescales the grid
            name = f"{node.name}/weight"
            rounded = {**parameters, name: self.rounding.weight(node, parameters[name])}
            return FloatArithmetic().layer(node, x, rounded)
        weight, bias = folded(node, x, parameters)
        return convolve(node, x, self.rounding.weight(node, weight), bias)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """See ``Arithmetic``."""
        return self.rounding.grid(node, x).round(x)


class Unrounded:
    """A trained network with its own float weights, its batch norms folded in by their averages, and no rounding.

    Args:
        network: trained.
    """

    def __init__(self, network: Network) -> None:
        self.network = network

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """See ``Arithmetic``."""
        return convolve(node, x, *self.network.folded(node))

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """See ``Arithmetic``."""
        return x


class _Seen(Unrounded):
    """The same, which notes the grids of all outputs."""

    def __init__(self, network: Network, rounding: Rounding) -> None:
        super().__init__(network)
        self.rounding = rounding
        self.grids: dict[str, Grid] = {}

    def activation(self, node: Node, x: Tensor) -> Tensor:
        image = node.kind == "input"
        grid = self.network.input_grid(node) if image else self.rounding.grid(node, x)
        self.grids[node.name] = Grid(grid.scale, grid.zero_point, grid.bits)  # other images go beyond, so it clips
        return x


def post_training(plan: Plan, network: Network, images: Tensor, rounding: Rounding) -> Arithmetic:
    """A trained network's float weights and activations on grids that no training has seen.

    Args:
        plan: of the network, at the bit widths that it is to have.
        network: trained, its averages frozen.
        images: whose activations, in float, decide the ranges: (batch, channels, height, width). The image's own range
            is fixed.
        rounding: how ranges are found.
    """
    seen = _Seen(network, rounding)
    forward(plan, dict(network.slots), images, seen)
    folds = {node: network.folded(node) for node in plan.nodes if has_weights(node)}
    layers = {node.name: (rounding.weight(node, weight), bias) for node, (weight, bias) in folds.items()}
    return StaticArithmetic(layers, seen.grids)


class Partly:
    """One arithmetic for some nodes, another one for all others.

    Args:
        names: of the nodes.
        chosen: their arithmetic.
        others: that of the others.
    """

    def __init__(self, names: Collection[str], chosen: Arithmetic, others: Arithmetic) -> None:
        self.names, self.chosen, self.others = frozenset(names), chosen, others

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """See ``Arithmetic``."""
        return self._of(node).layer(node, x, parameters)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """See ``Arithmetic``."""
        return self._of(node).activation(node, x)

    def _of(self, node: Node) -> Arithmetic:
        return self.chosen if node.name in self.names else self.others
