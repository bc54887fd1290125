"""Budgets: the smallest network of a space held against the enumeration of every network of small spaces."""

from dataclasses import replace
from itertools import combinations_with_replacement, islice, product
from typing import Any

import pytest

from qnas.errors import QnasError
from qnas.nas.budgets import check_possible, fitting, smallest_cost
from qnas.nas.limits import Limits
from qnas.network.build import build_plan
from qnas.network.costs import Costs, costs
from qnas.quant.scheme import FP32, Bits
from qnas.sampling.generator import stream
from qnas.space.cells import PREVIOUS, Branch, Cell
from qnas.space.genotype import Genotype
from qnas.space.operations import OPERATIONS
from qnas.space.space import SearchSpace, find_space

COSTS = ("params", "macs", "weight_bytes", "activation_bytes")
EACH_COST = pytest.mark.parametrize("cost", COSTS)
SMALL: dict[str, Any] = {"kernels": (3,), "channels": (6, 8), "stem_kernels": (3,), "batch_norm": 1.0}


def small_space(**changes: Any) -> SearchSpace:
    return replace(find_space("tiny"), name="small", **{**SMALL, **changes})


SPACES = {
    "conv and skip": small_space(operations=("conv", "skip"), cells=(2, 3), steps=(1, 1)),
    "separable and pool": small_space(operations=("max_pool", "sep_conv"), cells=(3, 3), steps=(1, 1)),
    "two kernels": small_space(operations=("conv", "dil_conv"), cells=(2, 2), steps=(1, 1), kernels=(3, 5)),
    "strides and biases": small_space(
        operations=("sep_conv", "skip"), cells=(2, 2), steps=(1, 1), stem_strides=(1, 2), batch_norm=0.5
    ),
    "two steps": small_space(operations=("conv", "skip"), cells=(2, 2), steps=(2, 2), channels=(8,)),
    "three steps": small_space(operations=("conv", "max_pool"), cells=(2, 2), steps=(3, 3), channels=(8,)),
    "one or two steps": small_space(operations=("sep_conv", "avg_pool"), cells=(2, 2), steps=(1, 2), channels=(8,)),
    "bottlenecks": small_space(operations=("mb_conv3", "mb_conv6", "skip"), cells=(2, 2), steps=(1, 1)),
    "chains": small_space(operations=("conv", "sep_conv", "skip"), cells=(2, 3), steps=(1, 1), branches=(1, 1)),
    "chains and sums": small_space(operations=("conv", "skip"), cells=(2, 2), steps=(1, 2), branches=(1, 2)),
    "one kernel of its own": small_space(operations=("conv1x1", "mb_conv3"), cells=(2, 2), steps=(1, 1)),
}


def every_cell(space: SearchSpace) -> list[Cell]:
    """Every cell that the rules allow: some step reads the previous cell, and some operation learns."""
    fixed = {"conv1x1": (1,), "skip": (1,), "max_pool": (3,), "avg_pool": (3,)}
    kernels = {name: fixed.get(name, space.kernels) for name in space.operations}
    branches = [(name, kernel) for name, sizes in kernels.items() for kernel in sizes]
    found: list[Cell] = []
    for count in range(space.steps[0], space.steps[1] + 1):
        states = [[Branch(state, *branch) for state in range(2 + step) for branch in branches] for step in range(count)]
        sizes = range(space.branches[0], space.branches[1] + 1)
        steps = [[pair for size in sizes for pair in combinations_with_replacement(step, size)] for step in states]
        for cell in product(*steps):
            used = [branch for step in cell for branch in step]
            alone = [step[0].operation for step in cell if len(step) == 1]
            if any(b.state == PREVIOUS for b in used) and any(OPERATIONS[b.operation].learns for b in used):
                found += [cell] * ("skip" not in alone)
    return found


def every_cost(space: SearchSpace, bits: Bits) -> list[Costs]:
    """The costs of every network of a space."""
    norms = [norm for norm, share in ((True, space.batch_norm), (False, 1 - space.batch_norm)) if share > 0]
    outer = product(
        space.stem_kernels, space.stem_strides, space.channels, range(space.cells[0], space.cells[1] + 1), norms
    )
    cells, found = every_cell(space), []
    for sizes in outer:
        normals = cells if Genotype(*sizes, cells[0], cells[0]).has_normal_cells else cells[:1]
        for normal, reduction in product(normals, cells):
            if len(normal) == len(reduction) or normals == cells[:1]:
                genotype = Genotype(*sizes, normal, reduction, bits)
                found.append(costs(build_plan(genotype, space.task)))
    return found


