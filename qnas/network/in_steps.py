"""The forward pass of training: every quantized value is a whole number, held as float, and knows its step.

A convolution reads whole numbers; their step goes into its weight, which is small. A batch norm divides by the next
step on its way, and rounding to whole numbers between two ends is the ReLU. So a layer is one convolution, one batch
norm and one rounding, as fast as in float, and all of it is what an integer kernel computes. What is small, weights and
steps, is prepared for all layers at once.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.network.convolution import max_pool
from qnas.network.forward import convolve
from qnas.network.plan import Node, Plan
from qnas.quant.fold import EPSILON
from qnas.quant.learned import integer_ends, rounded, scaled_gradient

if TYPE_CHECKING:
    from qnas.network.module import Network

NAMED = dict[str, Tensor]


class Steps(NamedTuple):
    """Real values as multiples of a step: (batch, channels, height, width), and a scalar."""

    multiple: Tensor
    step: Tensor

    def over(self, step: Tensor) -> Tensor:
        """The values as multiples of another step."""
        return self.multiple if step is self.step else self.multiple * (self.step / step)


class Layout:
    """What training needs to know of a plan, once.

    Args:
        plan: of a quantized network.
        device: where index tensors lie.
    """

    def __init__(self, plan: Plan, device: torch.device) -> None:
        self.plan, self.device = plan, device
        nodes = plan.nodes
        self.layers = [node for node in nodes if node.kind in ("conv", "linear")]
        self.stepped = [node for node in nodes if node.quantized and node.kind != "input"]
        self.ends = {node.name: integer_ends(node.bits.activations, node.signed) for node in self.stepped}
        self.rounded = {
            source for node in nodes for source in node.inputs if node.kind != "concat" or not nodes[source].handed_on
        }
        self.concat = {source: node.name for node in nodes if node.kind == "concat" for source in node.inputs}
        self.normed = [layer.name for layer in self.layers if layer.norm]
        shapes = {slot.name: slot.shape for slot in plan.slots}
        self.shapes = [shapes[f"{layer.name}/weight"] for layer in self.layers]
        self.sizes = [torch.Size(shape).numel() for shape in self.shapes]
        self.channels = [shape[0] for shape in self.shapes]
        fan_in = torch.tensor([size // count for size, count in zip(self.sizes, self.channels, strict=True)])
        of_channel = torch.arange(len(self.layers)).repeat_interleave(torch.tensor(self.channels))
        self.layer_of_channel = of_channel.to(device)
        self.channel_of_weight = torch.arange(len(of_channel)).repeat_interleave(fan_in[of_channel]).to(device)
        ends = [integer_ends(layer.bits.weights, True) for layer in self.layers]
        self.weight_ends = ends[0] if len(set(ends)) == 1 else None
        self.weight_ends_of_channel = torch.tensor(ends, dtype=torch.float32)[of_channel].t().to(device)
        self.weight_gain = (fan_in[of_channel] * self.weight_ends_of_channel[1].cpu()).rsqrt().to(device)
        self.tensor_gain = self.weight_gain * torch.tensor(self.channels).rsqrt()[of_channel].to(device)
        sizes = torch.tensor([torch.Size(node.shape).numel() * self.ends[node.name][1] for node in self.stepped])
        self.step_gain = sizes.rsqrt().to(device)

    def unit_of(self, layer: Node) -> str:
        """The name of the node whose step counts what a layer reads; a max pool hands its own input's on."""
        source = self.plan.nodes[layer.inputs[0]]
        while source.kind == "max_pool":
            source = self.plan.nodes[source.inputs[0]]
        return source.name


def forward_in_steps(network: "Network", images: Tensor) -> Tensor:
    """Logits (batch, classes) of a quantized network, differentiable in its weights and steps."""
    layout, values, sums = network.layout, list[Steps](), dict[int, Steps]()
    steps = _steps(network, len(images))
    layer = (_before_folding if network.grids.choice.is_symmetric else _after_folding)(network, steps)

    def ended(node: Node, count: Tensor) -> Steps:
        untied = count + network.grids.tie_break if network.grids.tie_break else count
        return Steps(rounded(untied, *layout.ends[node.name]), steps[node.name])

    for position, node in enumerate(network.plan.nodes):
        inputs = [values[source] for source in node.inputs]
        match node.kind:
            case "input":
                x, grid = images.contiguous(memory_format=torch.channels_last), network.input_grid(node)
                value = Steps(grid.integers(x) - grid.zero_point, steps[node.name])
            case "conv":
                value = ended(node, layer(node, inputs[0]))
            case "linear":
                value = Steps(layer(node, Steps(inputs[0].multiple.flatten(1), inputs[0].step)), steps[""])
                value = ended(node, value.multiple) if node.quantized else value
            case "max_pool":
                value = Steps(max_pool(inputs[0].multiple, node.kernel, node.stride), inputs[0].step)
            case "avg_pool":
                pool = F.avg_pool2d(inputs[0].multiple, node.kernel, node.stride, node.padding, count_include_pad=False)
                value = ended(node, Steps(pool, inputs[0].step).over(steps[node.name]))
            case "global_avg":
                mean = Steps(inputs[0].multiple.mean((2, 3), keepdim=True), inputs[0].step)
                value = ended(node, mean.over(steps[node.name]))
            case "sum":
                step = steps[node.name if position in layout.rounded else layout.concat[position]]
                total = Steps(weighted_sum(inputs[0], inputs[1], step), step)
                value = ended(node, total.multiple) if position in layout.rounded else total
                if node.handed_on:
                    sums[position] = total
            case "concat":
                parts = [sums.get(source, values[source]).over(steps[node.name]) for source in node.inputs]
                value = ended(node, torch.cat(parts, 1))
        values.append(value)
    return values[-1].multiple


