"""Budgets: the smallest network of a space held against the enumeration of every network of small spaces."""

from dataclasses import astuple, replace
from itertools import combinations_with_replacement, islice, product
from operator import le
from typing import Any

import pytest

from qnas.errors import QnasError
from qnas.nas.budgets import NEAR, CostModel, check_possible, closed_form, fitting, nearest, small_networks
from qnas.nas.limits import Limits
from qnas.network.build import build_plan
from qnas.network.costs import Costs, costs
from qnas.network.memory import costs_in_c
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
    "parameters or memory": small_space(
        operations=("conv", "mb_conv3"), cells=(2, 2), steps=(1, 1), branches=(1, 1), channels=(16,)
    ),
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


def every_cost(space: SearchSpace, bits: Bits, cost_model: CostModel = costs) -> list[Costs]:
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
                found.append(cost_model(build_plan(genotype, space.task)))
    return found


def smallest_cost(space: SearchSpace, cost: str, bits: Bits, edges: int = 0) -> float:
    least: float = min(getattr(one.costs, cost) for one in small_networks(space, bits, edges))
    return least


@pytest.fixture(scope="module")
def every() -> dict[tuple[str, str], list[Costs]]:
    """The costs of every network of each space."""
    return {(name, str(bits)): every_cost(space, bits) for name, space in SPACES.items() for bits in (Bits(4, 4), FP32)}


@pytest.fixture(scope="module")
def smallest(every: dict[tuple[str, str], list[Costs]]) -> dict[tuple[str, str], dict[str, int]]:
    """The least of each cost over each space, by enumeration."""
    return {key: {cost: min(getattr(one, cost) for one in spent) for cost in COSTS} for key, spent in every.items()}


@EACH_COST
@pytest.mark.parametrize("bits", [Bits(4, 4), FP32], ids=str)
@pytest.mark.parametrize("name", SPACES)
def test_the_smallest_network_is_that_of_the_enumeration(
    smallest: dict[tuple[str, str], dict[str, int]], name: str, bits: Bits, cost: str
) -> None:
    assert smallest_cost(SPACES[name], cost, bits) == smallest[name, str(bits)][cost]


@pytest.mark.parametrize("bits", [Bits(4, 4), FP32], ids=str)
@pytest.mark.parametrize("name", SPACES)
def test_every_network_has_a_small_one_that_costs_no_more_of_anything(
    every: dict[tuple[str, str], list[Costs]], name: str, bits: Bits
) -> None:
    small = [astuple(one.costs) for one in small_networks(SPACES[name], bits)]
    different = {astuple(one) for one in every[name, str(bits)]}
    assert set(small) <= different
    left = [one for one in different if not any(all(map(le, own, one)) for own in small)]
    assert left == []
    assert not any(one != other and all(map(le, one, other)) for one in small for other in small)


def test_budgets_that_no_network_keeps_together_are_refused_with_the_least_beside_the_others(
    every: dict[tuple[str, str], list[Costs]],
) -> None:
    space, spent = SPACES["parameters or memory"], every["parameters or memory", "w4a4"]
    params, memory = (min(getattr(one, cost) for one in spent) for cost in ("params", "activation_bytes"))
    most_params = min(one.params for one in spent if one.activation_bytes == memory)
    most_memory = min(one.activation_bytes for one in spent if one.params == params)
    assert most_params > params
    assert most_memory > memory
    for limits in (Limits(most_params, activation_bytes=memory), Limits(params, 10**9, 10**9, most_memory)):
        check_possible(space, limits, Bits(4, 4))
    told = (
        f"`max_params={params:,}` and `max_activation_bytes={memory:,}` together, though each alone can be kept: "
        f"beside the others the least is `max_params={most_params:,}` or `max_activation_bytes={most_memory:,}`; raise"
    )
    with pytest.raises(QnasError, match=told):
        check_possible(space, Limits(params, 10**9, activation_bytes=memory), Bits(4, 4))


@pytest.mark.parametrize("costs_of", [("params", "macs"), ("weight_bytes", "activation_bytes"), COSTS], ids=str)
@pytest.mark.parametrize("name", ["strides and biases", "parameters or memory"])
def test_budgets_are_refused_where_the_enumeration_has_no_network_and_only_there(
    every: dict[tuple[str, str], list[Costs]], name: str, costs_of: tuple[str, ...]
) -> None:
    space, spent = SPACES[name], every[name, "w4a4"]
    grids = [sorted({getattr(one, cost) for one in spent})[:2] for cost in costs_of]
    for values in product(*grids):
        limits = Limits(**dict(zip(costs_of, values, strict=True)))
        if any(limits.excess(one) <= 0 for one in spent):
            check_possible(space, limits, Bits(4, 4))
            found = nearest(space, limits, Bits(4, 4))
            assert limits.excess(costs(build_plan(found, space.task))) <= 0
        else:
            with pytest.raises(QnasError, match="together, though each alone"):
                check_possible(space, limits, Bits(4, 4))


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


@pytest.mark.parametrize("name", ["conv and skip", "strides and biases", "chains and sums", "parameters or memory"])
@pytest.mark.parametrize("cost", ["instructions", "flash", "ram"])
def test_of_what_c_takes_too_the_least_is_that_of_the_enumeration(cost: str, name: str) -> None:
    space, bits = SPACES[name], Bits(4, 8)
    model = closed_form(Limits(**{cost: 1}))
    least = min(getattr(one, cost) for one in every_cost(space, bits, model))
    smallest = min(getattr(one.costs, cost) for one in small_networks(space, bits, 0, model))
    assert 0 < least <= smallest <= (NEAR * least if cost == "ram" else least)
    limits, half = Limits(**{cost: least}), Limits(**{cost: type(least)(least / 2)})
    check_possible(space, limits, bits, 0, model)
    assert getattr(model(build_plan(nearest(space, limits, bits), space.task)), cost) == smallest
    needs = "small ones need" if cost == "ram" else "the smallest needs"
    told = f"keeps `max_{cost}={getattr(half, cost):,}`: {needs} {smallest:,}; raise"
    with pytest.raises(QnasError, match=told):
        check_possible(space, half, bits, 0, model)
    networks = [*islice(stream(space, 0, bits=bits), 2)]
    most = max(getattr(costs_in_c(build_plan(one, space.task)), cost) for one in networks)
    assert [*fitting(networks, Limits(**{cost: most}), space)] == networks
    assert not [*fitting(networks, half, space)]


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


def test_limits_that_change_nothing_are_known() -> None:
    space = small_space(max_params=1000, max_macs=0)
    assert Limits(params=1001, macs=10**9, weight_bytes=10**9).beyond(space) == ["params"]
    assert Limits(params=1000).beyond(space) == Limits().beyond(space) == []


def test_a_space_that_allows_no_network_is_not_called_a_budget_of_the_users() -> None:
    space = small_space(max_macs=50)
    with pytest.raises(QnasError, match=r"keeps its own max_macs = 50: the smallest needs .*; raise that in its file"):
        check_possible(space, Limits().within(space), Bits(4, 4))


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
