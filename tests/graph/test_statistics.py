"""The statistics of graphs held against a count by hand."""

from collections.abc import Callable, Iterator
from math import prod

import numpy as np
import pytest

from qnas.graph.statistics import COUNTED, graph_statistics, reach
from qnas.network.build import build_plan
from qnas.network.plan import Node, Plan
from qnas.quant.scheme import Bits
from qnas.space.genotype import Genotype
from qnas.task import Task


@pytest.fixture
def plan(genotype: Genotype) -> Plan:
    return build_plan(genotype, Task((1, 8, 8), 10))


def longest_path(plan: Plan) -> int:
    """Edges of the longest way from the first node to any other."""
    longest: list[int] = []
    for node in plan.nodes:
        longest.append(1 + max((longest[place] for place in node.inputs), default=-1))
    return max(longest)


def test_statistics_are_counts_the_longest_path_and_means(plan: Plan) -> None:
    found = graph_statistics(plan)
    layers = [node for node in plan.nodes if node.kind == "conv"]
    kinds = [node.kind for node in plan.nodes]
    assert found[: len(COUNTED)] == [kinds.count(kind) for kind in COUNTED]
    edges, depthwise, depth, *means = found[len(COUNTED) :]
    assert edges == sum(len(node.inputs) for node in plan.nodes)
    assert depthwise == sum(node.groups > 1 for node in plan.nodes) > 0
    assert depth == longest_path(plan)
    expected = [
        np.mean([node.norm for node in layers]),
        np.mean([node.kernel for node in layers]),
        np.mean([node.dilation for node in layers]),
        np.mean([np.log(node.shape[0]) for node in layers]),
        np.mean([np.log(node.shape[1] * node.shape[2]) for node in layers]),
    ]
    assert means == pytest.approx(expected)


def test_widths_change_nothing_and_graphs_differ(draw: Callable[..., list[Plan]]) -> None:
    plain, narrow = (draw("tiny", "id", 5, bits=bits) for bits in (Bits(8, 8), Bits(2, 2)))
    assert [graph_statistics(plan) for plan in plain] == [graph_statistics(plan) for plan in narrow]
    assert len({tuple(graph_statistics(plan)) for plan in plain}) == 5


def paths(plan: Plan, place: int) -> Iterator[list[Node]]:
    """All ways from the image to a node."""
    node = plan.nodes[place]
    for before in (way for source in node.inputs for way in paths(plan, source)) if node.inputs else [[]]:
        yield [*before, node]


def seen(path: list[Node]) -> int:
    """The side of what the end of a path sees, one convolution after another, from the last to the first."""
    side = 1
    for node in reversed(path):
        kernel = 1 + node.dilation * (node.kernel - 1) if node.kind == "conv" else 1
        side = (side - 1) * node.stride + kernel
    return side


def test_reach_is_that_of_the_path_that_sees_the_most(draw: Callable[..., list[Plan]]) -> None:
    for plan in draw("tiny", "id", 20):
        ways = [*paths(plan, len(plan.nodes) - 1)]
        chains = [sum(node.kind == "conv" and node.kernel > 1 for node in way) for way in ways]
        smallest = min(prod(node.shape) for node in plan.nodes if node.kind not in ("input", "global_avg", "linear"))
        assert np.exp(reach(plan)) == pytest.approx([max(map(seen, ways)), max(chains), smallest])
