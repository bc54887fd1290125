"""Networks that people made, as plans like any other: what a search has to beat."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from qnas.digest import digest_of
from qnas.errors import QnasError, check_known, shown
from qnas.network.plan import Builder, Plan
from qnas.quant.scheme import FP32, Bits, check_edges
from qnas.space import operations
from qnas.space.cells import MOST_CHANNELS
from qnas.task import Task


@dataclass(frozen=True)
class HandMade:
    """A hand-made network.

    Args:
        name: one of ``HAND_MADE``.
        width: channels of its first layers; 0 for its makers'.
        bits: of all layers.
        edges: bits of the weights of the first and of the last layer, where that is more; 0 for as many as others have.
        batch_norm: whether its convolutions have batch norms; otherwise they have biases.

    Raises:
        QnasError: no such name, a width below 0 or above ``MOST_CHANNELS``, or edges that no weights can have.
    """

    name: str
    width: int = 0
    bits: Bits = FP32
    edges: int = 0
    batch_norm: bool = True

    def __post_init__(self) -> None:
        check_known("hand-made network", self.name, HAND_MADE)
        check_edges(self.edges)
        if self.width < 0:
            raise QnasError(f"`width` is at least 1, or 0 for the usual, got {self.width}; leave it out for that.")
        if self.width > MOST_CHANNELS:
            raise QnasError(f"`width` is at most {MOST_CHANNELS}, got {shown(self.width)}; leave it out for the usual.")
        object.__setattr__(self, "width", self.width or HAND_MADE[self.name].width)

    @property
    def key(self) -> str:
        """What tells it from all other networks."""
        return f"{self.name}-{self.width}-{digest_of(self.to_json())[:8]}-{self.bits}"

    def with_bits(self, bits: Bits) -> "HandMade":
        """The same network at other bit widths."""
        return replace(self, bits=bits)

    def with_edges(self, weights: int) -> "HandMade":
        """The same network with at least so many bits for the weights of its first and of its last layer."""
        return replace(self, edges=weights)

    def build(self, task: Task) -> Plan:
        """Its plan for the images and classes of a task."""
        design, builder = HAND_MADE[self.name], Builder(task, self.batch_norm, self.bits)
        end = design.build(builder, self.width)
        plan = builder.classifier(end, [factor * self.width for factor in design.hidden])
        layers = [place for place, node in enumerate(plan.nodes) if node.kind in ("conv", "linear")]
        nodes = list(plan.nodes)
        for place in (layers[0], layers[-1]):
            nodes[place] = nodes[place]._replace(bits=nodes[place].bits.with_weights(self.edges))
        return replace(plan, nodes=tuple(nodes))

    def to_json(self) -> dict[str, Any]:
        """Plain values; ``from_json`` reads them back."""
        unusual: dict[str, Any] = {"edges": self.edges} if self.edges else {}
        unusual |= {} if self.batch_norm else {"batch_norm": False}
        return {"network": self.name, "width": self.width, "bits": str(self.bits), **unusual}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "HandMade":
        """Read ``to_json``.

        Raises:
            QnasError: it says something else.
        """
        values: tuple[Any, ...] = (data.get("width"), data.get("edges", 0), data.get("batch_norm", True))
        known = set(data) - {"edges", "batch_norm"} == {"network", "width", "bits"}
        if not known or tuple(map(type, values)) != (int, int, bool):
            raise QnasError(f"A hand-made network has network, width and bits, got {sorted(data)}; correct the file.")
        width, edges, batch_norm = values
        return cls(str(data["network"]), width, Bits.parse(str(data["bits"])), edges, batch_norm)


Build = Callable[[Builder, int], int]


@dataclass(frozen=True)
class Design:
    """One row: who made it, its usual width, and what adds its layers up to the global average pool.

    ``hidden`` are the widths of linear layers before the classifier, in multiples of the network's.
    """

    reads: str
    width: int
    build: Build
    hidden: tuple[int, ...] = ()


def _residual(blocks: int) -> Build:
    """Three stages of residual blocks, each of half the resolution and twice the channels (He et al., 2016)."""

    def build(layers: Builder, width: int) -> int:
        x = layers.conv("stem", 0, width, 3)
        for stage in range(3):
            for block in range(blocks):
                layers.scope = f"stage{stage}_block{block}_"
                x = _basic(layers, x, width << stage, 3, 2 if stage and not block else 1)
        layers.scope = ""
        return x

    return build


def _separable(layers: Builder, width: int) -> int:
    """Depthwise-separable convolutions, of half the resolution and twice the channels at the second and fourth."""
    x = layers.conv("stem", 0, width, 3)
    for number, (factor, stride) in enumerate(((1, 1), (2, 2), (2, 1), (4, 2), (4, 1), (4, 1))):
        layers.scope = f"block{number}_"
        x = layers.conv("depthwise", x, layers.channels(x), 3, stride, groups=layers.channels(x))
        x = layers.conv("pointwise", x, factor * width, 1)
    layers.scope = ""
    return x


def _plain(layers: Builder, width: int) -> int:
    """Three stages of two convolutions and a max pool (Simonyan and Zisserman, 2015)."""
    x = 0
    for stage in range(3):
        layers.scope = f"stage{stage}_"
        x = layers.conv("first", x, width << stage, 3)
        x = layers.pool("pool", "max_pool", layers.conv("second", x, width << stage, 3), 3, 2)
    layers.scope = ""
    return x


def _stages(block: operations.Build, pooled: bool) -> Build:
    """A convolution, three stages of two blocks of twice the channels each, and a smaller image before each stage.

    The macro-architectures of Yun and Wong (section 3), where only the kind of block differs. Their figures give no
    sizes in words: depth, widths and the place of pools are this package's.

    Args:
        block: adds a block.
        pooled: whether a max pool makes images smaller, or the first block of each stage.
    """

    def build(layers: Builder, width: int) -> int:
        x = layers.conv("stem", 0, width, 3)
        for stage in range(3):
            layers.scope = f"stage{stage}_"
            x = layers.pool("pool", "max_pool", x, 3, 2) if pooled else x
            for number in range(2):
                layers.scope = f"stage{stage}_block{number}_"
                x = block(layers, x, width << stage, 3, 1 if pooled or number else 2)
        layers.scope = ""
        return x

    return build


def _basic(layers: operations.Layers, source: int, channels: int, kernel: int, stride: int) -> int:
    """A basic residual block, with a projection where the shape changes (He et al., 2016)."""
    inner = layers.conv("first", source, channels, kernel, stride)
    inner = layers.conv("second", inner, channels, kernel, relu=False)
    same = stride == 1 and layers.channels(source) == channels
    short = source if same else layers.conv("shortcut", source, channels, 1, stride, relu=False)
    return layers.sum("sum", inner, short, relu=True)


HAND_MADE = {
    "resnet8": Design("ResNet-8 of MLPerf Tiny (Banbury et al., 2021)", 16, _residual(1)),
    "resnet20": Design("ResNet-20 for CIFAR-10 (He et al., 2016)", 16, _residual(3)),
    "ds_cnn": Design("a chain of depthwise-separable convolutions (after Howard et al., 2017)", 16, _separable),
    "vgg_small": Design("a chain of convolutions and pools (after Simonyan and Zisserman, 2015)", 16, _plain),
    "regular_conv": Design(
        "VGG-like, of convolutions (after Yun and Wong, figure 1)", 32, _stages(operations.conv, True), (4,)
    ),
    "dws_conv": Design(
        "the same of depthwise-separable convolutions (likewise)", 32, _stages(operations.sep_conv, True), (4,)
    ),
    "basic_residual": Design("basic residual blocks (after Yun and Wong, figure 2)", 32, _stages(_basic, False), (4,)),
    "mbnet_v2": Design("the same of inverted bottlenecks (likewise)", 32, _stages(operations.mb_conv(6), False), (4,)),
}
