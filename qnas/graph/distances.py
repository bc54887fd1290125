"""Shortest directed distances in a graph whose nodes are in topological order, for virtual edges."""

import numpy as np
from numpy.typing import NDArray

Pairs = NDArray[np.int64]

LONGEST_VIRTUAL_EDGE = 10
"""As in the paper; the authors of GHN-2 train and evaluate theirs with 50."""


def distances(sources: list[list[int]], longest: int) -> tuple[Pairs, Pairs, Pairs]:
    """All pairs of nodes that a directed path of at most ``longest`` edges joins.

    A node's ancestors are bits of one integer: bit i of its s-th lane stands for the i-th node before it and a path of
    s + 1 edges. A lane is as long as ``longest`` times the widest edge, so a graph of more cells takes more memory
    only in proportion.

    Args:
        sources: for every node in topological order, the nodes with an edge to it.
        longest: length s_max of the longest path that counts.

    Returns:
        Start, end and length of the shortest path of each pair, ordered by end.
    """
    widest = max((node - source for node, before in enumerate(sources) for source in before), default=1)
    lane = min(len(sources), longest * widest) // 8 + 1  # bytes
    whole = (1 << (8 * lane * longest)) - 1
    reached: list[int] = []
    for node, before in enumerate(sources):
        bits = 0
        for source in before:
            bits |= (reached[source] << (node - source + 8 * lane)) | (1 << (node - source - 1))
        reached.append(bits & whole)
    packed = b"".join([bits.to_bytes(lane * longest, "little") for bits in reached])
    table = np.frombuffer(packed, np.uint8).reshape(len(sources), longest, lane)
    shortest = table.copy()
    shortest[:, 1:] &= ~np.bitwise_or.accumulate(table, axis=1)[:, :-1]
    places = np.flatnonzero(np.unpackbits(shortest, bitorder="little").view(bool))
    rows, back = np.divmod(places, 8 * lane)
    ends, lengths = np.divmod(rows, longest)
    return ends - back - 1, ends, lengths + 1


def depths(sources: list[list[int]]) -> list[int]:
    """For every node in topological order, the length of the longest path that ends in it."""
    result: list[int] = []
    for before in sources:
        result.append(1 + max([result[source] for source in before]) if before else 0)
    return result
