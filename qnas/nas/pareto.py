"""What is best where several things count: non-dominated fronts, and who stands apart on them (Deb et al., 2002)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def fronts(points: ArrayLike) -> list[list[int]]:
    """The rows of (n, objectives), the less the better, front by front: no row is dominated by one of a later front."""
    x = np.asarray(points, float)
    no_worse: NDArray[np.bool_] = np.all(x[:, None] <= x[None], axis=2)
    dominates = no_worse & ~no_worse.T
    result, left = [], np.ones(len(x), bool)
    while left.any():
        front = left & ~dominates[left].any(0)
        result.append(np.flatnonzero(front).tolist())
        left &= ~front
    return result


def crowding(points: ArrayLike) -> Floats:
    """How far each row of a front (n, objectives) stands from its neighbours; infinite at the ends of an objective."""
    x = np.asarray(points, float)
    total = np.zeros(len(x))
    for column in x.T:
        order = np.argsort(column, kind="stable")
        gaps = np.full(len(x), np.inf)
        if len(x) > 2:
            gaps[1:-1] = (column[order[2:]] - column[order[:-2]]) / max(float(np.ptp(column)), 1e-12)
        total[order] += gaps
    return total


def order(points: ArrayLike) -> list[int]:
    """Rows of (n, objectives), the less the better: front by front, on each those first that stand apart."""
    x = np.asarray(points, float)
    result: list[int] = []
    for front in fronts(x):
        distances = crowding(x[front])
        result += [front[place] for place in np.argsort(-distances, kind="stable")]
    return result