@pytest.fixture(scope="module")
def smallest() -> dict[tuple[str, str], dict[str, int]]:
    """The least of each cost over each space, by enumeration."""
    found = {}
    for name, space in SPACES.items():
        for bits in (Bits(4, 4), FP32):
            spent = every_cost(space, bits)
            found[name, str(bits)] = {cost: min(getattr(one, cost) for one in spent) for cost in COSTS}
    return found


@EACH_COST
@pytest.mark.parametrize("bits", [Bits(4, 4), FP32], ids=str)
@pytest.mark.parametrize("name", SPACES)
def test_the_smallest_network_is_that_of_the_enumeration(
    smallest: dict[tuple[str, str], dict[str, int]], name: str, bits: Bits, cost: str
) -> None:
    assert smallest_cost(SPACES[name], cost, bits) == smallest[name, str(bits)][cost]


@EACH_COST
@pytest.mark.parametrize("name", ["tiny", "mobile"])
def test_no_sampled_network_is_smaller_than_the_smallest(name: str, cost: str, draw: Any) -> None:
    space = find_space(name)
    least = min(getattr(costs(plan), cost) for plan in draw(name, "id", 100, bits=Bits(4, 4)))
    assert smallest_cost(space, cost, Bits(4, 4)) <= least


@EACH_COST
def test_an_impossible_budget_is_refused_with_the_smallest_size(
    smallest: dict[tuple[str, str], dict[str, int]], cost: str
) -> None:
    least = smallest["conv and skip", "w4a4"][cost]
    with pytest.raises(QnasError, match=f"keeps `max_{cost}={least - 1:,}`: the smallest needs {least:,}; raise the"):
        check_possible(SPACES["conv and skip"], Limits(**{cost: least - 1}), Bits(4, 4))


@EACH_COST
def test_a_budget_that_the_smallest_network_just_keeps_is_possible(
    smallest: dict[tuple[str, str], dict[str, int]], cost: str
) -> None:
    limits = Limits(**{cost: smallest["conv and skip", "w4a4"][cost]})
    check_possible(SPACES["conv and skip"], limits, Bits(4, 4))


def test_wider_edges_count() -> None:
    space = SPACES["conv and skip"]
    narrow, wide = (smallest_cost(space, "weight_bytes", Bits(4, 4), edges) for edges in (0, 8))
    assert wide > narrow
    assert smallest_cost(space, "params", Bits(4, 4), 8) == smallest_cost(space, "params", Bits(4, 4))
    with pytest.raises(QnasError, match=f"the smallest needs {wide:,}"):
        check_possible(space, Limits(weight_bytes=int(narrow)), Bits(4, 4), 8)


def test_no_limit_is_always_possible() -> None:
    check_possible(find_space("mobile"), Limits(), Bits(4, 4))


@pytest.mark.parametrize(
    ("limits", "excess"),
    [
        (Limits(), 0.0),
        (Limits(params=100), 0.0),
        (Limits(params=80), 0.25),
        (Limits(params=200), -0.5),
        (Limits(params=200, macs=250), 3.0),
        (Limits(weight_bytes=30, activation_bytes=60), -1 / 3),
        (Limits(100, 1000, 20, 40), 0.0),
        (Limits(1, 1000, 20, 40), 99.0),
    ],
)
def test_the_excess_is_the_largest_share_above_a_limit(limits: Limits, excess: float) -> None:
    assert limits.excess(Costs(100, 1000, 20, 40)) == pytest.approx(excess)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(Limits(), (1000, 0)), (Limits(params=500), (500, 0)), (Limits(params=5000, macs=7), (1000, 7))],
)
def test_limits_are_no_looser_than_those_of_the_space(given: Limits, expected: tuple[int, int]) -> None:
    within = replace(given, weight_bytes=3, activation_bytes=4).within(small_space(max_params=1000, max_macs=0))
    assert within == Limits(*expected, 3, 4)


def test_the_macs_of_a_space_limit_too() -> None:
    space = small_space(max_macs=50)
    assert [Limits(macs=macs).within(space).macs for macs in (0, 40, 60)] == [50, 40, 50]


@EACH_COST
def test_a_negative_budget_is_refused(cost: str) -> None:
    with pytest.raises(QnasError, match=f"got `max_{cost}=-1`; leave it out for no limit"):
        Limits(**{cost: -1})


def test_networks_that_keep_the_limits_are_left() -> None:
    space, limits = find_space("tiny"), Limits(params=20_000, latency=1e-9)  # nothing is known of latency yet
    drawn = list(islice(stream(space, 0, bits=Bits(4, 4)), 40))
    kept = list(fitting(drawn, limits, space))
    assert 0 < len(kept) < 40
    assert kept == [one for one in drawn if costs(build_plan(one, space.task)).params <= 20_000]
