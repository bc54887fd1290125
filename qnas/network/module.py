"""A network as a trainable module: float weights, moving averages of batch norms, trained activation steps.

While ``frozen`` is false the batch norms use the statistics of each batch and update their averages; once frozen they
use the averages, as the deployed network does, and every layer is one convolution.
"""

from typing import Self

import torch
from torch import Tensor, nn

from qnas.network.arithmetic import arithmetic_for
from qnas.network.forward import Parameters, convolve, forward
from qnas.network.plan import Node, Plan
from qnas.quant.fake import sim_quant
from qnas.quant.fold import batch_moments, fold
from qnas.quant.grid import SMALLEST_SCALE, Grid, symmetric_scale
from qnas.quant.learned import learned_quant
from qnas.quant.ranges import range_of, usual_fit

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
    """

    def __init__(self, plan: Plan, parameters: Parameters, input_range: tuple[float, float]) -> None:
        super().__init__()
        self.plan = plan
        self.frozen = False
        self.slots = nn.ParameterDict({slot.name: parameters[slot.name].detach().clone() for slot in plan.slots})
        self.log_steps = nn.ParameterDict({node.name: torch.zeros(()) for node in plan.nodes if has_learned_step(node)})
        self.register_buffer("input_range", torch.tensor(input_range, dtype=torch.float32))
        for node in plan.nodes:
            if node.norm:
                self.register_buffer(f"{node.name}/mean", torch.zeros(node.shape[0]))
                self.register_buffer(f"{node.name}/variance", torch.ones(node.shape[0]))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        return forward(self.plan, dict(self.slots), images, self)

    def average(self, node: Node, statistic: str) -> Tensor:
        """A batch norm's moving average, ``mean`` or ``variance``."""
        return self.get_buffer(f"{node.name}/{statistic}")

    def deployed_weight(self, node: Node) -> tuple[Tensor, Tensor]:
        """Weight and bias of a layer with its frozen batch norm folded in, not yet rounded."""
        weight = self.slots[f"{node.name}/weight"]
        if not node.norm:
            return weight, self.slots[f"{node.name}/bias"]
        scale, shift = self.slots[f"{node.name}/norm_weight"], self.slots[f"{node.name}/norm_bias"]
        return fold(weight, scale, shift, self.average(node, "mean"), self.average(node, "variance"))

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """See ``qnas.network.forward.Arithmetic``."""
        if node.norm and not self.frozen:
            weight, bias = self._fold_batch(node, x)
        else:
            weight, bias = self.deployed_weight(node)
        if not node.bits.is_float:
            weight = sim_quant(weight, weight_grid(weight, node))
        return convolve(node, x, weight, bias)

    def _fold_batch(self, node: Node, x: Tensor) -> tuple[Tensor, Tensor]:
        weight = self.slots[f"{node.name}/weight"]
        mean, variance = batch_moments(convolve(node, x, weight, None))
        self._track(node, mean.detach(), variance.detach())
        return fold(
            weight, self.slots[f"{node.name}/norm_weight"], self.slots[f"{node.name}/norm_bias"], mean, variance
        )

    def _track(self, node: Node, mean: Tensor, variance: Tensor) -> None:
        self.average(node, "mean").lerp_(mean, MOMENTUM)
        self.average(node, "variance").lerp_(variance, MOMENTUM)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """See ``qnas.network.forward.Arithmetic``."""
        if node.bits.is_float:
            return x
        if node.kind == "input":
            return sim_quant(x, self.input_grid(node))
        return learned_quant(x, self.step(node), node.bits.activations, node.signed)

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
    def calibrate(self, batches: list[Tensor]) -> None:
        """Set steps and moving averages to what the batches show under the dynamic arithmetic.

        Each step is widened by another share of 1/1024. A step that was found from an average of values on a grid is a
        fraction of theirs: many averages would lie halfway between its multiples, where the last bit, which differs
        between runtimes, decides how they round.
        """
        observer = _Observer(self.plan)
        for images in batches:
            forward(self.plan, dict(self.slots), images, observer)
        for index, (name, log_step) in enumerate(self.log_steps.items()):
            step = torch.stack(observer.steps[name]).mean() * (1 + index * GOLDEN % 1 / 1024)
            log_step.copy_(step.clamp(min=SMALLEST_SCALE).log())
        for name, moments in observer.moments.items():
            for statistic, place in (("mean", 0), ("variance", 1)):
                self.get_buffer(f"{name}/{statistic}").copy_(torch.stack([pair[place] for pair in moments]).mean(0))


def weight_grid(weight: Tensor, node: Node) -> Grid:
    """The grid of a layer's weight, its batch norm folded in: the one quantizer of weights, trained and deployed."""
    return Grid.of(weight.detach(), node.bits.weights)


def has_learned_step(node: Node) -> bool:
    """Whether a node's output is quantized with a trained step; the image has a fixed range instead."""
    return node.quantized and node.kind != "input" and not node.bits.is_float


class _Observer:
    """The dynamic arithmetic, which also notes the activation steps and batch statistics it meets."""

    def __init__(self, plan: Plan) -> None:
        self.arithmetic = arithmetic_for(plan)
        self.steps: dict[str, list[Tensor]] = {}
        self.moments: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        if node.norm:
            moments = batch_moments(convolve(node, x, parameters[f"{node.name}/weight"], None))
            self.moments.setdefault(node.name, []).append(moments)
        return self.arithmetic.layer(node, x, parameters)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        if has_learned_step(node):
            low, high = range_of(x, usual_fit(node.bits.activations), from_zero=not node.signed)
            self.steps.setdefault(node.name, []).append(symmetric_scale(low, high, node.bits.activations))
        return self.arithmetic.activation(node, x)
