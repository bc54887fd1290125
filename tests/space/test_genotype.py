"""Genotypes: their JSON, and their canonical form held against networkx's graph isomorphism."""

import copy
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnas.errors import QnasError, shown
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.plan import Node
from qnas.quant.scheme import FP32, MIXED, Bits
from qnas.space.cells import Branch, Cell, Step
from qnas.space.genotype import Genotype
from qnas.task import Task

OPERATIONS = {"conv": (3, 5), "sep_conv": (3,), "max_pool": (3,), "skip": (1,)}


@st.composite
def branches(draw: st.DrawFn, states: int, most_operations: int) -> Branch:
    operation = draw(st.sampled_from(list(OPERATIONS)[:most_operations]))
    return Branch(draw(st.integers(0, states - 1)), operation, draw(st.sampled_from(OPERATIONS[operation])))


@st.composite
def connected_cells(draw: st.DrawFn, most_steps: int = 4, most_operations: int = 4) -> Cell:
    count = draw(st.integers(1, most_steps))
    steps = []
    for step in range(count):
        pair = [draw(branches(2 + step, most_operations)) for _ in range(2)]
        steps.append(pair[: 2 if pair[0].operation == "skip" else draw(st.integers(1, 2))])
    step = draw(st.integers(0, count - 1))
    steps[step][-1] = steps[step][-1]._replace(state=1)
    return tuple(map(tuple, steps))


widths = st.one_of(st.just(FP32), st.builds(Bits, st.integers(2, 8), st.integers(2, 8)))
genotypes = st.builds(
    Genotype,
    stem_kernel=st.sampled_from([3, 5, 7]),
    stem_stride=st.integers(1, 2),
    channels=st.integers(1, 64),
    cells=st.integers(2, 9),
    batch_norm=st.booleans(),
    normal=connected_cells(),
    reduction=connected_cells(),
    bits=widths,
    projected=st.booleans(),
)


Place = tuple[int, int, int]
"""Position of a cell, number of a step, side of a branch."""


def with_widths(genotype: Genotype, outer: tuple[Bits, ...], choose: Callable[[Place], Bits]) -> Genotype:
    """A genotype whose branches have the chosen widths, whether they have weights or not."""
    cells: list[Cell] = []
    for reduction, cell in ((False, genotype.normal), (True, genotype.reduction)):
        steps: list[Step] = []
        for number, pair in enumerate(cell):
            steps.append(
                tuple(
                    branch._replace(bits=tuple(choose((at, number, side)) for at in genotype.positions(reduction)))
                    for side, branch in enumerate(pair)
                )
            )
        cells.append(tuple(steps))
    return replace(genotype, normal=cells[0], reduction=cells[1], layer_bits=outer)


def with_random_widths(genotype: Genotype, rng: Random) -> Genotype:
    return with_widths(genotype, tuple(rng.choices(MIXED, k=genotype.cells + 2)), lambda _: rng.choice(MIXED))


@given(st.one_of(genotypes, st.deferred(lambda: mixed_genotypes)), st.randoms(use_true_random=False))
def test_widths_that_are_drawn_are_those_of_the_layers(genotype: Genotype, rng: Random) -> None:
    drawn: list[Bits] = []

    def draw() -> Bits:
        drawn.append(rng.choice(MIXED))
        return drawn[-1]

    found = genotype.with_drawn_bits(draw)
    assert found.architecture == genotype.architecture
    assert {node.bits for node in nodes_of(found) if node.kind in ("conv", "linear")} <= set(drawn)
    one = rng.choice(MIXED)
    assert genotype.with_drawn_bits(lambda: one) == genotype.with_bits(one).canonical()


mixed_genotypes = st.builds(with_random_widths, genotypes, st.randoms(use_true_random=False))


def nodes_of(genotype: Genotype) -> tuple[Node, ...]:
    return build_plan(genotype, Task((3, 8, 8), 10)).nodes


def places(genotype: Genotype) -> list[Place]:
    cells = ((position, genotype.cell(position)) for position in range(genotype.cells))
    return [
        (position, number, side)
        for position, cell in cells
        for number, step in enumerate(cell)
        for side in range(len(step))
    ]


