"""Where activations lie in memory: buffers that are never needed together share bytes.

A layer goes through its image row by row, and what it has read for the last time may be overwritten by what it makes
(after Lin et al., 2021, who do so for depthwise layers): then its output needs no more than a head start on its input.
"""

from dataclasses import dataclass
from random import Random

ORDERS = 200
"""Random orders in which buffers are placed, besides the usual two; the best counts."""


@dataclass(frozen=True)
class Buffer:
    """Bytes that are needed from one step to another, both included.

    Args:
        size: in bytes.
        first: step that writes it.
        last: step that reads it last.
        over: buffers that it may lie on, by their position: by how many bytes it must begin before each.
    """

    size: int
    first: int
    last: int
    over: tuple[tuple[int, int], ...] = ()


def placed(buffers: list[Buffer]) -> tuple[list[int], int]:
    """Where each buffer begins, and the bytes that all of them take.

    Greedy, each at the lowest place that is free, in several orders; the same buffers give the same places.
    """
    everything = range(len(buffers))
    orders = [list(everything), sorted(everything, key=lambda place: -buffers[place].size)]
    rng = Random(0)
    orders += [rng.sample(everything, len(buffers)) for _ in range(ORDERS)]
    plans = [_placed_in(order, buffers) for order in orders]
    return min(plans, key=lambda plan: plan[1])


def _placed_in(order: list[int], buffers: list[Buffer]) -> tuple[list[int], int]:
    starts: dict[int, int] = {}
    for place in order:
        taken = [taken for other in starts if (taken := _taken(place, other, buffers, starts[other]))]
        free = (end for end in sorted({0, *(end for _, end in taken)}) if end >= 0)
        starts[place] = next(start for start in free if not any(low < start < end for low, end in taken))
    return [starts[place] for place in range(len(buffers))], max(
        starts[place] + buffers[place].size for place in starts
    )


def _taken(place: int, other: int, buffers: list[Buffer], start: int) -> tuple[int, int] | None:
    """Between which two places a buffer cannot begin, because of another one that begins at ``start``."""
    one, two = buffers[place], buffers[other]
    if one.last < two.first or two.last < one.first:
        return None
    low, end = start - one.size, start + two.size
    if other in dict(one.over):
        low = max(low, start - dict(one.over)[other])
    elif place in dict(two.over):
        end = min(end, start + dict(two.over)[place])
    return (low, end) if low < end else None
