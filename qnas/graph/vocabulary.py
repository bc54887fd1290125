"""The words a graph is written in: primitives, channel counts, kernel sizes, bit widths, as embedding indices.

Channels and kernels follow GHN-2 (Knyazev et al., 2021): a value that is not in the list takes its nearest entry.
"""

from bisect import bisect_left
from functools import cache

PRIMITIVES = (
    "input", "conv", "depthwise_conv", "dilated_conv", "linear", "bias", "batch_norm",
    "max_pool", "avg_pool", "global_avg", "sum", "concat",
)  # fmt: skip
CHANNELS = tuple(sorted({1, 3, 10, *range(8, 57, 8), *range(64, 4081, 16), *range(4096, 8193, 32)}))
KERNELS = (1, 3, 5, 7, 9, 11, 14, 16)
BIT_WIDTHS = (2, 3, 4, 5, 6, 7, 8, 32)
SIDES = (1, *(round(2 ** (power / 2)) for power in range(2, 17)))
"""Of images, in pixels: 1 to 256."""
LONGEST_PATH = 63
"""Longer ones count as so long."""


def nearest(value: int, entries: tuple[int, ...]) -> int:
    """The index of the entry nearest to ``value``, the smaller one of two."""
    place = bisect_left(entries, value)
    if place == len(entries):
        return place - 1
    return place - 1 if place and value - entries[place - 1] <= entries[place] - value else place


CHANNEL_INDEX = [nearest(value, CHANNELS) for value in range(CHANNELS[-1] + 1)]
KERNEL_INDEX = [nearest(value, KERNELS) for value in range(KERNELS[-1] + 1)]
PRIMITIVE_INDEX = {name: index for index, name in enumerate(PRIMITIVES)}
SIDE_INDEX = [nearest(value, SIDES) for value in range(SIDES[-1] + 1)]
BIT_WIDTH_INDEX = {width: index for index, width in enumerate(BIT_WIDTHS)}


@cache
def shape_code(channels_out: int, channels_in: int, kernel: int) -> tuple[int, int, int, int]:
    """Indices of Cout, Cin, kh and kw."""
    side = KERNEL_INDEX[min(kernel, KERNELS[-1])]
    largest = CHANNELS[-1]
    return CHANNEL_INDEX[min(channels_out, largest)], CHANNEL_INDEX[min(channels_in, largest)], side, side
