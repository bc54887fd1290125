"""The table of operations: all that the package knows of each one stands in its row, and its builder beside it.

A builder adds an operation's layers to a network and returns the position of the last one. It is given the layers so
far, the position that it reads, the channels that it is to give, its kernel size and its stride. Spaces, draws, plans,
graphs, costs, exports and drawings read nothing but this table: a new operation is a builder and a row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from qnas.errors import check_known


class Layers(Protocol):
    """What a builder builds with (``qnas.network.plan.Builder``): each method adds a layer and returns its position."""

    def channels(self, source: int) -> int:
        """The channels of a layer's output."""

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

    def pool(self, name: str, kind: Literal["max_pool", "avg_pool"], source: int, kernel: int, stride: int) -> int:
        """A pool whose padding does not count."""

    def sum(self, name: str, left: int, right: int, relu: bool = False) -> int:
        """The sum of two layers of one shape, with a ReLU if asked for."""


Build = Callable[[Layers, int, int, int, int], int]


class Reshaping(NamedTuple):
    """How an operation changes the shape of what it reads: whether it makes images smaller, and channels more."""

    strided: bool = False
    widened: bool = False


@dataclass(frozen=True)
class Operation:
    """One row.

    Args:
        name: as genotypes and spaces write it.
        reads: as people read it.
        build: adds its layers.
        kernel: its only kernel size; nothing where a space offers several.
        weights: where it has weights: ``always``, or only where it is ``strided`` or ``widened``, or at either.
    """

    name: str
    reads: str
    build: Build
    kernel: int | None = None
    weights: Literal["always"] | frozenset[Literal["strided", "widened"]] = "always"

    @property
    def learns(self) -> bool:
        """Whether it has weights wherever it stands; a cell needs such an operation."""
        return self.weights == "always"

    def has_weights(self, reshaping: Reshaping) -> bool:
        """Whether it has weights where it reshapes what it reads like this."""
        return self.learns or any(kind in self.weights for kind, there in reshaping._asdict().items() if there)

    def kernels(self, offered: tuple[int, ...]) -> tuple[int, ...]:
        """The kernel sizes that it may have in a space that offers these."""
        return offered if self.kernel is None else (self.kernel,)

    def allows(self, kernel: int) -> bool:
        """Whether it can have a kernel of this size in some space."""
        return kernel >= 1 and kernel % 2 == 1 and self.kernel in (None, kernel)


def conv(layers: Layers, source: int, channels: int, kernel: int, stride: int) -> int:
    """A dense convolution."""
    return layers.conv("conv", source, channels, kernel, stride)


def sep_conv(layers: Layers, source: int, channels: int, kernel: int, stride: int, dilation: int = 1) -> int:
    """A depthwise-separable convolution: depthwise, then 1 x 1 (Howard et al., 2017)."""
    filters = layers.channels(source)
    depthwise = layers.conv("depthwise", source, filters, kernel, stride, dilation, groups=filters)
    return layers.conv("pointwise", depthwise, channels, 1)


def dil_conv(layers: Layers, source: int, channels: int, kernel: int, stride: int) -> int:
    """A depthwise-separable convolution with every second pixel under its kernel."""
    return sep_conv(layers, source, channels, kernel, stride, dilation=2)


def mb_conv(expansion: int) -> Build:
    """An inverted bottleneck (Sandler et al., 2018): widen, filter each channel, narrow without a ReLU.

    What it reads is added where the shape stays.
    """

    def build(layers: Layers, source: int, channels: int, kernel: int, stride: int) -> int:
        before = layers.channels(source)
        inner = expansion * before
        wide = layers.conv("expand", source, inner, 1)
        filtered = layers.conv("depthwise", wide, inner, kernel, stride, groups=inner)
        narrow = layers.conv("project", filtered, channels, 1, relu=False)
        return layers.sum("residual", source, narrow) if stride == 1 and channels == before else narrow

    return build


def pool(kind: Literal["max_pool", "avg_pool"]) -> Build:
    """A pool whose padding does not count, and a 1 x 1 convolution where there are to be more channels."""

    def build(layers: Layers, source: int, channels: int, kernel: int, stride: int) -> int:
        pooled = layers.pool("pool", kind, source, kernel, stride)
        return pooled if layers.channels(source) == channels else layers.conv("widen", pooled, channels, 1)

    return build


def skip(layers: Layers, source: int, channels: int, kernel: int, stride: int) -> int:
    """Nothing where the shape stays; else a 1 x 1 convolution, the projection shortcut of He et al. (2016)."""
    fits = stride == 1 and layers.channels(source) == channels
    return source if fits else layers.conv("skip", source, channels, 1, stride)


OPERATIONS = {
    row.name: row
    for row in (
        Operation("conv", "convolution", conv),
        Operation("conv1x1", "1 x 1 convolution", conv, kernel=1),
        Operation("sep_conv", "depthwise-separable convolution", sep_conv),
        Operation("dil_conv", "dilated depthwise-separable convolution", dil_conv),
        Operation("mb_conv3", "inverted bottleneck, expansion 3", mb_conv(3)),
        Operation("mb_conv6", "inverted bottleneck, expansion 6", mb_conv(6)),
        Operation("max_pool", "max pool", pool("max_pool"), kernel=3, weights=frozenset({"widened"})),
        Operation("avg_pool", "average pool", pool("avg_pool"), kernel=3, weights=frozenset({"widened"})),
        Operation("skip", "skip", skip, kernel=1, weights=frozenset({"strided", "widened"})),
    )
}


def find_operation(name: str) -> Operation:
    """The row of a name.

    Raises:
        QnasError: there is none.
    """
    check_known("operation", name, OPERATIONS)
    return OPERATIONS[name]


def learning() -> list[str]:
    """The operations of which a cell needs one."""
    return [name for name, operation in OPERATIONS.items() if operation.learns]
