"""The plan: the one description of a network, which everything else reads. Imports no torch.

A plan lists the nodes of a network in topological order. A node is one layer as it is deployed: a convolution includes
its batch norm or bias and, where it has one, its ReLU. Shapes are (channels, height, width), without the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, NamedTuple

from qnas.errors import QnasError
from qnas.quant.scheme import FP32, HIGHEST, Bits, widest
from qnas.task import Shape, Task

Kind = Literal["input", "conv", "max_pool", "avg_pool", "sum", "concat", "global_avg", "linear"]
CLASSIFIER = "classifier"
"""The name of the last node."""
MOST_PARAMETERS = 1 << 30


class Node(NamedTuple):
    """One layer.

    ``inputs`` are positions of earlier nodes; ``kernel`` to ``norm``, and ``channels_in``, matter to layers with
    weights (``kernel`` and ``stride`` to pools too). The output is quantized at ``bits.activations`` if ``quantized``;
    a ``concat`` reads those that are ``handed_on`` unrounded, so that no value is rounded twice. ``signed`` says
    whether its values may be negative, as images' may, and what no ReLU follows.
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
    relu: bool = False
    signed: bool = False

    @property
    def padding(self) -> int:
        """Zeros around the image that keep its size at stride 1."""
        return self.dilation * (self.kernel - 1) // 2

    @property
    def handed_on(self) -> bool:
        """Whether a ``concat`` takes its values unrounded: a sum's, unless it has a ReLU, which rounding is part of."""
        return self.kind == "sum" and not self.relu


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

    def __init__(self, task: Task, batch_norm: bool, bits: Bits) -> None:
        self.task, self.batch_norm, self.bits, self.scope = task, batch_norm, bits, ""
        input_bits = FP32 if bits.is_float else Bits(bits.weights, HIGHEST)
        self.nodes = [Node("image", "input", (), task.image, input_bits, signed=True)]
        self.slots: list[Slot] = []

    def _add(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _widest(self, sources: list[int]) -> Bits:
        several = [self.nodes[source].bits for source in sources]
        return several[0] if several.count(several[0]) == len(several) else widest(several)

    def _slot(self, node: int, kind: SlotKind, shape: tuple[int, ...]) -> None:
        self.slots.append(Slot(f"{self.nodes[node].name}/{kind}", shape, kind, node))

    def channels(self, source: int) -> int:
        """The channels of a node's output."""
        return self.nodes[source].shape[0]

    def _signed(self, *sources: int) -> bool:
        return True in [self.nodes[source].signed for source in sources]

    def conv(
        self,
        name: str,
        source: int,
        channels: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        relu: bool = True,
    ) -> int:
        """A convolution with its batch norm or bias and, unless it is linear, a ReLU."""
        width, *size = self.nodes[source].shape
        height_width = [-(-side // stride) for side in size]
        shape = (channels, height_width[0], height_width[1])
        details = (kernel, stride, dilation, groups, self.batch_norm, True, width, relu, not relu)
        node = self._add(Node(self.scope + name, "conv", (source,), shape, self.bits, *details))
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
        signed = self._signed(source)
        return self._add(Node(name, kind, (source,), shape, bits, kernel, stride, quantized=quantized, signed=signed))

    def sum(self, name: str, left: int, right: int, relu: bool = False) -> int:
        """The sum of two nodes of one shape, with a ReLU if asked for."""
        name, bits, shape = self.scope + name, self._widest([left, right]), self.nodes[left].shape
        signed = self._signed(left, right) and not relu
        return self._add(Node(name, "sum", (left, right), shape, bits, relu=relu, signed=signed))

    def concat(self, name: str, sources: list[int]) -> int:
        """The channels of all sources, one after another; a single source is handed on as it is."""
        if len(sources) == 1:
            return sources[0]
        _, height, width = self.nodes[sources[0]].shape
        shape = (sum(self.nodes[source].shape[0] for source in sources), height, width)
        bits, signed = self._widest(sources), self._signed(*sources)
        return self._add(Node(self.scope + name, "concat", tuple(sources), shape, bits, signed=signed))

    def linear(self, name: str, source: int, width: int, relu: bool = True) -> int:
        """A linear layer with a bias and a ReLU; one without a ReLU gives logits, which are not quantized."""
        shape, before = (width, 1, 1), self.channels(source)
        details = {"channels_in": before, "relu": relu, "quantized": relu, "signed": not relu}
        node = self._add(Node(name, "linear", (source,), shape, self.bits, **details))  # type: ignore[arg-type]
        self._slot(node, "weight", (width, before))
        self._slot(node, "bias", (width,))
        return node

    def classifier(self, source: int, hidden: Sequence[int] = ()) -> Plan:
        """Global average pool, linear layers of these widths with ReLUs, and the last one, which complete the plan.

        Raises:
            QnasError: the network is larger than any that is trained here.
        """
        bits, signed = self._widest([source]), self._signed(source)
        shape = (self.channels(source), 1, 1)
        end = self._add(Node("pool", "global_avg", (source,), shape, bits, signed=signed))
        for number, width in enumerate(hidden):
            end = self.linear(f"hidden{number}", end, width)
        self.linear(CLASSIFIER, end, self.task.classes, relu=False)
        count = sum(prod(slot.shape) for slot in self.slots)
        if count > MOST_PARAMETERS:
            raise QnasError(f"Networks have at most {MOST_PARAMETERS:,} parameters, got {count:,}; take a smaller one.")
        return Plan(tuple(self.nodes), tuple(self.slots), self.task.classes)
