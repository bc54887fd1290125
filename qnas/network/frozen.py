"""A trained network as it is deployed: integer weights, steps and zero points, folded biases.

Where activations have 8 bits a deployed bias is a 32-bit integer at the step s_x · s_w, the accumulator's grid, as
onnxruntime makes it; below that the grid would be too coarse and the bias stays real.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from qnas.network.forward import Parameters, convolve, forward
from qnas.network.module import Network, has_learned_step
from qnas.network.plan import Node, Plan
from qnas.quant.affine import dequantize, quantize, step_and_zero_point
from qnas.quant.ranges import range_of
from qnas.quant.scheme import HIGHEST


@dataclass(frozen=True)
class Grid:
    """Step and zero point of one tensor at ``bits``."""

    step: float
    zero_point: int
    bits: int


@dataclass(frozen=True)
class FrozenLayer:
    """A convolution or linear layer: integer ``weight`` on its ``grid`` (real if there is none), real ``bias``."""

    weight: Tensor
    grid: Grid | None
    bias: Tensor

    def real_weight(self) -> Tensor:
        """The weight as real numbers."""
        if self.grid is None:
            return self.weight
        zero_point = torch.tensor(float(self.grid.zero_point))
        return dequantize(self.weight.float(), torch.tensor(self.grid.step), zero_point)


@dataclass(frozen=True)
class FrozenNetwork:
    """A plan with its layers and the grids of its quantized activations, by node name."""

    plan: Plan
    layers: dict[str, FrozenLayer]
    activations: dict[str, Grid]

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (batch, classes), computed as the deployed network computes them."""
        return forward(self.plan, {}, images, self)

    def input_grid(self, node: Node) -> Grid | None:
        """The grid of the values that a layer reads; a max pool hands on its own input's."""
        source = self.plan.nodes[node.inputs[0]]
        while source.kind == "max_pool":
            source = self.plan.nodes[source.inputs[0]]
        return self.activations.get(source.name)

    def integer_bias(self, node: Node) -> tuple[Tensor, float] | None:
        """A layer's bias as integers and their step, or nothing where the bias stays real."""
        layer, grid = self.layers[node.name], self.input_grid(node)
        if layer.grid is None or grid is None or {grid.bits, node.bits.activations} != {HIGHEST}:
            return None
        step = grid.step * layer.grid.step
        return (layer.bias.double() / step).round().int(), step

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """See ``qnas.network.forward.Arithmetic``."""
        layer, rounded = self.layers[node.name], self.integer_bias(node)
        bias = layer.bias if rounded is None else (rounded[0] * rounded[1]).float()
        return convolve(node, x, layer.real_weight(), bias)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """See ``qnas.network.forward.Arithmetic``."""
        grid = self.activations.get(node.name)
        if grid is None:
            return x
        step, zero_point = torch.tensor(grid.step), torch.tensor(float(grid.zero_point))
        return dequantize(quantize(x, step, zero_point, grid.bits), step, zero_point)


@torch.no_grad()
def freeze(network: Network) -> FrozenNetwork:
    """The deployed form of a trained network, on the CPU."""
    network = network.cpu()
    layers = {node.name: _freeze_layer(network, node) for node in network.plan.nodes if node.kind in ("conv", "linear")}
    activations = {}
    for node in network.plan.nodes:
        if has_learned_step(node):
            activations[node.name] = Grid(network.step(node).item(), 0, node.bits.activations)
        elif node.kind == "input" and not node.bits.is_float:
            low, high = network.get_buffer("input_range")
            step, zero_point = step_and_zero_point(low, high, node.bits.activations)
            activations[node.name] = Grid(step.item(), int(zero_point), node.bits.activations)
    return FrozenNetwork(network.plan, layers, activations)


def _freeze_layer(network: Network, node: Node) -> FrozenLayer:
    weight, bias = network.deployed_weight(node)
    bits = node.bits.weights
    if node.bits.is_float:
        return FrozenLayer(weight.clone(), None, bias.clone())
    step, zero_point = step_and_zero_point(*range_of(weight, bits), bits)
    integers = quantize(weight, step, zero_point, bits).to(torch.uint8)
    return FrozenLayer(integers, Grid(step.item(), int(zero_point), bits), bias.clone())
