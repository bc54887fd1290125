"""Genotypes as a fixed set of categorical genes, which is what samplers handle best.

Genes of steps that a genotype does not have are ignored when it is decoded, and a cell that breaks a rule is mended, so
every choice of genes is a network; different genes may give the same one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from qnas.quant.scheme import Bits
from qnas.space.cells import CELL_INPUTS, PREVIOUS, Branch, Cell
from qnas.space.genotype import Genotype
from qnas.space.operations import OPERATIONS
from qnas.space.space import SearchSpace

Choices = dict[str, tuple[Any, ...]]
CELLS, SIDES = ("normal", "reduction"), ("left", "right")


def gene_choices(space: SearchSpace, layer_choices: tuple[Bits, ...] = ()) -> Choices:
    """Every gene of a space with its choices, numbers and text only.

    Args:
        space: of the architectures.
        layer_choices: bits that each layer may have; without any, all layers have the same, which is no gene.
    """
    norms = tuple(choice for choice, share in ((True, space.batch_norm), (False, 1 - space.batch_norm)) if share > 0)
    choices: Choices = {
        "stem_kernel": space.stem_kernels,
        "stem_stride": space.stem_strides,
        "channels": space.channels,
        "cells": tuple(range(space.cells[0], space.cells[1] + 1)),
        "steps": tuple(range(space.steps[0], space.steps[1] + 1)),
        "batch_norm": norms,
    }
    if 0 < space.projected < 1:
        choices["projected"] = (True, False)
    for cell in CELLS:
        for step in range(space.steps[1]):
            if space.branches[0] < space.branches[1]:
                choices[f"{cell}{step}_branches"] = tuple(range(space.branches[0], space.branches[1] + 1))
            for side in SIDES[: space.branches[1]]:
                choices[f"{cell}{step}_{side}_state"] = tuple(range(CELL_INPUTS + step))
                choices[f"{cell}{step}_{side}"] = operation_choices(space)
    return choices | {name: tuple(str(bits) for bits in layer_choices) for name in _bit_genes(space) if layer_choices}


def places_of(choices: Choices, genes: Mapping[str, Any]) -> list[int]:
    """Genes as the places of what they are among their choices."""
    return [values.index(genes[name]) for name, values in choices.items()]


def genes_at(choices: Choices, places: Sequence[int]) -> dict[str, Any]:
    """The genes of which ``places_of`` gave the places."""
    return {name: values[place] for (name, values), place in zip(choices.items(), places, strict=True)}


def _bit_genes(space: SearchSpace) -> list[str]:
    most, steps = space.cells[1], space.steps[1]
    inner = [f"bits_cell{position}_inputs" for position in range(most)]
    for position in range(most):
        inner += [f"bits_cell{position}_{step}_{side}" for step in range(steps) for side in SIDES[: space.branches[1]]]
    return ["bits_stem", *inner, "bits_classifier"]


def operation_choices(space: SearchSpace) -> tuple[str, ...]:
    """The operations of a space with each of their kernel sizes, such as ``conv 5``."""
    return tuple(f"{name} {kernel}" for name in space.operations for kernel in OPERATIONS[name].kernels(space.kernels))


def decode(space: SearchSpace, genes: Mapping[str, Any], bits: Bits) -> Genotype:
    """The canonical genotype of a choice of genes; ``bits`` are the layers' widths where these are no genes."""
    normal, reduction = (_decode_cell(space, genes, cell) for cell in CELLS)
    genotype = Genotype(
        stem_kernel=genes["stem_kernel"],
        stem_stride=genes["stem_stride"],
        channels=genes["channels"],
        cells=genes["cells"],
        batch_norm=genes["batch_norm"],
        normal=normal,
        reduction=reduction,
        bits=bits,
        projected=genes.get("projected", space.projected == 1),
    )
    return (_with_layer_bits(genotype, genes) if "bits_stem" in genes else genotype).canonical()


def encode(space: SearchSpace, genotype: Genotype, layer_choices: tuple[Bits, ...] = ()) -> dict[str, Any]:
    """Genes that decode to an architecture whose cells have equally many steps, as all of a space's choices of genes.

    Args:
        space: of the architecture.
        genotype: of one width.
        layer_choices: bits that each layer may have; all get the first.
    """
    genes = {name: values[0] for name, values in gene_choices(space, layer_choices).items()}
    plain = ("stem_kernel", "stem_stride", "channels", "cells", "batch_norm", "projected")
    genes |= {name: getattr(genotype, name) for name in plain if name in genes} | {"steps": len(genotype.reduction)}
    for cell in CELLS:
        for number, step in enumerate(getattr(genotype, cell)):
            genes |= {f"{cell}{number}_branches": len(step)} if space.branches[0] < space.branches[1] else {}
            for side, branch in zip(SIDES, step, strict=False):
                genes[f"{cell}{number}_{side}_state"] = branch.state
                genes[f"{cell}{number}_{side}"] = f"{branch.operation} {branch.kernel}"
    return genes


def _with_layer_bits(genotype: Genotype, genes: Mapping[str, Any]) -> Genotype:
    def branch(reduction: bool, step: int, side: str, plain: Branch) -> Branch:
        names = [f"bits_cell{position}_{step}_{side}" for position in genotype.positions(reduction)]
        return plain._replace(bits=tuple(Bits.parse(genes[name]) for name in names))

    normal, reduction = (
        tuple(
            tuple(branch(kind, number, side, plain) for side, plain in zip(SIDES, step, strict=False))
            for number, step in enumerate(cell)
        )
        for kind, cell in ((False, genotype.normal), (True, genotype.reduction))
    )
    inputs = [f"bits_cell{position}_inputs" for position in range(genotype.cells)]
    outer = tuple(Bits.parse(genes[name]) for name in ("bits_stem", *inputs, "bits_classifier"))
    return replace(genotype, normal=normal, reduction=reduction, layer_bits=outer)


def _decode_cell(space: SearchSpace, genes: Mapping[str, Any], cell: str) -> Cell:
    learning = next(OPERATIONS[name] for name in space.operations if OPERATIONS[name].learns)

    def mended(branch: Branch) -> Branch:
        return branch._replace(operation=learning.name, kernel=learning.kernels(space.kernels)[0])

    steps = []
    for number in range(genes["steps"]):
        step = []
        for side in SIDES[: genes.get(f"{cell}{number}_branches", space.branches[1])]:
            operation, kernel = genes[f"{cell}{number}_{side}"].split()
            step.append(Branch(genes[f"{cell}{number}_{side}_state"], operation, int(kernel)))
        steps.append(step)
    for step in steps:
        if [branch.operation for branch in step] == ["skip"]:
            step[0] = mended(step[0])
    if all(branch.state != PREVIOUS for step in steps for branch in step):
        steps[0][0] = steps[0][0]._replace(state=PREVIOUS)
    if not any(OPERATIONS[branch.operation].learns for step in steps for branch in step):
        steps[-1][-1] = mended(steps[-1][-1])
    return tuple(map(tuple, steps))
