"""From genotype to plan: the macro-architecture of stem, cells and classifier. Imports no torch."""

from typing import Any

from qnas.network.handmade import HandMade
from qnas.network.plan import Builder, Plan
from qnas.space.cells import CELL_INPUTS, CellContext
from qnas.space.genotype import Genotype
from qnas.space.operations import OPERATIONS
from qnas.task import Task

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
    for context in genotype.contexts:
        outputs.append(_build_cell(builder, genotype, context, outputs[-2:]))
    builder.bits = genotype.outer_bits(-1)
    return builder.classifier(outputs[-1])


def _build_cell(builder: Builder, genotype: Genotype, context: CellContext, inputs: list[int]) -> int:
    states = list(inputs)
    builder.bits = genotype.outer_bits(1 + context.position)
    for state in genotype.projections(context):
        builder.scope = f"cell{context.position}_"
        stride = context.input_strides[state]
        states[state] = builder.conv(f"input{state}", inputs[state], context.channels, 1, stride)
    for number, step in enumerate(genotype.cell(context.position)):
        made = []
        for side, branch in zip(("left", "right"), step, strict=False):
            builder.scope = f"cell{context.position}_step{number}_{side}_"
            stride = context.stride(branch.state, genotype.projected)
            builder.bits = genotype.branch_bits(branch, context.position)
            build = OPERATIONS[branch.operation].build
            made.append(build(builder, states[branch.state], context.channels, branch.kernel, stride))
        builder.scope = f"cell{context.position}_"
        states.append(builder.sum(f"step{number}", made[0], made[1]) if len(made) > 1 else made[0])
    return builder.concat("output", [states[CELL_INPUTS + number] for number in genotype.ends(context.position)])
