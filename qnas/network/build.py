"""From genotype to plan: the macro-architecture of stem, cells and classifier. Imports no torch."""

from typing import Any, NamedTuple

from qnas.network.handmade import HandMade
from qnas.network.plan import Builder, Plan
from qnas.space.genotype import CELL_INPUTS, Genotype
from qnas.space.operations import OPERATIONS
from qnas.task import Task


class CellContext(NamedTuple):
    """What a cell is built from: its position, channels of its steps and of its two inputs, and their strides."""

    position: int
    reduction: bool
    channels: int
    input_channels: tuple[int, int]
    input_strides: tuple[int, int]


def cell_contexts(genotype: Genotype) -> list[CellContext]:
    """The cells of a genotype from the stem to the classifier."""
    contexts = []
    channels = genotype.channels
    before, previous, stride = channels, channels, 1
    for position in range(genotype.cells):
        reduction = position in genotype.reductions
        channels *= 2 if reduction else 1
        contexts.append(CellContext(position, reduction, channels, (before, previous), (stride, 1)))
        before, previous = previous, channels * len(genotype.cell(position))
        stride = 2 if reduction else 1
    return contexts


def states_read(genotype: Genotype, position: int) -> set[int]:
    """The states of a cell that its steps read; an input that none reads is not built."""
    return {branch.state for step in genotype.cell(position) for branch in step}


Architecture = Genotype | HandMade
"""What a plan can be built from."""


def architecture_from_json(data: dict[str, Any]) -> Architecture:
    """Read what ``to_json`` of a genotype or a hand-made network gave.

    Raises:
        QnasError: it is neither.
    """
    return HandMade.from_json(data) if "network" in data else Genotype.from_json(data)


def build_plan(architecture: Architecture, task: Task) -> Plan:
    """The plan of an architecture for the images and classes of a task."""
    return architecture.build(task) if isinstance(architecture, HandMade) else _of_cells(architecture, task)


def _of_cells(genotype: Genotype, task: Task) -> Plan:
    builder = Builder(task, genotype.batch_norm, genotype.outer_bits(0))
    output = builder.conv("stem", 0, genotype.channels, genotype.stem_kernel, genotype.stem_stride)
    outputs = [output, output]
    for context in cell_contexts(genotype):
        outputs.append(_build_cell(builder, genotype, context, outputs[-2:]))
    builder.bits = genotype.outer_bits(-1)
    return builder.classifier(outputs[-1])


def _build_cell(builder: Builder, genotype: Genotype, context: CellContext, inputs: list[int]) -> int:
    read = states_read(genotype, context.position)
    states = list(inputs)
    builder.bits = genotype.outer_bits(1 + context.position)
    for state in sorted(read & set(range(CELL_INPUTS))):
        builder.scope = f"cell{context.position}_"
        stride = context.input_strides[state]
        states[state] = builder.conv(f"input{state}", inputs[state], context.channels, 1, stride)
    for number, step in enumerate(genotype.cell(context.position)):
        ends = []
        for side, branch in zip(("left", "right"), step, strict=True):
            builder.scope = f"cell{context.position}_step{number}_{side}_"
            stride = 2 if context.reduction and branch.state < CELL_INPUTS else 1
            builder.bits = genotype.branch_bits(branch, context.position)
            ends.append(OPERATIONS[branch.operation].build(builder, states[branch.state], branch.kernel, stride))
        builder.scope = f"cell{context.position}_"
        states.append(builder.sum(f"step{number}", ends[0], ends[1]))
    return builder.concat("output", states[CELL_INPUTS:])
