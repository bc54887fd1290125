"""Where activations lie in memory: buffers that are never needed together share bytes.

A layer goes through its image row by row, and what it has read for the last time may be overwritten by what it makes
(after Lin et al., 2021, who do so for depthwise layers): then its output needs no more than a head start on its input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

TRIES = 10
"""How often the order in which buffers are placed is mended, from every order that is begun with."""


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


class Places(NamedTuple):
    """Where each buffer begins, and the bytes that all of them take."""

    starts: list[int]
    total: int


class Meeting(NamedTuple):
    """Where a buffer cannot begin for another one that is needed with it: less than so much before and after it."""

    other: int
    before: int
    after: int


def placed(buffers: Sequence[Buffer], quick: bool = False) -> Places:
    """Places for buffers; the same ones get the same places.

    Greedy, each at the lowest place that is free, in several orders. What then reaches the highest comes first in the
    next try, until all take no more than they must.

    Args:
        buffers: to place.
        quick: whether the first order, which takes a few per cent more than all of them, is enough.
    """
    meetings, enough = _meetings(buffers), least(buffers)
    orders = _orders(buffers)[: 1 if quick else None]
    found = [(order, _placed_in(order, buffers, meetings)) for order in orders]
    best = min((one for _, one in found), key=lambda one: one.total)
    for order, one in sorted(found, key=lambda tried: tried[1].total):
        for _ in range(0 if quick else TRIES):
            if best.total <= enough:
                return best
            order = sorted(order, key=lambda place: one.starts[place] + buffers[place].size < one.total)
            one = _placed_in(order, buffers, meetings)
            best = min(best, one, key=lambda one: one.total)
    return best


def least(buffers: Sequence[Buffer]) -> int:
    """Bytes that all of them take at least: what one step needs, lying on each other as far as they may."""
    most = 0
    for step in {buffer.first for buffer in buffers}:
        alive = [buffer for buffer in buffers if buffer.first <= step <= buffer.last]
        made = [buffer for buffer in alive if buffer.first == step and buffer.over]
        saved = sum(min(sum(buffers[other].size for other, _ in one.over), one.size - _head(one)) for one in made)
        most = max(most, sum(buffer.size for buffer in alive) - saved)
    return most


def _head(buffer: Buffer) -> int:
    """Bytes of a buffer that lie before all that it may lie on."""
    return max(0, min(lead for _, lead in buffer.over))


def _orders(buffers: Sequence[Buffer]) -> list[list[int]]:
    """Backwards first, since an output is placed by its distance to what it overwrites; and by size."""
    everything = range(len(buffers))
    return [
        [*reversed(everything)],
        [*everything],
        sorted(everything, key=lambda place: (-buffers[place].last, -buffers[place].size)),
        sorted(everything, key=lambda place: (-buffers[place].first, -buffers[place].size)),
        sorted(everything, key=lambda place: -buffers[place].size),
    ]


def _meetings(buffers: Sequence[Buffer]) -> list[list[Meeting]]:
    """What every buffer meets."""
    leads = {(place, other): lead for place, one in enumerate(buffers) for other, lead in one.over}
    alive: dict[int, list[int]] = {}
    for place, buffer in enumerate(buffers):
        for step in range(buffer.first, buffer.last + 1):
            alive.setdefault(step, []).append(place)
    together = sorted({pair for places in alive.values() for pair in permutations(places, 2)})
    found: list[list[Meeting]] = [[] for _ in buffers]
    for place, other in together:
        one, two = buffers[place].size, buffers[other].size
        meeting = Meeting(other, min(one, leads.get((place, other), one)), min(two, leads.get((other, place), two)))
        found[place].append(meeting)
    return found


def _placed_in(order: Sequence[int], buffers: Sequence[Buffer], meetings: list[list[Meeting]]) -> Places:
    starts: dict[int, int] = {}
    for place in order:
        met = [(starts[one.other], one) for one in meetings[place] if one.other in starts]
        start = 0
        for low, end in sorted((other - one.before, other + one.after) for other, one in met):
            if low < start < end:
                start = end
        starts[place] = start
    total = max((start + buffers[place].size for place, start in starts.items()), default=0)
    return Places([starts[place] for place in range(len(buffers))], total)