def places_with_weights(genotype: Genotype) -> set[Place]:
    """The branches that have a convolution in the network as it is built."""
    names = [node.name for node in nodes_of(genotype) if node.kind == "conv"]
    return {
        (position, step, side)
        for position, step, side in places(genotype)
        if any(name.startswith(f"cell{position}_step{step}_{('left', 'right')[side]}_") for name in names)
    }


def with_one_changed(genotype: Genotype, place: Place) -> Genotype:
    """A mixed genotype with other widths at one branch of one cell."""

    def choose(one: Place) -> Bits:
        bits = genotype.branch_bits(genotype.cell(one[0])[one[1]][one[2]], one[0])
        return bits if one != place else next(other for other in MIXED if other != bits)

    return with_widths(genotype, genotype.layer_bits, choose)


def rearranged(cell: Cell, rng: Random) -> Cell:
    """The same cell with its steps in another topological order and some of their branches swapped."""
    order: list[int] = []
    waiting = list(range(len(cell)))
    while waiting:
        ready = [step for step in waiting if all(b.state < 2 or b.state - 2 in order for b in cell[step])]
        order.append(rng.choice(ready))
        waiting.remove(order[-1])
    place = {2 + step: 2 + position for position, step in enumerate(order)} | {0: 0, 1: 1}
    steps: list[Step] = []
    for step in order:
        changed = [branch._replace(state=place[branch.state]) for branch in cell[step]]
        steps.append(tuple(changed if rng.random() < 0.5 else reversed(changed)))
    return tuple(steps)


