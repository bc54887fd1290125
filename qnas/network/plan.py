"""The plan: the one description of a network, which everything else reads. Imports no torch.

A plan lists the nodes of a genotype at an image shape in topological order. A node is one layer as it is deployed: a
convolution includes its batch norm or bias and its ReLU. Shapes are (channels, height, width), without the batch.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from qnas.quant.scheme import FP32, HIGHEST, Bits, widest

Kind = Literal["input", "conv", "max_pool", "avg_pool", "sum", "concat", "global_avg", "linear"]
Shape = tuple[int, int, int]
CLASSIFIER = "classifier"
"""The name of the last node."""


class Node(NamedTuple):
    """One layer.

    ``inputs`` are positions of earlier nodes; ``kernel`` to ``norm``, and ``channels_in``, matter to layers with
    weights (``kernel`` and ``stride`` to pools too). The output is quantized at ``bits.activations`` if ``quantized``;
    a ``sum`` that a ``concat`` reads is handed to it unrounded, so that no value is rounded twice.
    """

    name: str
    kind: Kind
    inputs: tuple[int, ...]
    shape: Shape
    bits: Bits
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    norm: bool = False
    quantized: bool = True
    channels_in: int = 0

    @property
    def padding(self) -> int:
        """Zeros around the image that keep its size at stride 1."""
        return self.dilation * (self.kernel - 1) // 2


SlotKind = Literal["weight", "bias", "norm_weight", "norm_bias"]


class Slot(NamedTuple):
    """One parameter tensor: its name, its shape, what it is and the position of its node."""

    name: str
    shape: tuple[int, ...]
    kind: SlotKind
    node: int


@dataclass(frozen=True)
class Plan:
    """Nodes in topological order, the parameter slots in the same order, and the number of classes."""

    nodes: tuple[Node, ...]
    slots: tuple[Slot, ...]
    classes: int


class Builder:
    """Collects the nodes of a plan; each method adds one layer and returns its position.

    ``bits`` are those of the next layers with weights; what has none is as wide as the widest that it reads.
    """

    def __init__(self, image: Shape, batch_norm: bool, bits: Bits) -> None:
        self.batch_norm, self.bits, self.scope = batch_norm, bits, ""
        input_bits = FP32 if bits.is_float else Bits(bits.weights, HIGHEST)
        self.nodes = [Node("image", "input", (), image, input_bits)]
        self.slots: list[Slot] = []

    def _add(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _widest(self, sources: list[int]) -> Bits:
        return widest(self.nodes[source].bits for source in sources)

    def _slot(self, node: int, kind: SlotKind, shape: tuple[int, ...]) -> None:
        self.slots.append(Slot(f"{self.nodes[node].name}/{kind}", shape, kind, node))

    def conv(
        self, name: str, source: int, channels: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> int:
        """A convolution with its batch norm or bias and a ReLU."""
        width, *size = self.nodes[source].shape
        height_width = [-(-side // stride) for side in size]
        shape = (channels, height_width[0], height_width[1])
        details = (kernel, stride, dilation, groups, self.batch_norm)
        node = self._add(Node(self.scope + name, "conv", (source,), shape, self.bits, *details, channels_in=width))
        self._slot(node, "weight", (channels, width // groups, kernel, kernel))
        if self.batch_norm:
            self._slot(node, "norm_weight", (channels,))
            self._slot(node, "norm_bias", (channels,))
        else:
            self._slot(node, "bias", (channels,))
        return node

    def pool(self, name: str, kind: Literal["max_pool", "avg_pool"], source: int, kernel: int, stride: int) -> int:
        """A pool whose padding does not count; a max pool keeps its input's grid."""
        channels, height, width = self.nodes[source].shape
        shape = (channels, -(-height // stride), -(-width // stride))
        quantized = kind == "avg_pool"
        name, bits = self.scope + name, self._widest([source])
        return self._add(Node(name, kind, (source,), shape, bits, kernel, stride, quantized=quantized))

    def sum(self, name: str, left: int, right: int) -> int:
        """The sum of two nodes of one shape."""
        bits = self._widest([left, right])
        return self._add(Node(self.scope + name, "sum", (left, right), self.nodes[left].shape, bits))

    def concat(self, name: str, sources: list[int]) -> int:
        """The channels of all sources, one after another; a single source is handed on as it is."""
        if len(sources) == 1:
            return sources[0]
        _, height, width = self.nodes[sources[0]].shape
        shape = (sum(self.nodes[source].shape[0] for source in sources), height, width)
        return self._add(Node(self.scope + name, "concat", tuple(sources), shape, self._widest(sources)))

    def classifier(self, source: int, classes: int) -> None:
        """Global average pool and linear layer."""
        width = self.nodes[source].shape[0]
        pooled = self._add(Node("pool", "global_avg", (source,), (width, 1, 1), self._widest([source])))
        linear = Node(CLASSIFIER, "linear", (pooled,), (classes, 1, 1), self.bits, quantized=False, channels_in=width)
        node = self._add(linear)
        self._slot(node, "weight", (classes, width))
        self._slot(node, "bias", (classes,))
