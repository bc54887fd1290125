"""A network as a trainable module: float weights, moving averages of batch norms, trained steps.

While it trains, a quantized network computes with whole numbers (``qnas.network.in_steps``); in evaluation mode it
computes as it is deployed, with the moving averages of its batch norms. ``frozen`` makes training use the averages too.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from qnas.network.forward import Parameters, convolve, forward
from qnas.network.in_steps import Layout, forward_in_steps
from qnas.network.plan import Node, Plan
from qnas.quant.fake import sim_quant
from qnas.quant.fold import EPSILON, batch_moments, fold, ratio_and_bias
from qnas.quant.grid import SMALLEST_SCALE, Grid, symmetric_scale
from qnas.quant.learned import integer_ends, learned_quant, scaled_gradient
from qnas.quant.ranges import Fit, range_of, usual_fit

MOMENTUM = 0.1
"""What a batch counts in a batch norm's moving averages."""
GOLDEN = 0.618034
"""Its multiples modulo 1 lie apart from one another."""


@dataclass(frozen=True)
class WeightGrids:
    """How the weights of a trained network are put on grids.

    Args:
        per_channel: symmetric, with a scale for each output channel, rounded before its batch norm is folded in, which
            then only rescales the grid; otherwise asymmetric, one scale for each tensor, rounded after folding.
        learned: whether the scales are trained; only those of channels can be.
        fit: how ranges are found, for scales that are not trained and for the first ones of those that are.
    """

    per_channel: bool = True
    learned: bool = True
    fit: Fit | None = None


