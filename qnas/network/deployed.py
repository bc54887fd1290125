"""A trained network as it is deployed: integer weights, steps and zero points, folded biases.

Where activations have 8 bits a deployed bias is a 32-bit integer at the step s_x · s_w, the accumulator's grid, as
onnxruntime makes it; below that the grid would be too coarse, and the bias stays real. So it does where a channel is
all but switched off and its bias would not fit 32 bits.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qnas.network.forward import Parameters, convolve, forward
from qnas.network.module import Network, has_learned_step, has_weights
from qnas.network.plan import Node, Plan
from qnas.quant.grid import Grid
from qnas.quant.scheme import HIGHEST

LARGEST_INTEGER = 2**31 - 1
"""Of a 32-bit bias."""


@dataclass(frozen=True)
class DeployedLayer:
    """A convolution or linear layer: integer ``weight`` on its ``grid`` (real if there is none), real ``bias``."""

    weight: Tensor
    grid: Grid | None
    bias: Tensor

    def real_weight(self) -> Tensor:
        """The weight as real numbers."""
        return self.weight if self.grid is None else self.grid.dequantize(self.weight.float())


@dataclass(frozen=True)
class DeployedNetwork:
    """A plan with its layers and the grids of its quantized activations, by node name."""

    plan: Plan
    layers: dict[str, DeployedLayer]
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

    def integer_bias(self, node: Node) -> tuple[Tensor, Tensor] | None:
        """A layer's bias as integers and their step, one or one a channel, or nothing where the bias stays real."""
        layer, grid = self.layers[node.name], self.input_grid(node)
        if layer.grid is None or grid is None or {grid.bits, node.bits.activations} != {HIGHEST}:
            return None
        step = torch.as_tensor(layer.grid.scale, dtype=torch.float64) * float(grid.scale)
        integers = (layer.bias.double() / step).round()
        return None if integers.abs().max() > LARGEST_INTEGER else (integers.int(), step)

    def real_bias(self, node: Node) -> Tensor:
        """A layer's bias as real numbers, rounded where it is deployed as integers."""
        rounded = self.integer_bias(node)
        return self.layers[node.name].bias if rounded is None else (rounded[0] * rounded[1]).float()

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """See ``qnas.network.forward.Arithmetic``."""
        return convolve(node, x, self.layers[node.name].real_weight(), self.real_bias(node))

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """See ``qnas.network.forward.Arithmetic``."""
        grid = self.activations.get(node.name)
        return x if grid is None else grid.round(x)


@torch.no_grad()
def deploy(network: Network) -> DeployedNetwork:
    """The deployed form of a trained network, on the CPU."""
    network = network.cpu()
    layers = {node.name: _deploy_layer(network, node) for node in network.plan.nodes if has_weights(node)}
    activations = {
        node.name: _of_numbers(network.activation_grid(node))
        for node in network.plan.nodes
        if has_learned_step(node) or (node.kind == "input" and not node.bits.is_float)
    }
    return DeployedNetwork(network.plan, layers, activations)


def _deploy_layer(network: Network, node: Node) -> DeployedLayer:
    if node.bits.is_float:
        weight, bias = network.folded(node)
        return DeployedLayer(weight.clone(), None, bias.clone())
    integers, grid, bias = network.deployed(node)
    return DeployedLayer(integers.to(torch.uint8), grid, bias.clone())


def _of_numbers(grid: Grid) -> Grid:
    """A grid of one tensor with numbers for its scale and zero point."""
    return replace(grid, scale=float(grid.scale), zero_point=float(grid.zero_point))
