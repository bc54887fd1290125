"""A plan as ``torch_geometric.data.Data``: one node per parameter group and per pool, sum, concatenation and input.

As in GHN-2, a convolution's weight and its batch norm (or bias) are nodes in a row; ReLU and skip have none. Beyond
GHN-2, every node carries the bit widths of its weights and activations.
"""

import networkx as nx
import numpy as np
import torch
from torch_geometric.data import Batch, Data

from qnas.graph.distances import depths, distances
from qnas.graph.vocabulary import PRIMITIVE_INDEX, PRIMITIVES, WIDTH_INDEX, shape_code
from qnas.network.plan import Node, Plan

LONGEST_VIRTUAL_EDGE = 10
Row = tuple[int, int, int, int, int, int, int]


class _Rows:
    """Graph nodes while they are collected: features, incoming edges and the plan's node-to-graph mapping."""

    def __init__(self) -> None:
        self.features: list[Row] = []
        self.sources: list[list[int]] = []

    def add(self, primitive: str, node: Node, sources: list[int], code: tuple[int, int, int]) -> int:
        widths = (WIDTH_INDEX[node.bits.weights], WIDTH_INDEX[node.bits.activations])
        self.features.append((PRIMITIVE_INDEX[primitive], *shape_code(*code), *widths))
        self.sources.append(sorted(set(sources)))
        return len(self.features) - 1


def _primitive(node: Node) -> str:
    if node.kind != "conv":
        return node.kind
    if node.dilation > 1:
        return "dilated_conv"
    return "depthwise_conv" if node.groups > 1 else "conv"


def encode(plan: Plan) -> Data:
    """The graph of a plan.

    Returns:
        Data with ``x`` (nodes, 7): indices of primitive, Cout, Cin, kh, kw, weight bits and activation bits;
        ``edge_index`` (2, edges): real and virtual edges, by their end; ``distance`` (edges,): 1 for a real edge, up to
        10 for a virtual one; ``depth`` and ``height`` (nodes,): longest path from the input and to the output;
        ``slot_index`` (slots,): the node that predicts each parameter slot.
    """
    rows = _Rows()
    result: list[int] = []
    slot_index: list[int] = []
    for node in plan.nodes:
        sources = [result[source] for source in node.inputs]
        channels, before = node.shape[0], plan.nodes[node.inputs[0]].shape[0] if node.inputs else 1
        if node.kind in ("conv", "linear"):
            weight = rows.add(_primitive(node), node, sources, (channels, before // node.groups, node.kernel))
            after = rows.add("batch_norm" if node.norm else "bias", node, [weight], (channels, 1, 1))
            slot_index += [weight, after, after] if node.norm else [weight, after]
            result.append(after)
        elif node.kind == "sum" and sources[0] == sources[1]:
            result.append(sources[0])
        else:
            result.append(rows.add(_primitive(node), node, sources, (channels, 1, node.kernel)))
    starts, ends, lengths = distances(rows.sources, LONGEST_VIRTUAL_EDGE)
    return Data(
        x=torch.tensor(rows.features),
        edge_index=torch.from_numpy(np.stack([starts, ends])),
        distance=torch.from_numpy(lengths),
        depth=torch.tensor(depths(rows.sources)),
        height=torch.tensor(_heights(rows.sources)),
        slot_index=torch.tensor(slot_index),
    )


def _heights(sources: list[list[int]]) -> list[int]:
    """For every node, the length of the longest path from it to the output."""
    result = [0] * len(sources)
    for node in range(len(sources) - 1, -1, -1):
        for source in sources[node]:
            result[source] = max(result[source], result[node] + 1)
    return result


def batch_graphs(graphs: list[Data]) -> Data:
    """Several graphs as one, node numbers shifted; ``slot_index`` points into the joint graph."""
    batch: Data = Batch.from_data_list(graphs)
    return batch


def to_networkx(plan: Plan) -> "nx.DiGraph[int]":
    """The graph without virtual edges, for analysis, drawing and GraphML; nodes carry their primitive."""
    data = encode(plan)
    graph: nx.DiGraph[int] = nx.DiGraph()
    for node, row in enumerate(data.x.tolist()):
        graph.add_node(node, primitive=PRIMITIVES[row[0]])
    graph.add_edges_from(data.edge_index[:, data.distance == 1].t().tolist())
    return graph
