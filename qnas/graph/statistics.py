"""What a network's graph tells without a hypernetwork."""

import numpy as np

from qnas.graph.distances import depths
from qnas.network.plan import Plan

COUNTED = ("conv", "max_pool", "avg_pool", "sum", "concat")
"""The kinds of layers that graphs differ in."""


def graph_statistics(plan: Plan) -> list[float]:
    """Counts of layers by kind, edges, depth, and means over a network's layers.

    Returns:
        The number of nodes of each kind, of edges and of separate groups (depthwise layers); the longest path; the
        share of convolutions with batch norm; means of kernel, dilation and the logarithms of channels and area.
    """
    nodes = plan.nodes
    convolutions = [node for node in nodes if node.kind == "conv"]
    counts = [float(sum(node.kind == kind for node in nodes)) for kind in COUNTED]
    sources = [list(node.inputs) for node in nodes]
    shapes = np.log([(node.shape[0], node.shape[1] * node.shape[2]) for node in convolutions])
    return [
        *counts,
        float(sum(len(before) for before in sources)),
        float(sum(node.groups > 1 for node in nodes)),
        float(max(depths(sources))),
        *np.mean([(node.norm, node.kernel, node.dilation) for node in convolutions], axis=0).tolist(),
        *shapes.mean(0).tolist(),
    ]
