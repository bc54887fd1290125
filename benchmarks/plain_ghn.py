"""GHN-2 (Knyazev et al., 2021) as its equations read: one node at a time, every tensor decoded on its own.

Slow and plain on purpose. It shares no code with the package's graphs, sweeps and decoders; it only reads the weights
of a ``GHN``, so that the two can be held against each other in any precision.
"""

from math import prod, sqrt

import networkx as nx
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import MessagePassing

from qnas.ghn.model import GHN
from qnas.graph.vocabulary import BIT_WIDTHS, CHANNELS, KERNELS, LONGEST_PATH, PRIMITIVES, SIDES
from qnas.network.plan import Plan, Slot

Parameters = dict[str, Tensor]


class PlainGraph:
    """The nodes of a plan as GHN-2 sees them, in topological order, and all shortest paths of up to ``farthest`` edges.

    ``nodes`` are (primitive, plan node, shape or nothing); ``node_of`` names the one that predicts each slot; ``depth``
    and ``height`` are the longest paths from the first node and to the last one.
    """

    def __init__(self, plan: Plan, farthest: int) -> None:
        self.nodes: list[tuple[str, int, tuple[int, int, int] | None]] = []
        self.node_of: dict[str, int] = {}
        self.edges: list[tuple[int, int]] = []
        output_of: list[int] = []
        for position, node in enumerate(plan.nodes):
            sources = sorted({output_of[source] for source in node.inputs})
            if node.kind in ("sum", "concat") and len(sources) == 1:
                output_of.append(sources[0])
                continue
            channels = node.shape[0]
            if node.kind in ("conv", "linear"):
                before = plan.nodes[node.inputs[0]].shape[0] // node.groups
                depthwise = "dilated_conv" if node.dilation > 1 else "depthwise_conv"
                dense = "linear" if node.kind == "linear" else "conv"
                primitive = depthwise if node.dilation > 1 or node.groups > 1 else dense
                weight = self._add(primitive, position, (channels, before, node.kernel), sources)
                rest = self._add("batch_norm" if node.norm else "bias", position, (channels, 1, 1), [weight])
                for slot in plan.slots:
                    if slot.node == position:
                        self.node_of[slot.name] = weight if slot.kind == "weight" else rest
                output_of.append(rest)
            else:
                shape = (1, 1, node.kernel) if node.kind in ("max_pool", "avg_pool") else None
                output_of.append(self._add(node.kind, position, shape, sources))
        graph = nx.DiGraph(self.edges)
        self.depth, self.height = _longest_paths(graph), _longest_paths(graph.reverse())
        reached = nx.all_pairs_shortest_path_length(graph, cutoff=farthest)
        paths = [(start, end, steps) for start, ends in reached for end, steps in ends.items() if steps]
        self.ends = torch.tensor([(start, end) for start, end, _ in paths]).t()
        self.distance = torch.tensor([steps for *_, steps in paths])

    def _add(self, primitive: str, position: int, shape: tuple[int, int, int] | None, sources: list[int]) -> int:
        self.nodes.append((primitive, position, shape))
        self.edges += [(source, len(self.nodes) - 1) for source in sources]
        return len(self.nodes) - 1


def _longest_paths(graph: "nx.DiGraph[int]") -> dict[int, int]:
    longest: dict[int, int] = {}
    for node in nx.topological_sort(graph):
        longest[node] = max((longest[before] + 1 for before in graph.predecessors(node)), default=0)
    return longest


def _nearest(value: int, words: tuple[int, ...]) -> int:
    return min(range(len(words)), key=lambda index: abs(words[index] - value))


def embedded(ghn: GHN, plan: Plan, graph: PlainGraph) -> Tensor:
    """The states that message passing starts from, (nodes, hidden)."""
    rows = []
    ghn_2 = ghn.config.features == "ghn-2"
    for number, (primitive, position, shape) in enumerate(graph.nodes):
        node = plan.nodes[position]
        if not ghn_2 and (shape is None or primitive.endswith("pool")):
            shape = (node.shape[0], 1, node.kernel)
        word = "conv" if ghn_2 and primitive == "linear" else primitive
        if shape is None:
            code = [len(CHANNELS)] * 2 + [len(KERNELS)] * 2
        else:
            out, into, kernel = (*(_nearest(size, CHANNELS) for size in shape[:2]), _nearest(shape[2], KERNELS))
            code = [out, into, kernel, kernel]
        tables = [ghn.channels[0], ghn.channels[-1], ghn.kernels[0], ghn.kernels[-1]]
        row = ghn.primitive.weight[PRIMITIVES.index(word)]
        row = row + torch.cat([table.weight[index] for table, index in zip(tables, code, strict=True)])
        for table, width in zip(ghn.widths, (node.bits.weights, node.bits.activations), strict=len(ghn.widths) > 0):
            row = row + table.weight[BIT_WIDTHS.index(width)]
        paths = (min(graph.depth[number], LONGEST_PATH), min(graph.height[number], LONGEST_PATH))
        places = (_nearest(max(node.shape[1:]), SIDES), *paths)
        for table, place in zip(ghn.places, places, strict=len(ghn.places) > 0):
            row = row + table.weight[place]
        rows.append(row)
    return torch.stack(rows)


