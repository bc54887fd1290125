"""Whether any network of a space keeps the budgets, before anything is spent."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from itertools import combinations_with_replacement, compress, product

from qnas.errors import QnasError
from qnas.nas.limits import Limits
from qnas.network.build import build_plan
from qnas.network.costs import Costs, costs
from qnas.network.plan import Plan
from qnas.quant.scheme import Bits
from qnas.space.cells import CELL_INPUTS, Branch, Cell, is_connected
from qnas.space.genes import operation_choices
from qnas.space.genotype import Genotype
from qnas.space.operations import OPERATIONS
from qnas.space.space import SearchSpace

CostModel = Callable[[Plan], Costs]
"""What gives a network's costs."""


def check_possible(
    space: SearchSpace, limits: Limits, bits: Bits, edges: int = 0, cost_model: CostModel = costs
) -> None:
    """Make sure, before anything is spent, that some network of the space keeps each limit.

    Args:
        space: with its limits counted for the data.
        limits: budgets.
        bits: of all layers.
        edges: bits of the weights of the first and of the last layer, where that is more.
        cost_model: gives a network's costs.

    Raises:
        QnasError: a limit is below the smallest network's cost, which the message states.
    """
    for item in fields(limits):
        limit = getattr(limits, item.name)
        if limit:
            smallest = smallest_cost(space, item.name, bits, edges, cost_model)
            if smallest > limit:
                raise QnasError(
                    f"No network of space {space.name!r} keeps `max_{item.name}={limit:,}`: the smallest needs "
                    f"{smallest:,}; raise the budget, or take a smaller `space`."
                )


def fitting(genotypes: Iterable[Genotype], limits: Limits, space: SearchSpace) -> Iterator[Genotype]:
    """Those of some networks that keep the limits; of latency nothing is known before it is measured."""
    return (one for one in genotypes if limits.excess(costs(build_plan(one, space.task))) <= 0)


def smallest_cost(space: SearchSpace, cost: str, bits: Bits, edges: int = 0, cost_model: CostModel = costs) -> float:
    """The least of one cost over the space, searched cell by cell from its smallest outer sizes.

    Exact for parameters, MACs, weight bytes and latency, to which the two kinds of cells contribute independently.
    """
    cells, smallest = _small_cells(space), []
    kinds = {space.projected > 0, space.projected == 1}
    for batch_norm in {space.batch_norm > 0, space.batch_norm == 1}:
        for stem_stride, projected in product({min(space.stem_strides), max(space.stem_strides)}, kinds):
            outer = (min(space.stem_kernels), stem_stride, min(space.channels), space.cells[0], batch_norm)

            def cost_of(
                normal: Cell,
                reduction: Cell,
                outer: tuple[int, int, int, int, bool] = outer,
                projected: bool = projected,
            ) -> float:
                genotype = Genotype(*outer, normal, reduction, bits, projected=projected)
                plan = build_plan(genotype.with_edges(edges) if edges else genotype, space.task)
                value: float = getattr(cost_model(plan), cost)
                return value

            reduction = min(cells, key=lambda cell: cost_of(cells[0], cell))
            smallest.append(min(cost_of(cell, reduction) for cell in cells))
    return min(smallest)


def _small_cells(space: SearchSpace) -> list[Cell]:
    """Cells of the fewest steps with the smallest kernel of each operation: later steps read the first one."""
    kernels: dict[str, int] = {}
    for choice in operation_choices(space):
        operation, kernel = choice.split()
        kernels[operation] = min(int(kernel), kernels.get(operation, int(kernel)))
    inputs = [Branch(state, *choice) for choice in kernels.items() for state in range(CELL_INPUTS)]
    inner = [Branch(CELL_INPUTS, *choice) for choice in kernels.items()]
    few, (branches, _) = space.steps[0], space.branches
    starts = combinations_with_replacement(inputs, branches)
    seconds = [[step] for step in combinations_with_replacement(inner, branches)] if few > 1 else [[]]
    others = [[(branch,) * branches] * (few - 2) for branch in inner] if few > 2 else [[]]
    cells: list[Cell] = [(start, *second, *rest) for start in starts for second in seconds for rest in others]
    learns = [any(OPERATIONS[branch.operation].learns for step in cell for branch in step) for cell in cells]
    return [cell for cell in compress(cells, learns) if is_connected(cell)]
