"""Whether any network of a space keeps the budgets, before anything is spent."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, fields, replace
from itertools import combinations_with_replacement, compress, product
from typing import NamedTuple

from qnas.errors import QnasError
from qnas.nas.limits import Limits
from qnas.nas.pareto import fronts
from qnas.network.build import build_plan
from qnas.network.costs import Costs, costs
from qnas.network.instructions import instructions
from qnas.network.memory import memory
from qnas.network.plan import Plan
from qnas.quant.choices import USUAL
from qnas.quant.scheme import Bits
from qnas.space.cells import CELL_INPUTS, Branch, Cell, is_connected
from qnas.space.genes import operation_choices
from qnas.space.genotype import Genotype
from qnas.space.operations import OPERATIONS
from qnas.space.space import SearchSpace

CostModel = Callable[[Plan], Costs]
"""What gives a network's costs."""
NEAR = 1.5
"""How many times the least RAM that C can take the smallest networks may take: what layers need beside their inputs and
outputs grows with the channels that they read, so that more steps may take less."""
NAMES = tuple(item.name for item in fields(Limits))


def closed_form(limits: Limits, grid: str = USUAL, quick: bool = False) -> CostModel:
    """What gives the costs that have a closed form: of those of C code, on a grid, the ones that are limited.

    Where it has to be quick, RAM is a bound (``qnas.network.memory.memory``).
    """

    def model(plan: Plan) -> Costs:
        found = costs(plan)
        if limits.instructions:
            found = replace(found, instructions=instructions(plan))
        if limits.flash or limits.ram:
            taken = memory(plan, grid, quick)
            found = replace(found, flash=taken.flash, ram=taken.ram)
        return found

    return model


class Small(NamedTuple):
    """A small network, at one width for all layers, and what it costs, with wider edges where these are asked for."""

    genotype: Genotype
    costs: Costs


def check_possible(
    space: SearchSpace, limits: Limits, bits: Bits, edges: int = 0, cost_model: CostModel = costs
) -> None:
    """Make sure, before anything is spent, that some network of the space keeps each limit, and all together.

    Args:
        space: with its limits counted for the data.
        limits: budgets.
        bits: of all layers.
        edges: bits of the weights of the first and of the last layer, where that is more.
        cost_model: gives a network's costs.

    Raises:
        QnasError: no network keeps them; the message states the least that is possible, but of RAM that of some.
    """
    given = {name: limit for name in NAMES if (limit := getattr(limits, name))}
    if not given:
        return
    small, loose = small_networks(space, bits, edges, cost_model), replace(limits, ram=int(NEAR * limits.ram))
    for name, limit in given.items():
        smallest = _least(small, name)
        if smallest > getattr(loose, name):
            own = limit == getattr(space, f"max_{name}", 0)
            budget = f"its own max_{name} = {limit:,}" if own else f"`max_{name}={limit:,}`"
            needs = "small ones need" if name == "ram" else "the smallest needs"
            raise QnasError(
                f"No network of space {space.name!r} keeps {budget}: {needs} {smallest:,}; raise "
                f"{'that in its file' if own else 'the budget'}, or take a smaller `space`."
            )
    if min(loose.excess(one.costs) for one in small) > 0:
        tight = [name for name in given if any(getattr(one.costs, name) > getattr(loose, name) for one in small)]
        kept = {name: replace(loose, **{name: 0}) for name in tight}
        within = {name: [one for one in small if rest.excess(one.costs) <= 0] for name, rest in kept.items()}
        least = [f"`max_{name}={_least(left, name):,}`" for name, left in within.items() if left]
        beside = f"beside the others the least is {' or '.join(least)}" if least else "not even without one of them"
        raise QnasError(
            f"No network of space {space.name!r} keeps "
            f"{' and '.join(f'`max_{name}={given[name]:,}`' for name in tight)} together, though each alone can be "
            f"kept: {beside}; raise budgets, or take a smaller `space`."
        )


def fitting(genotypes: Iterable[Genotype], limits: Limits, space: SearchSpace) -> Iterator[Genotype]:
    """Those of some networks that keep the limits; of latency nothing is known before it is measured."""
    model = closed_form(limits)
    return (one for one in genotypes if limits.excess(model(build_plan(one, space.task))) <= 0)


def small_networks(space: SearchSpace, bits: Bits, edges: int = 0, cost_model: CostModel = costs) -> list[Small]:
    """Networks of a space among which there is, for any other one, one that costs no more of anything.

    They have the smallest outer sizes, and cells of which none costs no more of anything than another one: measured
    beside the cell of the other kind that is the least of a burden to the memory, which hides the least of theirs.

    Args:
        space: with its limits counted for the data.
        bits: of all layers.
        edges: bits of the weights of the first and of the last layer, where that is more.
        cost_model: gives a network's costs.
    """
    cells, found = _small_cells(space), []
    strides, norms = ({min(space.stem_strides), max(space.stem_strides)}, {space.batch_norm > 0, space.batch_norm == 1})
    kinds = {space.projected > 0, space.projected == 1}
    for batch_norm, stem_stride, projected in product(sorted(norms), sorted(strides), sorted(kinds)):
        outer = (min(space.stem_kernels), stem_stride, min(space.channels), space.cells[0], batch_norm)

        def costed(
            normal: Cell,
            reduction: Cell,
            outer: tuple[int, int, int, int, bool] = outer,
            projected: bool = projected,
        ) -> Small:
            genotype = Genotype(*outer, normal, reduction, bits, projected=projected)
            built = genotype.with_edges(edges) if edges else genotype
            return Small(genotype, cost_model(build_plan(built, space.task)))

        def memory(one: Small) -> int:
            return one.costs.activation_bytes

        reduction = min((costed(cells[0], cell) for cell in cells), key=memory).genotype.reduction
        beside = [costed(cell, reduction) for cell in cells]
        normals, normal = cheapest(beside), min(beside, key=memory).genotype.normal
        reductions = cheapest([costed(normal, cell) for cell in cells])
        pairs = product((one.genotype.normal for one in normals), (one.genotype.reduction for one in reductions))
        found += [costed(*pair) for pair in pairs]
    return cheapest(found)


def cheapest(networks: Iterable[Small]) -> list[Small]:
    """Those of some networks that no other one undercuts; of those of equal costs the first."""
    different = {astuple(one.costs): one for one in reversed([*networks])}
    kept = set(fronts([*different])[0])
    return [one for place, one in enumerate(different.values()) if place in kept]


def nearest(space: SearchSpace, limits: Limits, bits: Bits, edges: int = 0) -> Genotype:
    """The small network that exceeds the limits by the least share, or is furthest within them."""
    small = small_networks(space, bits, edges, closed_form(limits))
    return min(small, key=lambda one: limits.excess(one.costs)).genotype


def _least(networks: Iterable[Small], cost: str) -> float:
    least: float = min(getattr(one.costs, cost) for one in networks)
    return least


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
