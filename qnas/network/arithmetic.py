"""How layers compute and values are rounded: in float, on grids that are made anew from every batch, on fixed grids.

The first ones use the batch's own statistics and ranges, as the paper does when it trains and tests predicted
parameters; the last keeps what one batch has shown. A trained module and a deployed network have arithmetics of their
own (``qnas.network.module``, ``qnas.network.deployed``).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from qnas.network.forward import Arithmetic, Parameters, convolve, forward
from qnas.network.plan import Node, Plan
from qnas.quant.choices import GRIDS, GridChoice, Kind
from qnas.quant.fake import noise_quant, sim_quant
from qnas.quant.fold import EPSILON, batch_moments, fold
from qnas.quant.grid import Grid, Sharing, joint_grid, nearest_power_of_two, next_power_of_two
from qnas.quant.ranges import range_of, usual_fit


class FloatArithmetic:
    """No rounding; batch norms use the statistics of the batch."""

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """See ``Arithmetic``."""
        weight = parameters[f"{node.name}/weight"]
        if not node.norm:
            return convolve(node, x, weight, parameters[f"{node.name}/bias"])
        return normed(node, convolve(node, x, weight, None), parameters)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """See ``Arithmetic``."""
        return x


class DynamicArithmetic:
    """Quantized at each node's bit widths: folds and ranges are made anew from every batch."""

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """See ``Arithmetic``."""
        weight, bias = folded(node, x, parameters)
        return convolve(node, x, self.quantized(weight, node.bits.weights), bias)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """See ``Arithmetic``."""
        return self.quantized(x, node.bits.activations, from_zero=not node.signed)

    def quantized(self, x: Tensor, bits: int, from_zero: bool = False) -> Tensor:
        """A tensor on the grid of its own range."""
        return sim_quant(x, Grid.of(x.detach(), bits, from_zero=from_zero))


class ChannelArithmetic(DynamicArithmetic):
    """The same with a symmetric grid for each output channel, on which weights are rounded before folding.

    Folding then only rescales the grid, so one convolution gives both the batch's moments and the output. All weights
    are rounded together, when a layer needs its own; each is handed out once, so that none outlives its parameters.

    Args:
        plan: of the network.
    """

    def __init__(self, plan: Plan) -> None:
        self.layers = [node for node in plan.nodes if node.kind in ("conv", "linear")]
        self.parameters: Parameters = {}
        self.rounded: dict[str, Tensor] = {}

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """See ``Arithmetic``."""
        if node.name not in self.rounded or parameters is not self.parameters:
            self.parameters, self.rounded = parameters, on_channel_grids(self.layers, parameters)
        weight = self.rounded.pop(node.name)
        if not node.norm:
            return convolve(node, x, weight, parameters[f"{node.name}/bias"])
        return normed(node, convolve(node, x, weight, None), parameters)


