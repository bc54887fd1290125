"""Closed-form costs of a plan: parameters, multiply-accumulates, weight bytes, peak activation bytes."""

from dataclasses import dataclass, replace
from functools import cache
from math import prod

from qnas.network.plan import Builder, Node, Plan
from qnas.quant.scheme import FP32
from qnas.space.cells import CELL_INPUTS
from qnas.space.genotype import Genotype
from qnas.space.operations import OPERATIONS
from qnas.task import Task

BIAS_BYTES = 4
"""A folded layer has one 32-bit bias per output channel, at every bit width."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a network costs: counts of parameters and multiply-accumulates (one image), and bytes as deployed.

    ``latency`` is in milliseconds an image; it is measured (``qnas.exporters.latency``) and 0 where it was not.
    ``instructions`` are millions an image on a Cortex-M4 (``qnas.network.instructions``), ``flash`` and ``ram`` bytes
    that the exported C code takes (``qnas.network.memory``); 0 where nobody asked.
    """

    params: int
    macs: int
    weight_bytes: int
    activation_bytes: int
    latency: float = 0.0
    instructions: float = 0.0
    flash: int = 0
    ram: int = 0


def costs(plan: Plan) -> Costs:
    """All costs of a plan that have a closed form and hold for any device."""
    return Costs(parameters(plan), macs(plan), weight_bytes(plan), peak_activation_bytes(plan))


def parameters(plan: Plan) -> int:
    """Trainable parameters, those of batch norms included."""
    return sum(prod(slot.shape) for slot in plan.slots)


def macs(plan: Plan) -> int:
    """Multiply-accumulates of the convolutions and the classifier for one image, padding counted."""
    weights = (slot for slot in plan.slots if slot.kind == "weight")
    return sum(prod(slot.shape) * prod(plan.nodes[slot.node].shape[1:]) for slot in weights)


def weight_bytes(plan: Plan) -> int:
    """Packed weights at their bit widths, each tensor rounded up to bytes, and one 32-bit bias per output channel."""
    total = 0
    for slot in plan.slots:
        if slot.kind == "weight":
            total += -(-prod(slot.shape) * plan.nodes[slot.node].bits.weights // 8) + BIAS_BYTES * slot.shape[0]
    return total


def peak_activation_bytes(plan: Plan) -> int:
    """The most activation bytes alive at once when the nodes run in order, one image, each at its bit width.

    A node's output is alive until its last reader has run; a node's inputs and its output are alive together.
    """
    last_reader = {source: position for position, node in enumerate(plan.nodes) for source in node.inputs}
    alive = peak = 0
    for position, node in enumerate(plan.nodes):
        alive += _output_bytes(node)
        peak = max(peak, alive)
        ending = {source for source in node.inputs if last_reader[source] == position}
        alive -= sum(_output_bytes(plan.nodes[source]) for source in ending)
    return peak


def layer_costs(plan: Plan) -> list[Costs]:
    """What each node of a plan counts in its costs; its activation bytes are those of its own output."""
    own = [replace(plan, slots=tuple(slot for slot in plan.slots if slot.node == n)) for n in range(len(plan.nodes))]
    return [
        Costs(parameters(one), macs(one), weight_bytes(one), _output_bytes(node))
        for one, node in zip(own, plan.nodes, strict=True)
    ]


def _output_bytes(node: Node) -> int:
    return -(-prod(node.shape) * node.bits.activations // 8)


def count_parameters(genotype: Genotype, task: Task) -> int:
    """The parameters of a genotype without building its plan, for drawing many; equals ``parameters`` of the plan."""
    norm = genotype.batch_norm
    total = _conv_parameters(task.image[0], genotype.channels, genotype.stem_kernel, norm)
    cells: dict[tuple[object, ...], int] = {}
    for context in genotype.contexts:
        alike = context[1:]
        if alike not in cells:
            inputs = genotype.projections(context)
            cells[alike] = sum(_conv_parameters(context.input_channels[i], context.channels, 1, norm) for i in inputs)
            for step in genotype.cell(context.position):
                for branch in step:
                    direct = branch.state < CELL_INPUTS and not genotype.projected
                    before = context.input_channels[branch.state] if direct else context.channels
                    channels, stride = (before, context.channels), context.stride(branch.state, genotype.projected)
                    cells[alike] += _branch_parameters(branch.operation, branch.kernel, channels, stride, norm)
        total += cells[alike]
    width = context.channels * len(genotype.ends(context.position))
    return total + (width + 1) * task.classes


@cache
def _branch_parameters(operation: str, kernel: int, channels: tuple[int, int], stride: int, batch_norm: bool) -> int:
    builder = Builder(Task((channels[0], 1, 1), 1), batch_norm, FP32)
    OPERATIONS[operation].build(builder, 0, channels[1], kernel, stride)
    return sum(prod(slot.shape) for slot in builder.slots)


def _conv_parameters(channels_in: int, channels_out: int, kernel: int, batch_norm: bool) -> int:
    return channels_in * channels_out * kernel**2 + channels_out * (2 if batch_norm else 1)