def _steps(network: "Network", batch: int) -> NAMED:
    """The step of every node that has one, by its name, and a step of one, by none."""
    layout, image = network.layout, network.plan.nodes[0]
    learned = network.grids.allowed(torch.stack([network.log_steps[node.name] for node in layout.stepped]).exp())
    learned = scaled_gradient(learned, layout.step_gain * batch**-0.5)
    steps = dict(zip((node.name for node in layout.stepped), learned.unbind(), strict=True))
    scale = network.input_grid(image).scale
    return {"": learned.new_ones(()), image.name: torch.as_tensor(scale, device=learned.device), **steps}


Layer = Callable[[Node, Steps], Tensor]
"""A layer of whole numbers, its batch norm or bias included, in units of its output's step."""


def _before_folding(network: "Network", steps: NAMED) -> Layer:
    """Layers whose weights are symmetric: rounded on a step for each channel, which a batch norm only rescales."""
    layout, normed = network.layout, network.layout.normed
    out = torch.stack([steps[layer.name if layer.quantized else ""] for layer in layout.layers])
    per_step = 1 / out.index_select(0, layout.layer_of_channel)
    slots = network.slots
    bias = [slots[f"{layer.name}/bias"] for layer in layout.layers if not layer.norm]
    norms: dict[str, tuple[Tensor, Tensor]] = {}
    if normed and not network.frozen:
        scale, shift = network.norms()
        counts = layout.channels[: len(normed)]
        parts = [(part * per_step[: len(part)]).split(counts) for part in (scale, shift)]
        norms = dict(zip(normed, zip(*parts, strict=True), strict=True))
        factor, per_step = torch.cat([torch.ones_like(scale), per_step[len(scale) :]]), per_step[len(scale) :]
    elif normed:
        ratio, shift = network.foldings()
        factor, bias = torch.cat([ratio * per_step[: len(ratio)], per_step[len(ratio) :]]), [shift, *bias]
    else:
        factor = per_step
    rest = [count for layer, count in zip(layout.layers, layout.channels, strict=True) if layer.name not in norms]
    shifts = (torch.cat(bias) * per_step).split(rest)
    biases = dict(zip((layer.name for layer in layout.layers if layer.name not in norms), shifts, strict=True))
    weights = _rounded_weights(network, steps, factor)

    def layer(node: Node, x: Steps) -> Tensor:
        if node.name not in norms:
            return _product(network, node, x.multiple, weights[node.name], biases[node.name])
        averages = network.average(node, "mean"), network.average(node, "variance")
        output = _product(network, node, x.multiple, weights[node.name], None)
        return torch.batch_norm(output, *norms[node.name], *averages, True, network.momentum, EPSILON, False)

    return layer


def _product(network: "Network", node: Node, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What a layer's inputs and weights make, a dense convolution's in the network's precision."""
    if network.precision is None:
        return convolve(node, x, weight, bias)
    is_dense = node.kind == "conv" and node.channels_in > node.groups
    dtype = network.precision if is_dense else weight.dtype
    return convolve(node, x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype))


def _rounded_weights(network: "Network", steps: NAMED, factor: Tensor) -> NAMED:
    """All weights on their grids, times the step of what they read and a factor, (channels,), each."""
    layout = network.layout
    into = torch.stack([steps[layout.unit_of(layer)] for layer in layout.layers])
    own = network.weight_steps()
    scale = own * factor * into.index_select(0, layout.layer_of_channel)
    flat = torch.cat([network.slots[f"{layer.name}/weight"].flatten() for layer in layout.layers])
    count = flat / own.index_select(0, layout.channel_of_weight)
    if layout.weight_ends:
        count = rounded(count, *layout.weight_ends)
    else:
        lowest, highest = (ends.index_select(0, layout.channel_of_weight) for ends in layout.weight_ends_of_channel)
        count = count.clamp(lowest, highest)
        count = count + (count.round() - count).detach()
    parts = (count * scale.index_select(0, layout.channel_of_weight)).split(layout.sizes)
    return {
        layer.name: part.view(shape) for layer, part, shape in zip(layout.layers, parts, layout.shapes, strict=True)
    }


def _after_folding(network: "Network", steps: NAMED) -> Layer:
    """Layers whose weights have one step each, asymmetric, and are rounded after their batch norm is folded in."""

    def layer(node: Node, x: Steps) -> Tensor:
        step = steps[node.name if node.quantized else ""]
        weight, bias = network.rounded_after_folding(node, lambda it: convolve(node, x.multiple, it * x.step, None))
        return convolve(node, x.multiple, weight * (x.step / step), bias / step)

    return layer


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, a: Tensor, right: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(left, a, right, b)
        return torch.addcmul(left * a, right, b)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        left, a, right, b = ctx.saved_tensors
        return gradient * a, _dot(gradient, left), gradient * b, _dot(gradient, right)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Σ a b, in one pass over channels-last memory; of bfloat16 in float32, as that has too few digits to add up."""
    dtype = torch.promote_types(torch.float32, a.dtype)
    return torch.dot(*(x.permute(0, 2, 3, 1).reshape(-1).to(dtype) for x in (a, b)))


def weighted_sum(left: Steps, right: Steps, step: Tensor) -> Tensor:
    """The sum of two tensors (batch, channels, height, width), as multiples of a step."""
    result: Tensor = _WeightedSum.apply(left.multiple, left.step / step, right.multiple, right.step / step)  # type: ignore[no-untyped-call]
    return result
