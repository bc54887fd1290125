"""A network as a trainable module: float weights, moving averages of batch norms, trained steps.

While it trains, a quantized network computes with whole numbers (``qnas.network.in_steps``); in evaluation mode it
computes as it is deployed, with the moving averages of its batch norms. ``frozen`` makes training use the averages too,
``precision`` lets it compute dense convolutions in another type than its parameters'.
"""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from qnas.network.forward import Parameters, convolve, forward
from qnas.network.grids import USUAL_GRIDS, Grids
from qnas.network.in_steps import Layout, forward_in_steps
from qnas.network.plan import Node, Plan
from qnas.quant.choices import Kind
from qnas.quant.fake import sim_quant
from qnas.quant.fold import EPSILON, batch_moments, fold, ratio_and_bias
from qnas.quant.grid import SMALLEST_SCALE, Grid, symmetric_scale, with_sign
from qnas.quant.learned import integer_ends, learned_quant, scaled_gradient
from qnas.quant.ranges import Fit, range_of, usual_fit

MOMENTUM = 0.1
"""What a batch counts in a batch norm's moving averages."""
GOLDEN = 0.618034
"""Its multiples modulo 1 lie apart from one another."""


class Network(nn.Module):
    """A plan with parameters of its own.

    Args:
        plan: of the network.
        parameters: a tensor for each of its slots, copied.
        input_range: lowest and highest value of a normalised image.
        grids: of its numbers.
    """

    def __init__(
        self,
        plan: Plan,
        parameters: Parameters,
        input_range: tuple[float, float],
        grids: Grids = USUAL_GRIDS,
    ) -> None:
        super().__init__()
        self.plan, self.grids = plan, grids
        self.frozen, self.momentum = False, MOMENTUM
        self.precision: torch.dtype | None = None
        self.slots = nn.ParameterDict({slot.name: parameters[slot.name].detach().clone() for slot in plan.slots})
        self.log_steps = nn.ParameterDict({node.name: torch.zeros(()) for node in plan.nodes if has_learned_step(node)})
        learned = [node for node in plan.nodes if has_weights(node) and not node.bits.is_float and grids.trains_steps]
        shapes = {node.name: node.shape[:1] if grids.choice.per_channel else () for node in learned}
        self.log_weight_steps = nn.ParameterDict({name: torch.zeros(shape) for name, shape in shapes.items()})
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
        layout, per_channel = self.layout, self.grids.choice.per_channel
        if not self.grids.trains_steps:
            steps = torch.cat([self.weight_step(layer).expand(layer.shape[0]) for layer in layout.layers])
        else:
            own = [self.log_weight_steps[layer.name].expand(layer.shape[0]) for layer in layout.layers]
            steps = scaled_gradient(torch.cat(own).exp(), layout.weight_gain if per_channel else layout.tensor_gain)
        if not self.grids.choice.by_folding:
            return steps
        ratio = self.foldings()[0].detach() if layout.normed else steps.new_ones(0)
        return self.grids.before_folding(steps, torch.cat([ratio, ratio.new_ones(len(steps) - len(ratio))]))

    def weight_step(self, node: Node) -> Tensor:
        """The step of a layer's weight, symmetric: (Cout,), before folding; or a scalar that all share after it."""
        if self.grids.trains_steps:
            log_step: Tensor = self.log_weight_steps[node.name]
            return log_step.exp()
        return torch.as_tensor(self._fitted_grid(node, self.grids.fit).scale)

    def _fitted_grid(self, node: Node, fit: Fit | None) -> Grid:
        per_channel, bits = self.grids.choice.per_channel, node.bits.weights
        weight = (self.slots[f"{node.name}/weight"] if per_channel else self.folded(node)[0]).detach()
        return Grid.of(weight, bits, fit=fit, kind="symmetric", axis=0 if per_channel else None, signed=True)

    def weight_grid(self, node: Node) -> Grid:
        """The grid of a layer's weight: symmetric ones before folding, asymmetric ones after."""
        if not self.grids.choice.is_symmetric:
            return Grid.of(self.folded(node)[0].detach(), node.bits.weights, fit=self.grids.fit)
        scale = self.grids.before_folding(self.weight_step(node), self.folding(node)[0].detach())
        return Grid(scale, torch.full_like(scale, middle(node.bits.weights), requires_grad=False), node.bits.weights, 0)

    def rounded_weight(self, node: Node) -> Tensor:
        """The weight on its symmetric grid, before folding."""
        weight, grid = self.slots[f"{node.name}/weight"], self.weight_grid(node)
        return learned_quant(weight, torch.as_tensor(grid.along(grid.scale, weight)), grid.bits, signed=True)

    def rounded_after_folding(self, node: Node, convolved: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Weight and bias of a layer with its batch norm folded in, then rounded; one more convolution for moments."""
        if node.norm and not self.frozen:
            mean, variance = batch_moments(convolved(self.slots[f"{node.name}/weight"]))
            self.average(node, "mean").lerp_(mean.detach(), self.momentum)
            self.average(node, "variance").lerp_(variance.detach(), self.momentum)
            weight, bias = fold(self.slots[f"{node.name}/weight"], *self.norm(node), mean, variance)
        else:
            weight, bias = self.folded(node)
        return sim_quant(weight, Grid.of(weight.detach(), node.bits.weights, fit=self.grids.fit)), bias

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
        if not self.grids.choice.is_symmetric:
            return grid.integers(self.folded(node)[0]), grid, bias
        scale = self.grids.after_folding(self.weight_step(node), ratio)
        zero_point = torch.full_like(scale, middle(grid.bits), requires_grad=False)
        folded = Grid(scale, zero_point, grid.bits, axis=0 if scale.dim() else None)
        return grid.integers(self.slots[f"{node.name}/weight"]), folded, bias

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """As it is deployed; see ``qnas.network.forward.Arithmetic``."""
        if node.bits.is_float:
            return x
        return self.activation_grid(node).round(x)

    def activation_grid(self, node: Node) -> Grid:
        """The grid of a node's output."""
        if node.kind == "input":
            return self.input_grid(node)
        return self.grid_of_step(node, self.step(node).detach())

    def grid_of_step(self, node: Node, step: Tensor) -> Grid:
        """The grid of a node's output with a step."""
        zero_point = float(-integer_ends(node.bits.activations, node.signed)[0])
        return Grid(step, zero_point, node.bits.activations, tie_break=self.grids.tie_break)

    def input_grid(self, node: Node) -> Grid:
        """The grid of the image, whose range is fixed."""
        low, high = self.get_buffer("input_range")
        kind: Kind = "power_of_two" if self.grids.choice.kind == "power_of_two" else "asymmetric"
        return Grid.spanning(low, high, node.bits.activations, kind)

    def step(self, node: Node) -> Tensor:
        """The trained step of a node's output; its logarithm is the parameter, which keeps it positive."""
        return self.grids.allowed(self.log_steps[node.name].exp())

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
            grid = self._fitted_grid(nodes[name], self.grids.fit or "least_squares")
            log_step.copy_(torch.as_tensor(grid.scale).log())

    @torch.no_grad()
    def calibrate(self, batches: list[Tensor]) -> None:
        """Set steps and moving averages to what the batches show where batch norms use the batch's own statistics.

        Each step is widened by another share of 1/1024. A step that was found from an average of values on a grid is a
        fraction of theirs: many averages would lie halfway between its multiples, where the last bit, which differs
        between runtimes, decides how they round.

        Where folding decides on which steps weights are rounded, the batches are seen twice: averages come first.
        """
        self._observe(batches)
        if self.grids.choice.by_folding:
            self.fit_weight_steps()
            self._observe(batches)

    def _observe(self, batches: list[Tensor]) -> None:
        observer = _Observer(self)
        for images in batches:
            forward(self.plan, dict(self.slots), images, observer)
        for index, (name, log_step) in enumerate(self.log_steps.items()):
            step = torch.stack(observer.steps[name]).mean() * (1 + index * GOLDEN % 1 / 1024)
            log_step.copy_(step.clamp(min=SMALLEST_SCALE).log())
        for name, moments in observer.moments.items():
            for statistic, place in (("mean", 0), ("variance", 1)):
                self.get_buffer(f"{name}/{statistic}").copy_(torch.stack([pair[place] for pair in moments]).mean(0))


def middle(bits: int) -> float:
    """The zero point of integers with a sign, 2^(N-1)."""
    return float(-integer_ends(bits, True)[0])


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
        if not node.bits.is_float and self.network.grids.choice.is_symmetric:
            weight = self.network.rounded_weight(node)
        if not node.norm:
            return convolve(node, x, self._on_grid(node, weight), parameters[f"{node.name}/bias"])
        output = convolve(node, x, weight, None)
        mean, variance = batch_moments(output)
        self.moments.setdefault(node.name, []).append((mean, variance))
        weight, bias = fold(weight, *self.network.norm(node), mean, variance)
        return convolve(node, x, self._on_grid(node, weight), bias)

    def _on_grid(self, node: Node, weight: Tensor) -> Tensor:
        if node.bits.is_float or self.network.grids.choice.is_symmetric:
            return weight
        return Grid.of(weight, node.bits.weights, fit=self.network.grids.fit).round(weight)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        if node.bits.is_float:
            return x
        if not has_learned_step(node):
            return self.network.activation(node, x)
        low, high = range_of(x, usual_fit(node.bits.activations), from_zero=not node.signed)
        step = symmetric_scale(with_sign(low) if node.signed else low, high, node.bits.activations)
        self.steps.setdefault(node.name, []).append(step)
        step = self.network.grids.allowed(step.clamp(min=SMALLEST_SCALE))
        return self.network.grid_of_step(node, step).round(x)