def cell_graph(cell: Cell) -> "nx.DiGraph[str]":
    """A cell as a graph whose node labels tell inputs, operations and steps apart."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_node("state0", label="first input")
    graph.add_node("state1", label="second input")
    for step, pair in enumerate(cell):
        graph.add_node(f"state{2 + step}", label="step")
        for side, branch in enumerate(pair):
            name = f"branch{step}.{side}"
            graph.add_node(name, label=f"{branch.operation} {branch.kernel} {branch.bits}")
            graph.add_edges_from([(f"state{branch.state}", name), (name, f"state{2 + step}")])
    return graph


def isomorphic(left: Cell, right: Cell) -> bool:
    same_label = nx.algorithms.isomorphism.categorical_node_match("label", "")
    return bool(nx.is_isomorphic(cell_graph(left), cell_graph(right), node_match=same_label))


@given(genotypes)
def test_a_genotype_survives_json(genotype: Genotype) -> None:
    assert Genotype.from_json(json.loads(json.dumps(genotype.to_json()))) == genotype


@given(genotypes, st.randoms(use_true_random=False))
def test_the_architecture_ignores_the_order_of_steps_and_branches(genotype: Genotype, rng: Random) -> None:
    moved = replace(genotype, normal=rearranged(genotype.normal, rng), reduction=rearranged(genotype.reduction, rng))
    assert moved.architecture == genotype.architecture
    assert moved.canonical() == genotype.canonical()


def test_the_architecture_ignores_which_of_two_equal_steps_comes_first() -> None:
    a, b, c, d = (Branch(state, "conv", 3) for state in range(4))
    first = Genotype(3, 1, 8, 2, True, (), ((a, b), (a, b), (c, b), (d, d)))
    second = Genotype(3, 1, 8, 2, True, (), ((a, b), (a, b), (d, b), (c, c)))
    assert isomorphic(first.reduction, second.reduction)
    assert first.architecture == second.architecture


@given(genotypes)
def test_the_canonical_form_is_the_same_network(genotype: Genotype) -> None:
    canonical = genotype.canonical()
    assert isomorphic(canonical.reduction, genotype.reduction)
    assert not genotype.has_normal_cells or isomorphic(canonical.normal, genotype.normal)
    assert replace(canonical, normal=genotype.normal, reduction=genotype.reduction) == genotype


@given(genotypes)
def test_the_canonical_form_of_a_canonical_form_is_itself(genotype: Genotype) -> None:
    assert genotype.canonical().canonical() == genotype.canonical()


@given(connected_cells(3, 1), connected_cells(3, 1))
def test_two_cells_have_one_architecture_just_when_they_are_isomorphic(left: Cell, right: Cell) -> None:
    first, second = (Genotype(3, 1, 8, 2, True, (), cell) for cell in (left, right))
    assert (first.architecture == second.architecture) == isomorphic(left, right)


@given(genotypes, connected_cells())
def test_a_cell_that_is_never_used_does_not_matter(genotype: Genotype, other: Cell) -> None:
    two_cells = replace(genotype, cells=2)
    assert replace(two_cells, normal=other).architecture == two_cells.architecture
    assert two_cells.canonical().normal == ()


@pytest.mark.parametrize(
    "change",
    [{"stem_kernel": 5}, {"stem_stride": 2}, {"channels": 5}, {"cells": 3}, {"batch_norm": False}],
    ids=lambda change: next(iter(change)),
)
def test_every_other_choice_changes_the_architecture(genotype: Genotype, change: dict[str, Any]) -> None:
    genotype = replace(genotype, normal=genotype.reduction)
    assert replace(genotype, **change).architecture != genotype.architecture


@given(genotypes, widths, widths)
def test_bits_are_in_the_key_and_not_in_the_architecture(genotype: Genotype, first: Bits, second: Bits) -> None:
    left, right = genotype.with_bits(first), genotype.with_bits(second)
    assert left.architecture == right.architecture
    assert (left.key == right.key) == (first == second)


@given(genotypes, widths)
def test_other_bits_change_nothing_else(genotype: Genotype, bits: Bits) -> None:
    changed = genotype.with_bits(bits)
    assert changed.bits == bits
    assert replace(changed, bits=genotype.bits) == genotype


@given(genotypes)
def test_genotypes_are_hashable_by_value(genotype: Genotype) -> None:
    assert len({genotype, copy.deepcopy(genotype)}) == 1


def test_an_architecture_is_16_hexadecimal_digits(genotype: Genotype) -> None:
    assert len(genotype.architecture) == 16
    assert int(genotype.architecture, 16) >= 0


@pytest.mark.parametrize(("cells", "positions"), [(2, {0, 1}), (3, {1, 2}), (4, {1, 2}), (7, {2, 4}), (18, {6, 12})])
def test_reductions_stand_at_one_and_two_thirds(genotype: Genotype, cells: int, positions: set[int]) -> None:
    deep = replace(genotype, cells=cells, normal=genotype.reduction)
    assert deep.reductions == positions
    assert deep.has_normal_cells == (cells > len(positions))


def test_a_cell_is_reduction_or_normal_by_its_position(genotype: Genotype) -> None:
    normal = ((Branch(1, "conv", 3), Branch(0, "skip", 1)),)
    deep = replace(genotype, cells=4, normal=normal)
    assert [deep.cell(position) == normal for position in range(4)] == [True, False, False, True]


UNCONNECTED: dict[str, Cell] = {
    "empty": (),
    "no branch reads the previous cell": ((Branch(0, "conv", 3), Branch(0, "skip", 1)),),
    "reads itself": ((Branch(1, "conv", 3), Branch(2, "skip", 1)),),
    "reads a later step": ((Branch(1, "conv", 3), Branch(3, "skip", 1)), (Branch(0, "conv", 3), Branch(0, "conv", 3))),
    "has too many steps": ((Branch(1, "conv", 3), Branch(0, "skip", 1)),) * 7,
    "reads a negative state": ((Branch(1, "conv", 3), Branch(-1, "skip", 1)),),
    "has a step of nothing": ((Branch(1, "conv", 3),), ()),
    "has a step of three": ((Branch(1, "conv", 3), Branch(1, "conv", 5), Branch(1, "skip", 1)),),
    "has a skip alone": ((Branch(1, "conv", 3),), (Branch(1, "skip", 1),)),
}


@pytest.mark.parametrize("cell", UNCONNECTED.values(), ids=UNCONNECTED.keys())
@pytest.mark.parametrize("name", ["normal", "reduction"])
def test_a_cell_that_cannot_be_built_is_refused(genotype: Genotype, cell: Cell, name: str) -> None:
    cells = {"normal": genotype.reduction, "reduction": genotype.reduction, name: cell}
    with pytest.raises(QnasError) as error:
        replace(genotype, cells=5, normal=cells["normal"], reduction=cells["reduction"])
    assert str(error.value) == (
        f"The {name} cell has 1 to 6 steps of an operation or two that read earlier states, one state 1, and no skip "
        f"alone, got {shown(cell)}; draw one with `qnas.sample(count=1)`."
    )


@pytest.mark.parametrize(
    "change", [{"cells": 0}, {"channels": 0}, {"cells": -1}, {"cells": 1}, {"cells": 129}, {"channels": 4097}]
)
def test_a_genotype_needs_a_cell_and_a_channel(genotype: Genotype, change: dict[str, int]) -> None:
    with pytest.raises(QnasError, match="A genotype has 2 to 128 cells and 1 to 4096 channels, got"):
        replace(genotype, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change", [{"stem_kernel": 4}, {"stem_kernel": 0}, {"stem_stride": 0}, {"stem_kernel": 65}, {"stem_stride": 9}]
)
def test_a_stem_that_cannot_be_built_is_refused(genotype: Genotype, change: dict[str, int]) -> None:
    with pytest.raises(QnasError, match="A stem has an odd kernel up to 63 and a stride of 1 to 8, got"):
        replace(genotype, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"batch_norm": "false"}, {"stem": [3.7, 1]}, {"cells": True}])
def test_json_of_other_types_is_refused(genotype: Genotype, change: dict[str, object]) -> None:
    with pytest.raises(QnasError, match="A genotype has the fields"):
        Genotype.from_json({**genotype.to_json(), **change})


@pytest.mark.parametrize("field", ["stem", "channels", "cells", "batch_norm", "normal", "reduction", "bits"])
def test_a_missing_field_is_refused(genotype: Genotype, field: str) -> None:
    data = genotype.to_json()
    del data[field]
    with pytest.raises(QnasError, match=rf"got .*\(no '{field}'\); draw one with `qnas\.sample\(count=1\)`\.$"):
        Genotype.from_json(data)


MALFORMED: dict[str, dict[str, Any]] = {
    "stem of one number": {"stem": [3]},
    "stem of three": {"stem": [3, 1, 1]},
    "no number": {"channels": "many"},
    "nothing": {"cells": None},
    "a step of no branch": {"reduction": [[[1, "conv", 3]], []]},
    "a branch of two": {"reduction": [[[1, "conv"], [0, "skip", 1]]]},
    "bits that are a number": {"bits": 4},
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_field_is_refused(genotype: Genotype, change: dict[str, Any]) -> None:
    with pytest.raises(
        QnasError, match=r"A genotype (has the fields stem, channels|cannot be read: The reduction cell has)"
    ):
        Genotype.from_json({**genotype.to_json(), **change})


@pytest.mark.parametrize("data", [None, [], 3, "w4a4"], ids=repr)
def test_json_that_is_no_object_is_refused(data: object) -> None:
    with pytest.raises(QnasError, match="A genotype has the fields"):
        Genotype.from_json(data)


def test_bits_out_of_range_are_refused_as_such(genotype: Genotype) -> None:
    with pytest.raises(QnasError, match=r"Bit widths must lie within 2\.\.8, got 'w9a4'"):
        Genotype.from_json({**genotype.to_json(), "bits": "w9a4"})


@pytest.mark.parametrize("branch", [[1, "cnv", 3], [1, "conv", 4], [1, "conv", 0], [1, "skip", 3]], ids=str)
def test_a_branch_that_cannot_be_built_is_refused(genotype: Genotype, branch: list[int | str]) -> None:
    with pytest.raises(QnasError):
        Genotype.from_json({**genotype.to_json(), "reduction": [[branch, [0, "skip", 1]]]})


@given(mixed_genotypes)
def test_a_mixed_genotype_survives_json(genotype: Genotype) -> None:
    read = Genotype.from_json(json.loads(json.dumps(genotype.to_json())))
    assert read == genotype
    assert read.is_mixed


@given(mixed_genotypes, st.randoms(use_true_random=False))
def test_a_mixed_key_ignores_the_order_of_steps_and_branches(genotype: Genotype, rng: Random) -> None:
    moved = replace(genotype, normal=rearranged(genotype.normal, rng), reduction=rearranged(genotype.reduction, rng))
    assert moved.canonical() == genotype.canonical()
    assert moved.key == genotype.key


@given(connected_cells(3, 1), connected_cells(3, 1), st.randoms(use_true_random=False))
def test_mixed_networks_have_one_key_just_when_they_are_isomorphic(left: Cell, right: Cell, rng: Random) -> None:
    def mixed(cell: Cell) -> Genotype:
        return with_widths(Genotype(3, 1, 8, 2, True, (), cell), MIXED, lambda _: rng.choice(MIXED[:2]))

    for first, second in ((mixed(left), mixed(right)), (mixed(left), mixed(left))):
        assert (first.key == second.key) == isomorphic(first.reduction, second.reduction)


@given(mixed_genotypes)
def test_the_canonical_form_of_a_mixed_genotype_is_the_same_network(genotype: Genotype) -> None:
    canonical = genotype.canonical()
    layers, same = (
        Counter((node.kind, node.shape, node.bits, node.kernel, node.stride, node.groups) for node in nodes_of(one))
        for one in (genotype, canonical)
    )
    assert layers == same
    assert canonical.canonical() == canonical
    assert Genotype.from_json(canonical.to_json()).canonical() == canonical
    assert (
        costs(build_plan(genotype, Task((3, 8, 8), 10))).weight_bytes
        == costs(build_plan(canonical, Task((3, 8, 8), 10))).weight_bytes
    )


@given(mixed_genotypes, st.data())
def test_only_the_widths_of_layers_with_weights_are_in_the_key(genotype: Genotype, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(places(genotype)))
    changed = with_one_changed(genotype, place)
    assert changed != genotype
    assert (changed.key != genotype.key) == (place in places_with_weights(genotype))


@pytest.mark.parametrize(
    ("branch", "counts"),
    [
        (Branch(1, "conv", 3), True),
        (Branch(1, "sep_conv", 3), True),
        (Branch(1, "dil_conv", 3), True),
        (Branch(1, "skip", 1), True),
        (Branch(2, "skip", 1), False),
        (Branch(1, "max_pool", 3), False),
        (Branch(1, "avg_pool", 3), False),
    ],
    ids=str,
)
def test_widths_count_where_an_operation_has_weights(branch: Branch, counts: bool) -> None:
    cell = ((Branch(1, "conv", 3), Branch(1, "conv", 5)), (branch, Branch(0, "conv", 3)))
    outer = (Bits(2, 2), Bits(4, 4), Bits(4, 4), Bits(8, 8))
    genotype = with_widths(Genotype(3, 1, 8, 2, True, (), cell), outer, lambda _: Bits(4, 4))
    assert (with_one_changed(genotype, (0, 1, 0)).key != genotype.key) == counts


@given(mixed_genotypes, st.data())
def test_the_widths_of_stem_inputs_and_classifier_are_in_the_key(genotype: Genotype, data: st.DataObject) -> None:
    outer = list(genotype.layer_bits)
    place = data.draw(st.integers(0, len(outer) - 1))
    outer[place] = next(bits for bits in MIXED if bits != outer[place])
    changed, task = replace(genotype, layer_bits=tuple(outer)), Task((3, 16, 16), 10)
    assert (changed.key == genotype.key) == (build_plan(changed, task) == build_plan(genotype, task))
    assert changed.key != genotype.key or not genotype.projected


def test_the_same_widths_in_another_cell_are_another_key(genotype: Genotype) -> None:
    def narrow_in(cell: int) -> Genotype:
        return with_widths(genotype, (Bits(4, 4),) * 4, lambda at: Bits(2, 2) if at[0] == cell else Bits(4, 4))

    assert narrow_in(0).key != narrow_in(1).key


@given(genotypes, st.sampled_from(MIXED), st.randoms(use_true_random=False))
def test_a_mixed_genotype_whose_layers_all_have_one_width_is_uniform(
    genotype: Genotype, bits: Bits, rng: Random
) -> None:
    used = places_with_weights(genotype)
    mixed = with_widths(
        genotype, (bits,) * (genotype.cells + 2), lambda place: bits if place in used else rng.choice(MIXED)
    )
    assert mixed.is_mixed
    assert mixed.key == genotype.with_bits(bits).key
    assert mixed.canonical() == genotype.with_bits(bits).canonical()


@given(mixed_genotypes)
def test_a_canonical_mixed_genotype_states_its_widest_widths(genotype: Genotype) -> None:
    layers = [node.bits for node in nodes_of(genotype) if node.kind in ("conv", "linear")]
    widest = Bits(max(bits.weights for bits in layers), max(bits.activations for bits in layers))
    assert genotype.canonical().bits == widest


@given(genotypes, st.randoms(use_true_random=False))
def test_the_architecture_does_not_depend_on_widths(genotype: Genotype, rng: Random) -> None:
    first, second = with_random_widths(genotype, rng), with_random_widths(genotype, rng)
    assert first.architecture == second.architecture == genotype.architecture


@given(genotypes, widths, st.randoms(use_true_random=False))
def test_bits_for_all_drop_the_widths(genotype: Genotype, bits: Bits, rng: Random) -> None:
    uniform = with_random_widths(genotype, rng).with_bits(bits)
    assert uniform == genotype.with_bits(bits)
    assert not uniform.is_mixed
    assert "widths" not in uniform.to_json()


@given(st.one_of(genotypes, mixed_genotypes), st.integers(2, 8))
def test_the_edges_of_a_network_can_be_wider_and_nothing_else_changes(genotype: Genotype, edges: int) -> None:
    wider = genotype.with_edges(edges)
    layers, others = (
        [node for node in nodes_of(one) if node.kind in ("conv", "linear")] for one in (genotype.canonical(), wider)
    )
    expected = [node.bits for node in layers]
    expected[0], expected[-1] = (expected[place].with_weights(edges) for place in (0, -1))
    assert [node.bits for node in others] == expected
    assert [node.bits.activations for node in nodes_of(wider)] == [
        node.bits.activations for node in nodes_of(genotype.canonical())
    ]
    assert wider.with_edges(edges) == wider
    assert Genotype.from_json(wider.to_json()) == wider


def of_first_branch(genotype: Genotype, change: Callable[[tuple[Bits, ...]], tuple[Bits, ...]]) -> Cell:
    ((left, right), *rest) = genotype.reduction
    return ((left._replace(bits=change(left.bits)), right), *rest)


MISCOUNTED: dict[str, Callable[[Genotype], dict[str, Any]]] = {
    "an outer width too few": lambda one: {"layer_bits": one.layer_bits[1:]},
    "an outer width too many": lambda one: {"layer_bits": (*one.layer_bits, Bits(4, 4))},
    "no outer widths": lambda one: {"layer_bits": ()},
    "a branch's width too few": lambda one: {"reduction": of_first_branch(one, lambda bits: bits[1:])},
    "a branch's width too many": lambda one: {"reduction": of_first_branch(one, lambda bits: (*bits, bits[0]))},
    "a branch without": lambda one: {"reduction": of_first_branch(one, lambda bits: ())},
    "a cell more": lambda one: {"cells": one.cells + 1, "normal": one.reduction},
    "branches without": lambda one: {"reduction": one.with_bits(FP32).reduction},
}


@pytest.mark.parametrize("change", MISCOUNTED.values(), ids=MISCOUNTED.keys())
def test_a_wrong_count_of_widths_is_refused(genotype: Genotype, change: Callable[[Genotype], dict[str, Any]]) -> None:
    mixed = with_random_widths(genotype, Random(0))
    with pytest.raises(QnasError, match=r"Either all layers have bit widths of their own or none has, got \["):
        replace(mixed, **change(mixed))


@pytest.mark.parametrize("change", [{"widths": ["w4a4"]}, {"widths": "w4a4"}, {"widths": ["w4a4", 4, 4, 4]}], ids=str)
def test_json_with_unusable_widths_is_refused(genotype: Genotype, change: dict[str, Any]) -> None:
    mixed = with_random_widths(genotype, Random(0))
    with pytest.raises(QnasError):
        Genotype.from_json({**mixed.to_json(), **change})


def test_float_layers_among_quantized_ones_are_refused(genotype: Genotype) -> None:
    mixed = with_random_widths(genotype, Random(0))
    with pytest.raises(QnasError, match="all quantized, got fp32"):
        replace(mixed, layer_bits=(FP32, *mixed.layer_bits[1:]))