class Messages(MessagePassing):
    """The sum of MLP(h_u) over the neighbours u and of MLP_sp(h_u) / s over all u at a distance s."""

    def __init__(self, ghn: GHN) -> None:
        super().__init__(aggr="add")
        self.ghn = ghn

    def forward(self, states: Tensor, ends: Tensor, distance: Tensor) -> Tensor:
        """Messages (nodes, hidden) along ``ends`` (2, edges)."""
        return self.propagate(ends, h=states, distance=distance)

    def message(self, h_j: Tensor, distance: Tensor) -> Tensor:
        """What one edge carries."""
        sweeps, half = self.ghn.sweeps, self.ghn.config.hidden // 2
        narrow, (near, far) = sweeps.narrow, sweeps.widen
        one_hop = near(F.linear(h_j, narrow.weight[:half], narrow.bias[:half]).relu()).relu()
        shortest = far(F.linear(h_j, narrow.weight[half:], narrow.bias[half:]).relu()).relu()
        return one_hop * (distance == 1)[:, None] + shortest / distance[:, None]


def swept(ghn: GHN, states: Tensor, graph: PlainGraph) -> Tensor:
    """States after the forward and the backward sweep, one node after another, and the layer norm."""
    messages = Messages(ghn)
    count = len(states)
    for _ in range(ghn.config.rounds):
        for order, ends in ((range(count), graph.ends), (reversed(range(count)), graph.ends.flip(0))):
            for node in order:
                into = ends[1] == node
                message = messages(states, ends[:, into], graph.distance[into].to(states.dtype))
                updated = ghn.sweeps.gru(message[node : node + 1], states[node : node + 1])
                states = torch.cat([states[:node], updated, states[node + 1 :]])
    return ghn.norm(states)


def decoded(ghn: GHN, state: Tensor, slot: Slot) -> Tensor:
    """One parameter from its node's state: decoded at the largest size, cut, tiled and normalised."""
    size, side, last = ghn.config.channels, ghn.config.kernel, slot.name.startswith("classifier/")
    if slot.kind == "weight":
        out, into, height, width = (*slot.shape, 1, 1)[:4]
        maps = ghn.conv.spatial(state).relu().view(1, -1, side, side)[:, :, :height, :width]
        mixed = F.conv2d(maps, ghn.conv.mix.weight[:, :, None, None], ghn.conv.mix.bias).relu()
        largest = F.conv2d(mixed, ghn.conv.expand.weight[:, :, None, None], ghn.conv.expand.bias)
        weight = largest.view(size, size, height, width)
        if last:
            table = ghn.classifier.weight
            weight = F.conv2d(weight[None, :, :, 0].relu(), table.weight[:, :, None, None], table.bias)[
                0, :, :, :, None
            ]
        weight = weight.repeat(-(-out // len(weight)), -(-into // size), 1, 1)[:out, :into]
        gain = 1 if into == 1 or height < width else 2
        return (weight * sqrt(gain / prod(slot.shape[1:]))).view(slot.shape)
    scale, shift = ghn.vectors.layers(state).view(2, size)
    if last:
        shift = ghn.classifier.bias(shift.relu())
    raw = scale if slot.kind == "norm_weight" else shift
    raw = raw.repeat(-(-slot.shape[0] // len(raw)))[: slot.shape[0]]
    return 2 * torch.sigmoid(raw / 2) if slot.kind == "norm_weight" else torch.tanh(raw / 5)


@torch.no_grad()
def predict(ghn: GHN, plan: Plan) -> Parameters:
    """All parameters of a plan by slot name, in the precision of ``ghn``."""
    graph = PlainGraph(plan, ghn.config.virtual_edges)
    states = swept(ghn, embedded(ghn, plan, graph), graph)
    return {slot.name: decoded(ghn, states[graph.node_of[slot.name]], slot) for slot in plan.slots}
