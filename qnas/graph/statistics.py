"""What a network's graph tells without a hypernetwork."""

from math import log, prod

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


def reach(plan: Plan) -> list[float]:
    """How far and how deep a network looks, and the least that it hands on.

    Returns:
        Natural logarithms: of the side of what a value before the classifier sees of the image, in pixels, by
        convolutions alone, along the path that sees the most (receptive field: Araujo et al., 2019); of the
        convolutions of more than one pixel on the longest path; and of the values that the smallest layer gives.
    """
    sides, steps, chains = [1.0], [1], [0]
    for node in plan.nodes[1:]:
        widest = max(node.inputs, key=sides.__getitem__)
        spatial = node.kind == "conv" and node.kernel > 1
        sides.append(sides[widest] + spatial * (node.kernel - 1) * node.dilation * steps[widest])
        steps.append(steps[widest] * node.stride)
        chains.append(max(chains[source] for source in node.inputs) + spatial)
    smallest = min(prod(node.shape) for node in plan.nodes if node.kind in COUNTED)
    return [log(sides[-1]), log(max(1, chains[-1])), log(smallest)]
