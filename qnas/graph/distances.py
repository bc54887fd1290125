"""Shortest directed distances in a graph whose nodes are in topological order, for virtual edges."""

import numpy as np
from numpy.typing import NDArray

FAR = 1 << 14


def distances(sources: list[list[int]], longest: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """All pairs of nodes that a directed path of at most ``longest`` edges joins.

    Args:
        sources: for every node in topological order, the nodes with an edge to it.
        longest: length s_max of the longest path that counts.

    Returns:
        Start, end and length of the shortest path of each pair, ordered by end.
    """
    count = len(sources)
    table = np.full((count, count), FAR, dtype=np.int16)  # table[v, u] is the distance from u to v
    for node, before in enumerate(sources):
        row = table[node, :node]
        for source in before:
            np.minimum(row[:source], table[source, :source] + 1, out=row[:source])
            row[source] = 1
    ends, starts = np.nonzero(table <= longest)
    return starts, ends, table[ends, starts].astype(np.int64)


def depths(sources: list[list[int]]) -> list[int]:
    """For every node in topological order, the length of the longest path that ends in it."""
    result: list[int] = []
    for before in sources:
        result.append(1 + max((result[source] for source in before), default=-1))
    return result