class NoisyArithmetic(DynamicArithmetic):
    """The same with quantization modelled as noise (NoiseQuant) instead of rounding.

    Args:
        generator: source of the noise.
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self.generator = generator

    def quantized(self, x: Tensor, bits: int, from_zero: bool = False) -> Tensor:
        """A tensor with the noise of the grid of its own range."""
        low, high = range_of(x.detach(), usual_fit(bits), from_zero)
        return noise_quant(x, low, high, bits, self.generator)


class StaticArithmetic:
    """Layers and grids that no longer depend on the batch.

    Args:
        layers: rounded weight and bias of each, its batch norm folded in, by name.
        grids: of quantized outputs, by name.
    """

    def __init__(self, layers: dict[str, tuple[Tensor, Tensor]], grids: dict[str, Grid]) -> None:
        self.layers, self.grids = layers, grids

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """See ``Arithmetic``."""
        return convolve(node, x, *self.layers[node.name])

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """See ``Arithmetic``; what a layer gives nobody else reads, so it is rounded where it lies."""
        in_place = node.kind in ("conv", "linear")
        return self.grids[node.name].round(x, in_place) if node.name in self.grids else x


class _Observer:
    """The dynamic arithmetic on one batch, which keeps every folded, rounded layer and the grid of every output.

    Symmetric weights with a step a channel are rounded before folding, which then only rescales the grid; others after.
    """

    def __init__(self, choice: GridChoice) -> None:
        self.choice = choice
        self.layers: dict[str, tuple[Tensor, Tensor]] = {}
        self.grids: dict[str, Grid] = {}

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        name, bits = f"{node.name}/weight", node.bits.weights
        before = self.choice.is_symmetric and not self.choice.by_folding and not node.bits.is_float
        if before:
            parameters = {**parameters, name: weight_grid(parameters[name], bits, self.choice).round(parameters[name])}
        weight, bias = folded(node, x, parameters)
        if not (before or node.bits.is_float):
            weight = weight_grid(weight, bits, self.choice).round(weight)
        self.layers[node.name] = weight, bias
        return convolve(node, x, weight, bias)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        if node.bits.is_float:
            return x
        powers = self.choice.kind == "power_of_two"
        kind: Kind = "symmetric" if powers else "asymmetric"
        grid = Grid.of(x, node.bits.activations, from_zero=not node.signed, kind=kind)
        if powers:  # the image is never clipped, as where it is deployed
            image = node.kind == "input"
            grid = replace(grid, scale=next_power_of_two(grid.scale)) if image else in_powers(grid)
        self.grids[node.name] = replace(grid, clips=True)  # other images go beyond
        return grid.round(x)


def static_on(
    plan: Plan, parameters: Parameters, images: Tensor, choice: GridChoice = GRIDS["asymmetric"]
) -> Arithmetic:
    """The arithmetic of predicted parameters with folds and ranges of these images (batch, channels, height, width).

    Weights are on the grids of ``choice``; activations, too, where these are powers of two, else on asymmetric ones.
    """
    observer = _Observer(choice)
    forward(plan, parameters, images, observer)
    return StaticArithmetic(observer.layers, observer.grids)


def folded(node: Node, x: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer, its batch norm folded in with the statistics of this batch (equation 4)."""
    weight = parameters[f"{node.name}/weight"]
    if not node.norm:
        return weight, parameters[f"{node.name}/bias"]
    mean, variance = batch_moments(convolve(node, x, weight, None))
    scale, shift = parameters[f"{node.name}/norm_weight"], parameters[f"{node.name}/norm_bias"]
    return fold(weight, scale, shift, mean, variance)


def normed(node: Node, x: Tensor, parameters: Parameters) -> Tensor:
    """A layer's output after its batch norm with the statistics of this batch."""
    scale, shift = parameters[f"{node.name}/norm_weight"], parameters[f"{node.name}/norm_bias"]
    return torch.batch_norm(x, scale, shift, None, None, True, 0.0, EPSILON, False)  # also of one value


def weight_grid(weight: Tensor, bits: int, choice: GridChoice) -> Grid:
    """The grid of a layer's weight, by the size of its values where it is symmetric."""
    if not choice.is_symmetric:
        return Grid.of(weight, bits)
    grid = Grid.of(weight, bits, fit="normal", kind="symmetric", axis=0 if choice.per_channel else None)
    return in_powers(grid) if choice.kind == "power_of_two" else grid


def in_powers(grid: Grid) -> Grid:
    """The same with the nearest powers of two for its steps, as training begins with them."""
    return replace(grid, scale=nearest_power_of_two(torch.as_tensor(grid.scale)))


def on_channel_grids(layers: Sequence[Node], parameters: Parameters) -> dict[str, Tensor]:
    """The weights of layers on grids a channel, by name, differentiable: those of equal bits in one go."""
    rounded: dict[str, Tensor] = {}
    for bits in {layer.bits.weights for layer in layers}:
        alike = [layer for layer in layers if layer.bits.weights == bits]
        weights = [parameters[f"{layer.name}/weight"] for layer in alike]
        parts = sim_quant(torch.cat([weight.flatten() for weight in weights]), joint_grid(weights, bits))
        for layer, weight, part in zip(alike, weights, parts.split([one.numel() for one in weights]), strict=True):
            rounded[layer.name] = part.view_as(weight)
    return rounded


def arithmetic_for(plan: Plan, weights: Sharing = "tensor") -> Arithmetic:
    """The dynamic arithmetic of a plan's bit widths."""
    if plan.nodes[-1].bits.is_float:
        return FloatArithmetic()
    return ChannelArithmetic(plan) if weights == "channel" else DynamicArithmetic()
