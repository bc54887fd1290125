"""How well a score orders networks by what they really reach: rank correlations, and what a pick by the score costs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau, rankdata, spearmanr

TOP_SHARE, BEST_SHARE = 0.2, 0.1
"""Shares of the best networks: those among which a second correlation is taken, and those that a pick should meet."""
RESAMPLES = 1000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """A score against the truth over ``n`` networks.

    ``tau`` is Kendall's τ-b with the ends of its 95 % bootstrap interval, ``rho`` Spearman's ρ, ``tau_top`` τ-b among
    the truly best fifth. ``regret1``, ``regret5`` and ``regret10`` say how far the best of that many networks of the
    highest score is below the best of all, in the truth's unit; ``precision`` which share of the tenth of the highest
    score is of the truly best tenth.
    """

    n: int
    tau: float
    tau_low: float
    tau_high: float
    rho: float
    tau_top: float
    regret1: float
    regret5: float
    regret10: float
    precision: float


def kendall(scores: ArrayLike, truths: ArrayLike) -> float:
    """Kendall's τ-b; 0 where one side is constant, which orders nothing."""
    return _correlation(kendalltau, scores, truths)


def spearman(scores: ArrayLike, truths: ArrayLike) -> float:
    """Spearman's ρ; 0 where one side is constant."""
    return _correlation(spearmanr, scores, truths)


def _correlation(measure: Callable[..., Any], scores: ArrayLike, truths: ArrayLike) -> float:
    sides = [np.asarray(side, float) for side in (scores, truths)]
    constant = any(len(side) < 2 or np.all(side == side[0]) for side in sides)
    return 0.0 if constant else float(measure(*sides).statistic)


def regret(scores: ArrayLike, truths: ArrayLike, count: int) -> float:
    """How far the best of the ``count`` highest scores is below the best of all; equal scores in their given order."""
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    best = np.asarray(truths, float)
    return float(best.max() - best[order[:count]].max())


def precision(scores: ArrayLike, truths: ArrayLike) -> float:
    """Share of the tenth with the highest scores that is of the truly best tenth (ties with its last one included)."""
    a, b = np.asarray(scores, float), np.asarray(truths, float)
    count = max(1, round(BEST_SHARE * len(a)))
    chosen = np.argsort(-a, kind="stable")[:count]
    return float(np.mean(rankdata(-b, method="min")[chosen] <= count))


def agreement(scores: ArrayLike, truths: ArrayLike, seed: int = 0) -> Agreement:
    """Everything at once.

    Args:
        scores: (n,), the higher the better.
        truths: (n,).
        seed: of the resampling.
    """
    a, b = np.asarray(scores, float), np.asarray(truths, float)
    top = np.argsort(-b, kind="stable")[: max(2, round(TOP_SHARE * len(b)))]
    low, high = bootstrap(a, b, seed)
    return Agreement(
        len(a), kendall(a, b), low, high, spearman(a, b), kendall(a[top], b[top]),
        regret(a, b, 1), regret(a, b, 5), regret(a, b, 10), precision(a, b),
    )  # fmt: skip


def bootstrap(scores: Floats, truths: Floats, seed: int) -> tuple[float, float]:
    """The 95 % percentile interval of τ-b over networks drawn with replacement (Efron, 1979)."""
    count = len(scores)
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(float)
    signs = [np.sign(values[:, None] - values) for values in (scores, truths)]

    def pairs(weight: Floats) -> Floats:
        """Sum of a weight over all pairs of networks of each draw."""
        total: Floats = ((times @ weight) * times).sum(1)
        return total

    own, others = (pairs(np.abs(sign)) for sign in signs)
    taus = pairs(signs[0] * signs[1]) / np.sqrt(np.maximum(own * others, 1))
    low, high = np.quantile(taus, (0.025, 0.975))
    return float(low), float(high)