class Network(nn.Module):
    """A plan with parameters of its own.

    Args:
        plan: of the network.
        parameters: a tensor for each of its slots, copied.
        input_range: lowest and highest value of a normalised image.
        weights: how they are put on grids.
    """

    def __init__(
        self,
        plan: Plan,
        parameters: Parameters,
        input_range: tuple[float, float],
        weights: WeightGrids = WeightGrids(),
    ) -> None:
        super().__init__()
        self.plan, self.weights = plan, weights
        self.frozen, self.momentum = False, MOMENTUM
        self.slots = nn.ParameterDict({slot.name: parameters[slot.name].detach().clone() for slot in plan.slots})
        self.log_steps = nn.ParameterDict({node.name: torch.zeros(()) for node in plan.nodes if has_learned_step(node)})
        learned = [node for node in plan.nodes if has_weights(node) and not node.bits.is_float and weights.learned]
        self.log_weight_steps = nn.ParameterDict({node.name: torch.zeros(node.shape[0]) for node in learned})
        self.register_buffer("input_range", torch.tensor(input_range, dtype=torch.float32))
        for node in plan.nodes:
            if node.norm:
                self.register_buffer(f"{node.name}/mean", torch.zeros(node.shape[0]))
                self.register_buffer(f"{node.name}/variance", torch.ones(node.shape[0]))
        self._layout: Layout | None = None
        self.fit_weight_steps()

    @property
    def layout(self) -> Layout:
        """What training needs to know of the plan."""
        device = self.get_buffer("input_range").device
        if self._layout is None or self._layout.plan is not self.plan or self._layout.device != device:
            self._layout = Layout(self.plan, device)
        return self._layout

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        if self.training and not self.plan.nodes[-1].bits.is_float:
            return forward_in_steps(self, images)
        return forward(self.plan, dict(self.slots), images, self)

    def average(self, node: Node, statistic: str) -> Tensor:
        """A batch norm's moving average, ``mean`` or ``variance``."""
        return self.get_buffer(f"{node.name}/{statistic}")

    def norm(self, node: Node) -> tuple[Tensor, Tensor]:
        """Scale, never negative, and shift of a batch norm, (Cout,) each."""
        return self.slots[f"{node.name}/norm_weight"].abs(), self.slots[f"{node.name}/norm_bias"]

    def folding(self, node: Node) -> tuple[Tensor, Tensor]:
        """What a layer's weight is multiplied by, and its bias, once its batch norm is folded in: (Cout,) each."""
        if not node.norm:
            bias = self.slots[f"{node.name}/bias"]
            return torch.ones_like(bias), bias
        return ratio_and_bias(*self.norm(node), self.average(node, "mean"), self.average(node, "variance"))

    def norms(self) -> tuple[Tensor, Tensor]:
        """``norm`` of all layers that have one, one after another."""
        names = self.layout.normed
        scale, shift = (torch.cat([self.slots[f"{name}/norm_{kind}"] for name in names]) for kind in ("weight", "bias"))
        return scale.abs(), shift

    def foldings(self) -> tuple[Tensor, Tensor]:
        """``folding`` of all layers with a batch norm, one after another."""
        mean, variance = (
            torch.cat([self.get_buffer(f"{name}/{kind}") for name in self.layout.normed])
            for kind in ("mean", "variance")
        )
        return ratio_and_bias(*self.norms(), mean, variance)

    def weight_steps(self) -> Tensor:
        """The weights' steps of all channels of all layers, one after another."""
        layout = self.layout
        if self.weights.learned:
            steps = torch.cat([self.log_weight_steps[layer.name] for layer in layout.layers]).exp()
            return scaled_gradient(steps, layout.weight_gain)
        return torch.cat([torch.as_tensor(self.weight_grid(layer).scale) for layer in layout.layers])

    def weight_grid(self, node: Node) -> Grid:
        """The grid of a layer's weight; per channel, that of the weight before folding."""
        if self.weights.learned and self.weights.per_channel:
            scale = self.log_weight_steps[node.name].exp()
            zero_point = torch.full_like(scale, -float(integer_ends(node.bits.weights, True)[0]), requires_grad=False)
            return Grid(scale, zero_point, node.bits.weights, axis=0)
        return self._fitted_grid(node, self.weights.fit)

    def _fitted_grid(self, node: Node, fit: Fit | None) -> Grid:
        weight = self.slots[f"{node.name}/weight"].detach()
        if self.weights.per_channel:
            return Grid.of(weight, node.bits.weights, fit=fit, kind="symmetric", axis=0)
        return Grid.of(self.folded(node)[0].detach(), node.bits.weights, fit=fit)

    def rounded_weight(self, node: Node) -> Tensor:
        """The weight on its grid, before folding."""
        weight = self.slots[f"{node.name}/weight"]
        if self.weights.learned:
            step = self.log_weight_steps[node.name].exp().view(-1, *[1] * (weight.dim() - 1))
            return learned_quant(weight, step, node.bits.weights, signed=True)
        return sim_quant(weight, self.weight_grid(node))

    def rounded_after_folding(self, node: Node, convolved: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Weight and bias of a layer with its batch norm folded in, then rounded; one more convolution for moments."""
        if node.norm and not self.frozen:
            mean, variance = batch_moments(convolved(self.slots[f"{node.name}/weight"]))
            self.average(node, "mean").lerp_(mean.detach(), self.momentum)
            self.average(node, "variance").lerp_(variance.detach(), self.momentum)
            weight, bias = fold(self.slots[f"{node.name}/weight"], *self.norm(node), mean, variance)
        else:
            weight, bias = self.folded(node)
        return sim_quant(weight, Grid.of(weight.detach(), node.bits.weights, fit=self.weights.fit)), bias

    def folded(self, node: Node) -> tuple[Tensor, Tensor]:
        """Weight and bias of a layer with the averages of its batch norm folded in, not yet rounded."""
        weight, (ratio, bias) = self.slots[f"{node.name}/weight"], self.folding(node)
        return weight * ratio.view(-1, *[1] * (weight.dim() - 1)), bias

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """As it is deployed, or in float training with the statistics of the batch; see ``Arithmetic``."""
        if node.bits.is_float and node.norm and self.training and not self.frozen:
            output = convolve(node, x, self.slots[f"{node.name}/weight"], None)
            averages = self.average(node, "mean"), self.average(node, "variance")
            return torch.batch_norm(output, *self.norm(node), *averages, True, self.momentum, EPSILON, False)
        if node.bits.is_float:
            return convolve(node, x, *self.folded(node))
        integers, grid, bias = self.deployed(node)
        return convolve(node, x, grid.dequantize(integers), bias)

    def deployed(self, node: Node) -> tuple[Tensor, Grid, Tensor]:
        """A layer as it is deployed: its weight's integers, their grid, and its bias."""
        grid, (ratio, bias) = self.weight_grid(node), self.folding(node)
        if not self.weights.per_channel:
            return grid.integers(self.folded(node)[0]), grid, bias
        scale = (torch.as_tensor(grid.scale) * ratio).clamp(min=SMALLEST_SCALE)
        return grid.integers(self.slots[f"{node.name}/weight"]), replace(grid, scale=scale), bias

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """As it is deployed; see ``qnas.network.forward.Arithmetic``."""
        if node.bits.is_float:
            return x
        return self.activation_grid(node).round(x)

    def activation_grid(self, node: Node) -> Grid:
        """The grid of a node's output."""
        if node.kind == "input":
            return self.input_grid(node)
        zero_point = float(-integer_ends(node.bits.activations, node.signed)[0])
        return Grid(self.step(node).detach(), zero_point, node.bits.activations)

    def input_grid(self, node: Node) -> Grid:
        """The grid of the image, whose range is fixed."""
        low, high = self.get_buffer("input_range")
        return Grid.spanning(low, high, node.bits.activations)

    def step(self, node: Node) -> Tensor:
        """The trained step of a node's output; its logarithm is the parameter, which keeps it positive."""
        log_step: Tensor = self.log_steps[node.name]
        return log_step.exp()

    def restored(self, state: dict[str, Tensor]) -> Self:
        """The network with a trained state in the place of its own, its batch norms frozen, in evaluation mode."""
        self.load_state_dict(state)
        self.frozen = True
        return self.eval()

    @torch.no_grad()
    def fit_weight_steps(self) -> None:
        """Set trained weight steps to what fits the weights."""
        nodes = {node.name: node for node in self.plan.nodes}
        for name, log_step in self.log_weight_steps.items():
            grid = self._fitted_grid(nodes[name], self.weights.fit or "least_squares")
            log_step.copy_(torch.as_tensor(grid.scale).log())

    @torch.no_grad()
    def calibrate(self, batches: list[Tensor]) -> None:
        """Set steps and moving averages to what the batches show where batch norms use the batch's own statistics.

        Each step is widened by another share of 1/1024. A step that was found from an average of values on a grid is a
        fraction of theirs: many averages would lie halfway between its multiples, where the last bit, which differs
        between runtimes, decides how they round.
        """
        observer = _Observer(self)
        for images in batches:
            forward(self.plan, dict(self.slots), images, observer)
        for index, (name, log_step) in enumerate(self.log_steps.items()):
            step = torch.stack(observer.steps[name]).mean() * (1 + index * GOLDEN % 1 / 1024)
            log_step.copy_(step.clamp(min=SMALLEST_SCALE).log())
        for name, moments in observer.moments.items():
            for statistic, place in (("mean", 0), ("variance", 1)):
                self.get_buffer(f"{name}/{statistic}").copy_(torch.stack([pair[place] for pair in moments]).mean(0))


def has_weights(node: Node) -> bool:
    """Whether a node is a layer with a weight."""
    return node.kind in ("conv", "linear")


def has_learned_step(node: Node) -> bool:
    """Whether a node's output is quantized with a trained step; the image has a fixed range instead."""
    return node.quantized and node.kind != "input" and not node.bits.is_float


class _Observer:
    """A network with the statistics of each batch, which notes those and the activation steps that it meets."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.steps: dict[str, list[Tensor]] = {}
        self.moments: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        weight = parameters[f"{node.name}/weight"]
        if not node.bits.is_float and self.network.weights.per_channel:
            weight = self.network.rounded_weight(node)
        if not node.norm:
            return convolve(node, x, self._on_grid(node, weight), parameters[f"{node.name}/bias"])
        output = convolve(node, x, weight, None)
        mean, variance = batch_moments(output)
        self.moments.setdefault(node.name, []).append((mean, variance))
        weight, bias = fold(weight, *self.network.norm(node), mean, variance)
        return convolve(node, x, self._on_grid(node, weight), bias)

    def _on_grid(self, node: Node, weight: Tensor) -> Tensor:
        if node.bits.is_float or self.network.weights.per_channel:
            return weight
        return Grid.of(weight, node.bits.weights, fit=self.network.weights.fit).round(weight)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        if node.bits.is_float:
            return x
        if not has_learned_step(node):
            return self.network.activation(node, x)
        low, high = range_of(x, usual_fit(node.bits.activations), from_zero=not node.signed)
        step = symmetric_scale(low, high, node.bits.activations)
        self.steps.setdefault(node.name, []).append(step)
        zero_point = float(-integer_ends(node.bits.activations, node.signed)[0])
        return Grid(step.clamp(min=SMALLEST_SCALE), zero_point, node.bits.activations).round(x)
