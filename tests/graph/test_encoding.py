"""Graphs of plans held against one drawn by hand, and against networkx for those of every shipped space."""

from collections.abc import Callable

import networkx as nx
import pytest
import torch

from qnas.graph.encoding import batch_graphs, encode, to_networkx
from qnas.graph.vocabulary import BIT_WIDTHS, CHANNELS, KERNELS, LONGEST_PATH, PRIMITIVES, SIDES
from qnas.network.plan import Builder, Plan
from qnas.quant.scheme import Bits
from qnas.space.space import find_space, space_names
from qnas.task import Task

EVERY_SPACE = pytest.mark.parametrize("name", space_names())
SPLITS = [(name, split) for name in space_names() for split in ("id", *find_space(name).overrides)]
Draw = Callable[..., list[Plan]]


def small_plan(batch_norm: bool = True) -> Plan:
    """One node of every primitive; one sum adds a value to itself."""
    builder = Builder(Task((3, 8, 8), 10), batch_norm, Bits(4, 8))
    conv = builder.conv("conv", 0, 16, 3)
    depthwise = builder.conv("depthwise", conv, 16, 5, groups=16)
    dilated = builder.conv("dilated", conv, 16, 7, dilation=2, groups=16)
    total = builder.sum("sum", depthwise, dilated)
    most = builder.pool("most", "max_pool", total, 3, 1)
    mean = builder.pool("mean", "avg_pool", builder.sum("double", total, total), 3, 1)
    return builder.classifier(builder.concat("concat", [most, mean]))


WORDS = [
    "input", "conv", "batch_norm", "depthwise_conv", "batch_norm", "dilated_conv", "batch_norm", "sum", "max_pool",
    "avg_pool", "concat", "global_avg", "linear", "bias",
]  # fmt: skip
EDGES = {
    (0, 1), (1, 2), (2, 3), (3, 4), (2, 5), (5, 6), (4, 7), (6, 7), (7, 8), (7, 9), (8, 10), (9, 10), (10, 11),
    (11, 12), (12, 13),
}  # fmt: skip


def joining_one(plan: Plan) -> set[int]:
    """The sums and concatenations whose inputs are all one value, doubled or not."""
    same: dict[int, int] = {}
    for place, node in enumerate(plan.nodes):
        inputs = {same.get(source, source) for source in node.inputs}
        if node.kind in ("sum", "concat") and len(inputs) == 1:
            same[place] = inputs.pop()
    return set(same)


def words(plan: Plan) -> list[str]:
    return [PRIMITIVES[index] for index in encode(plan).x[:, 0].tolist()]


def real_edges(plan: Plan) -> set[tuple[int, int]]:
    graph = encode(plan)
    return {(u, v) for u, v in graph.edge_index[:, graph.distance == 1].t().tolist()}


def test_a_graph_has_the_nodes_drawn_by_hand() -> None:
    assert words(small_plan()) == WORDS


def test_what_joins_a_value_with_itself_alone_is_no_node() -> None:
    builder = Builder(Task((3, 8, 8), 10), True, Bits(4, 8))
    conv = builder.conv("conv", 0, 16, 3)
    plan = builder.classifier(builder.concat("concat", [conv, builder.sum("double", conv, conv)]))
    assert words(plan) == ["input", "conv", "batch_norm", "global_avg", "linear", "bias"]
    assert real_edges(plan) == {(place, place + 1) for place in range(5)}


def test_a_graph_has_the_edges_drawn_by_hand() -> None:
    assert real_edges(small_plan()) == EDGES


def test_without_batch_norms_biases_take_their_places() -> None:
    assert words(small_plan(batch_norm=False)) == ["bias" if word == "batch_norm" else word for word in WORDS]


def test_nodes_carry_shapes_and_widths() -> None:
    rows = encode(small_plan()).x.tolist()
    found = [(CHANNELS[o], CHANNELS[i], KERNELS[h], KERNELS[w]) for _, o, i, h, w, *_ in rows]
    assert found == [
        (3, 1, 1, 1), (16, 3, 3, 3), (16, 1, 1, 1), (16, 1, 5, 5), (16, 1, 1, 1), (16, 1, 7, 7), (16, 1, 1, 1),
        (16, 1, 1, 1), (16, 1, 3, 3), (16, 1, 3, 3), (32, 1, 1, 1), (32, 1, 1, 1), (10, 32, 1, 1), (10, 1, 1, 1),
    ]  # fmt: skip
    assert [(BIT_WIDTHS[row[5]], BIT_WIDTHS[row[6]]) for row in rows] == [(4, 8)] * len(WORDS)


def test_depths_and_heights_of_the_graph_drawn_by_hand() -> None:
    graph = encode(small_plan())
    assert graph.depth.tolist() == [0, 1, 2, 3, 4, 3, 4, 5, 6, 6, 7, 8, 9, 10]
    assert graph.height.tolist() == [10, 9, 8, 7, 6, 7, 6, 5, 4, 4, 3, 2, 1, 0]
    assert torch.equal(graph.x[:, 8:], torch.stack([graph.depth, graph.height], 1))


