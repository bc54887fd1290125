"""A plan as ``torch_geometric.data.Data``: one node per parameter group and per pool, sum, concatenation and input.

As in GHN-2, a convolution's weight and its batch norm (or bias) are nodes in a row; ReLU and skip have none. Beyond
GHN-2, every node carries the bit widths of its weights and activations, and where in the network it is.
"""

import networkx as nx
import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from qnas.graph.distances import LONGEST_VIRTUAL_EDGE, depths, distances
from qnas.graph.vocabulary import (
    BIT_WIDTH_INDEX,
    CHANNEL_INDEX,
    CHANNELS,
    KERNELS,
    LONGEST_PATH,
    PRIMITIVE_INDEX,
    PRIMITIVES,
    SIDE_INDEX,
    SIDES,
    shape_code,
)
from qnas.network.plan import Node, Plan

Row = tuple[int, ...]
NORM, BIAS = PRIMITIVE_INDEX["batch_norm"], PRIMITIVE_INDEX["bias"]


def _primitive(node: Node) -> int:
    if node.kind != "conv":
        return PRIMITIVE_INDEX[node.kind]
    if node.dilation > 1:
        return PRIMITIVE_INDEX["dilated_conv"]
    return PRIMITIVE_INDEX["depthwise_conv" if node.groups > 1 else "conv"]


def encode(plan: Plan, longest: int = LONGEST_VIRTUAL_EDGE) -> Data:
    """The graph of a plan.

    Args:
        plan: the network.
        longest: path that becomes a virtual edge.

    Returns:
        Data with ``x`` (nodes, 10): indices of primitive, Cout, Cin, kh, kw, weight bits, activation bits,
        longer side of the images, depth and height;
        ``edge_index`` (2, edges): real and virtual edges, by their end; ``distance`` (edges,): 1 for a real edge, up to
        ``longest`` for a virtual one; ``depth`` and ``height`` (nodes,): longest path from the input and to the output;
        ``slot_index`` (slots,): the node that predicts each parameter slot.
    """
    features: list[Row] = []
    sources: list[list[int]] = []
    result: list[int] = []
    slot_index: list[int] = []
    for node in plan.nodes:
        before = list(dict.fromkeys([result[source] for source in node.inputs]))
        if node.kind in ("sum", "concat") and len(before) == 1:
            result += before
            continue
        channels, *sides = node.shape
        rest = (
            BIT_WIDTH_INDEX[node.bits.weights],
            BIT_WIDTH_INDEX[node.bits.activations],
            SIDE_INDEX[min(max(sides), SIDES[-1])],
        )
        place = len(features)
        sources.append(before)
        result.append(place)
        if node.kind in ("conv", "linear"):
            code = shape_code(channels, node.channels_in // node.groups, node.kernel)
            features.append((_primitive(node), *code, *rest))
            features.append((NORM if node.norm else BIAS, *shape_code(channels, 1, 1), *rest))
            sources.append([place])
            result[-1] = place + 1
            slot_index += (place, place + 1, place + 1) if node.norm else (place, place + 1)
        else:
            features.append((_primitive(node), *shape_code(channels, 1, node.kernel), *rest))
    starts, ends, lengths = distances(sources, longest)
    depth, height = np.array(depths(sources)), np.array(_heights(sources))
    return Data(
        x=torch.from_numpy(np.column_stack([features, *np.minimum([depth, height], LONGEST_PATH)])),
        edge_index=torch.from_numpy(np.stack([starts, ends])),
        distance=torch.from_numpy(lengths),
        depth=torch.from_numpy(depth),
        height=torch.from_numpy(height),
        slot_index=torch.from_numpy(np.array(slot_index)),
    )


def _heights(sources: list[list[int]]) -> list[int]:
    """For every node, the length of the longest path from it to the output."""
    result = [0] * len(sources)
    for node in range(len(sources) - 1, -1, -1):
        height = result[node] + 1
        for source in sources[node]:
            if result[source] < height:
                result[source] = height
    return result


SHAPELESS = torch.tensor([PRIMITIVE_INDEX[name] for name in ("input", "sum", "concat", "global_avg")])
POOLS = torch.tensor([PRIMITIVE_INDEX[name] for name in ("max_pool", "avg_pool")])


def ghn_2_features(x: Tensor) -> Tensor:
    """Features (nodes, 10) with no more in the first five than GHN-2's have (Knyazev et al., 2021).

    A pool has one channel, a node that is neither pool nor parameter has the index after the last word for its shape,
    and a linear layer is a convolution.
    """
    x = x.clone()
    primitive = x[:, 0]
    x[torch.isin(primitive, POOLS), 1:3] = CHANNEL_INDEX[1]
    x[torch.isin(primitive, SHAPELESS), 1:5] = torch.tensor([len(CHANNELS)] * 2 + [len(KERNELS)] * 2)
    primitive[primitive == PRIMITIVE_INDEX["linear"]] = PRIMITIVE_INDEX["conv"]
    return x


def batch_graphs(graphs: list[Data]) -> Data:
    """Several graphs as one, node numbers shifted; ``slot_index`` points into the joint graph."""
    batch: Data = Batch.from_data_list(graphs) if len(graphs) > 1 else graphs[0]
    return batch


def to_networkx(plan: Plan) -> "nx.DiGraph[int]":
    """The graph without virtual edges, for analysis, drawing and GraphML; nodes carry their primitive."""
    data = encode(plan)
    graph: nx.DiGraph[int] = nx.DiGraph()
    for node, row in enumerate(data.x.tolist()):
        graph.add_node(node, primitive=PRIMITIVES[row[0]])
    graph.add_edges_from(data.edge_index[:, data.distance == 1].t().tolist())
    return graph
