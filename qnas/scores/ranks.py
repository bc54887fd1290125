"""How well a score orders networks by what they really reach: rank correlations, and what a pick by the score costs."""

from collections.abc import Callable, Sequence
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

    ``tau`` is Kendall's τ-b with the ends of its 95 % bootstrap interval, ``rho`` Spearman's ρ, ``tau_top`` and
    ``rho_top`` the same two among the truly best fifth. ``regret1``, ``regret5`` and ``regret10`` say how far the best
    of that many networks of the highest score is below the best of all, in the truth's unit; ``precision`` which share
    of the tenth of the highest score is of the truly best tenth.
    """

    n: int
    tau: float
    tau_low: float
    tau_high: float
    rho: float
    tau_top: float
    rho_top: float
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


def agreement(
    scores: ArrayLike, truths: ArrayLike, seed: int = 0, subsets: Sequence[NDArray[np.intp]] | None = None
) -> Agreement:
    """Everything at once.

    Args:
        scores: (n,), the higher the better; or (subsets, n), for scores that were fitted to the networks left out.
        truths: (n,).
        seed: of the resampling.
        subsets: places of networks to judge on, several times: the result is the mean over them, and its interval that
            of the mean when networks are resampled for all of them alike. Without it all networks, once.
    """
    b = np.asarray(truths, float)
    places = [np.arange(len(b))] if subsets is None else list(subsets)
    rows = np.broadcast_to(np.asarray(scores, float), (len(places), len(b)))
    times = np.random.default_rng(seed).multinomial(len(b), np.full(len(b), 1 / len(b)), RESAMPLES).astype(float)
    pairs = [(row[own], b[own]) for row, own in zip(rows, places, strict=True)]
    taus = np.mean([resampled_taus(*pair, times[:, own]) for pair, own in zip(pairs, places, strict=True)], axis=0)
    low, high = np.quantile(taus, (0.025, 0.975))
    measures = np.array([_measures(*pair) for pair in pairs]).mean(0).tolist()
    return Agreement(len(places[0]), measures[0], float(low), float(high), *measures[1:])


def _measures(a: Floats, b: Floats) -> tuple[float, ...]:
    """τ and ρ, both in the top, the regrets and the precision."""
    top = np.argsort(-b, kind="stable")[: max(2, round(TOP_SHARE * len(b)))]
    regrets = [regret(a, b, count) for count in (1, 5, 10)]
    best = a[top], b[top]
    return kendall(a, b), spearman(a, b), kendall(*best), spearman(*best), *regrets, precision(a, b)


def resampled_taus(scores: Floats, truths: Floats, times: Floats) -> Floats:
    """τ-b over networks drawn with replacement (the bootstrap of Efron, 1979).

    Args:
        scores: (n,).
        truths: (n,).
        times: (draws, n), how often each network was drawn.

    Returns:
        (draws,).
    """
    signs = [np.sign(values[:, None] - values) for values in (scores, truths)]

    def pairs(weight: Floats) -> Floats:
        """Sum of a weight over all pairs of networks of each draw."""
        total: Floats = ((times @ weight) * times).sum(1)
        return total

    own, others = (pairs(np.abs(sign)) for sign in signs)
    taus: Floats = pairs(signs[0] * signs[1]) / np.sqrt(np.maximum(own * others, 1))
    return taus
