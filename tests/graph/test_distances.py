"""Distances and depths held against networkx on random graphs."""

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from qnas.graph.distances import depths, distances

Sources = list[list[int]]


@st.composite
def graphs(draw: st.DrawFn) -> Sources:
    """For every node, the earlier nodes with an edge to it."""
    count = draw(st.integers(1, 12))
    return [sorted(draw(st.sets(st.integers(0, node - 1), max_size=3))) if node else [] for node in range(count)]


def graph_of(sources: Sources) -> "nx.DiGraph[int]":
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(len(sources)))
    graph.add_edges_from((source, node) for node, before in enumerate(sources) for source in before)
    return graph


@given(graphs(), st.integers(1, 12))
def test_distances_are_the_shortest_paths_up_to_the_longest(sources: Sources, longest: int) -> None:
    starts, ends, lengths = distances(sources, longest)
    found = {(u, v): length for u, v, length in zip(starts.tolist(), ends.tolist(), lengths.tolist(), strict=True)}
    paths = nx.all_pairs_shortest_path_length(graph_of(sources), cutoff=longest)
    expected = {(u, v): length for u, reached in paths for v, length in reached.items() if length}
    assert found == expected
    assert len(starts) == len(expected)


@given(graphs())
def test_pairs_are_ordered_by_their_end(sources: Sources) -> None:
    _, ends, _ = distances(sources, 10)
    assert ends.tolist() == sorted(ends.tolist())


@given(graphs())
def test_a_depth_is_the_longest_path_that_ends_there(sources: Sources) -> None:
    graph = graph_of(sources)
    expected = [
        nx.dag_longest_path_length(graph.subgraph({node, *nx.ancestors(graph, node)})) for node in range(len(sources))
    ]
    assert depths(sources) == expected


def test_a_long_chain_has_no_longer_distance_than_asked_for() -> None:
    chain: Sources = [[], *([node] for node in range(999))]
    starts, ends, lengths = distances(chain, 10)
    assert len(starts) == sum(min(10, node) for node in range(1000))
    assert (ends - starts == lengths).all()
    assert depths(chain) == list(range(1000))
