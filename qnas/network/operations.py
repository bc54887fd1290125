"""The table of operations: how each one adds its layers to a plan.

An operation is a function of the builder, the node it reads, its kernel size and its stride, and returns the node that
holds its result. It keeps the number of channels. A new operation is one function here, one row in the table and its
name in ``qnas.space.genotype.OPERATIONS``.
"""

from collections.abc import Callable

from qnas.network.plan import Builder


def conv(builder: Builder, source: int, kernel: int, stride: int) -> int:
    """A dense convolution."""
    return builder.conv("conv", source, _channels(builder, source), kernel, stride)


def sep_conv(builder: Builder, source: int, kernel: int, stride: int, dilation: int = 1) -> int:
    """A depthwise-separable convolution: depthwise, then 1 x 1 (Howard et al., 2017)."""
    channels = _channels(builder, source)
    depthwise = builder.conv("depthwise", source, channels, kernel, stride, dilation, groups=channels)
    return builder.conv("pointwise", depthwise, channels, 1)


def dil_conv(builder: Builder, source: int, kernel: int, stride: int) -> int:
    """A depthwise-separable convolution with every second pixel under its kernel."""
    return sep_conv(builder, source, kernel, stride, dilation=2)


def max_pool(builder: Builder, source: int, kernel: int, stride: int) -> int:
    """A max pool."""
    return builder.pool("pool", "max_pool", source, kernel, stride)


def avg_pool(builder: Builder, source: int, kernel: int, stride: int) -> int:
    """An average pool whose padding does not count."""
    return builder.pool("pool", "avg_pool", source, kernel, stride)


def skip(builder: Builder, source: int, kernel: int, stride: int) -> int:
    """Nothing at stride 1; else a 1 x 1 convolution, the projection shortcut of He et al. (2016)."""
    return source if stride == 1 else builder.conv("skip", source, _channels(builder, source), 1, stride)


def _channels(builder: Builder, source: int) -> int:
    return builder.nodes[source].shape[0]


Operation = Callable[[Builder, int, int, int], int]
OPERATIONS: dict[str, Operation] = {
    "conv": conv,
    "sep_conv": sep_conv,
    "dil_conv": dil_conv,
    "max_pool": max_pool,
    "avg_pool": avg_pool,
    "skip": skip,
}