def test_nodes_tell_the_side_of_their_images() -> None:
    sides = [SIDES[row[7]] for row in encode(small_plan()).x.tolist()]
    assert sides == [8] * 11 + [1] * 3


def test_longer_paths_than_there_are_words_for_count_as_the_longest(draw: Draw) -> None:
    for plan in draw("mobile", "deep", 2):
        graph = encode(plan)
        assert graph.depth.max() > LONGEST_PATH == graph.x[:, 8:].max()


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_virtual_edges_are_the_shortest_paths_up_to_ten(name: str, split: str, draw: Draw) -> None:
    for plan in draw(name, split, 2):
        graph = encode(plan)
        real = nx.DiGraph(graph.edge_index[:, graph.distance == 1].t().tolist())
        paths = nx.all_pairs_shortest_path_length(real, cutoff=10)
        expected = {(u, v, length) for u, reached in paths for v, length in reached.items() if length}
        found = torch.cat([graph.edge_index, graph.distance[None]]).t().tolist()
        assert {(u, v, length) for u, v, length in found} == expected
        assert len(found) == len(expected)


@EVERY_SPACE
def test_depths_and_heights_are_longest_paths(name: str, draw: Draw) -> None:
    for plan in draw(name, "id", 2):
        graph = encode(plan)
        real = to_networkx(plan)
        longest = [0] * len(real)
        for generation, nodes in enumerate(nx.topological_generations(real)):
            for node in nodes:
                longest[node] = generation
        assert graph.depth.tolist() == longest
        for generation, nodes in enumerate(nx.topological_generations(real.reverse())):
            for node in nodes:
                longest[node] = generation
        assert graph.height.tolist() == longest


@EVERY_SPACE
def test_nodes_are_in_topological_order_from_one_input_to_one_output(name: str, draw: Draw) -> None:
    for plan in draw(name, "id", 5):
        real = to_networkx(plan)
        assert all(start < end for start, end in real.edges)
        assert [node for node, degree in real.in_degree if degree == 0] == [0]
        assert [node for node, degree in real.out_degree if degree == 0] == [len(real) - 1]


@EVERY_SPACE
@pytest.mark.parametrize("split", ["id", "deep"])
def test_every_slot_belongs_to_a_node_of_its_kind_and_shape(name: str, split: str, draw: Draw) -> None:
    for plan in draw(name, split, 5):
        graph = encode(plan)
        assert len(graph.slot_index) == len(plan.slots)
        for slot, index in zip(plan.slots, graph.slot_index.tolist(), strict=True):
            word, out, into, height, *_ = graph.x[index].tolist()
            node = plan.nodes[slot.node]
            if slot.kind == "weight":
                dense = "linear" if node.kind == "linear" else "conv"
                kind = "dilated_conv" if node.dilation == 2 else "depthwise_conv" if node.groups > 1 else dense
                assert KERNELS[height] == node.kernel
                assert abs(CHANNELS[into] - slot.shape[1]) <= 16
            else:
                kind = "bias" if slot.kind == "bias" else "batch_norm"
            assert PRIMITIVES[word] == kind
            assert abs(CHANNELS[out] - slot.shape[0]) <= 16


@EVERY_SPACE
def test_a_graph_has_two_nodes_a_layer_and_one_for_everything_else(name: str, draw: Draw) -> None:
    for plan in draw(name, "id", 5):
        layers = sum(node.kind in ("conv", "linear") for node in plan.nodes)
        assert encode(plan).num_nodes == len(plan.nodes) + layers - len(joining_one(plan))


def test_every_real_node_of_the_networkx_graph_has_its_word() -> None:
    graph = to_networkx(small_plan())
    assert [graph.nodes[node]["primitive"] for node in range(len(graph))] == WORDS
    assert set(graph.edges) == EDGES


def test_batched_graphs_keep_their_nodes_edges_and_slots(draw: Draw) -> None:
    plans = draw("tiny", "id", 3)
    graphs = [encode(plan) for plan in plans]
    batch = batch_graphs(graphs)
    nodes = edges = slots = 0
    for graph in graphs:
        assert torch.equal(batch.x[nodes : nodes + len(graph.x)], graph.x)
        count = graph.edge_index.shape[1]
        assert torch.equal(batch.edge_index[:, edges : edges + count], graph.edge_index + nodes)
        assert torch.equal(batch.distance[edges : edges + count], graph.distance)
        assert torch.equal(batch.slot_index[slots : slots + len(graph.slot_index)], graph.slot_index + nodes)
        nodes, edges, slots = nodes + len(graph.x), edges + count, slots + len(graph.slot_index)
    assert (nodes, edges, slots) == (len(batch.x), batch.edge_index.shape[1], len(batch.slot_index))
