"""Rank statistics held against their definitions, written out pair by pair."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnas.scores.ranks import agreement, kendall, precision, regret, spearman

pairs_of_values = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=25)


def tau_b(scores: list[int], truths: list[int]) -> float:
    """Concordant less discordant pairs, by the pairs that each side does not tie (Kendall, 1945)."""
    signs = [
        (np.sign(scores[i] - scores[j]), np.sign(truths[i] - truths[j])) for i, j in combinations(range(len(scores)), 2)
    ]
    own, others = sum(a != 0 for a, _ in signs), sum(b != 0 for _, b in signs)
    return 0.0 if own * others == 0 else float(sum(a * b for a, b in signs) / np.sqrt(own * others))


@given(pairs_of_values)
def test_tau_counts_pairs(values: list[tuple[int, int]]) -> None:
    scores, truths = [a for a, _ in values], [b for _, b in values]
    assert kendall(scores, truths) == pytest.approx(tau_b(scores, truths), abs=1e-12)


@given(pairs_of_values)
def test_correlations_do_not_change_with_the_scale_and_turn_with_the_order(values: list[tuple[int, int]]) -> None:
    scores, truths = (np.array(side, float) for side in zip(*values, strict=True))
    for measure in (kendall, spearman):
        assert measure(np.exp(scores), truths) == pytest.approx(measure(scores, truths), abs=1e-12)
        assert measure(-scores, truths) == pytest.approx(-measure(scores, truths), abs=1e-12)


def test_a_perfect_score() -> None:
    truths = np.random.default_rng(0).normal(size=60)
    found = agreement(truths, truths)
    assert (found.n, found.regret1, found.regret5, found.regret10) == (60, 0, 0, 0)
    assert (found.tau, found.rho, found.tau_top, found.rho_top, found.precision) == pytest.approx((1,) * 5)


def test_a_constant_score_orders_nothing() -> None:
    assert kendall([1, 1, 1], [1, 2, 3]) == spearman([1, 1, 1], [1, 2, 3]) == 0


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_regret_is_what_the_best_pick_misses(order: tuple[int, ...]) -> None:
    truths = [90.0, 80.0, 70.0, 60.0]
    scores = [4 - order.index(place) for place in range(4)]
    for count in range(1, 5):
        assert regret(scores, truths, count) == 90 - max(truths[place] for place in order[:count])


def test_precision_is_the_share_of_the_best_tenth() -> None:
    truths = np.arange(40.0)
    scores = truths.copy()
    assert precision(scores, truths) == 1
    scores[[36, 37]] = 0  # two of the best four are no longer seen
    assert precision(scores, truths) == 0.5
    assert precision(-truths, truths) == 0


@pytest.mark.parametrize("digits", [0, 2])
def test_the_interval_is_that_of_resampled_taus(digits: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=30)
    scores, truths = np.round(x, digits), np.round(x + rng.normal(size=30), digits)  # with ties, and all but without
    draws = rng.integers(30, size=(400, 30))
    expected = np.quantile([kendall(scores[draw], truths[draw]) for draw in draws], (0.025, 0.975))
    found = agreement(scores, truths)
    assert (found.tau_low, found.tau_high) == pytest.approx(tuple(expected), abs=0.05)


def test_the_interval_holds_the_true_correlation_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    correlation, inside = 0.7, 0
    expected = 2 / np.pi * np.arcsin(correlation)  # Kendall's tau of a bivariate normal
    for trial in range(200):
        x = rng.normal(size=80)
        y = correlation * x + np.sqrt(1 - correlation**2) * rng.normal(size=80)
        found = agreement(x, y, trial)
        inside += found.tau_low <= expected <= found.tau_high
    assert 180 <= inside <= 199


def test_over_subsets_measures_are_means_and_one_subset_of_all_is_the_plain_case() -> None:
    rng = np.random.default_rng(0)
    truths, scores = rng.normal(size=30), rng.normal(size=(2, 30))
    subsets = [np.arange(20), np.arange(10, 30)]
    found = agreement(scores, truths, subsets=subsets)
    each = [agreement(row[own], truths[own]) for row, own in zip(scores, subsets, strict=True)]
    for name in ("n", "tau", "rho", "tau_top", "rho_top", "regret1", "regret5", "regret10", "precision"):
        assert getattr(found, name) == pytest.approx(np.mean([getattr(one, name) for one in each]))
    assert agreement(scores[0], truths, subsets=[np.arange(30)]) == agreement(scores[0], truths)


def test_the_interval_over_subsets_resamples_networks_for_all_of_them_alike() -> None:
    rng = np.random.default_rng(0)
    truths, scores = rng.normal(size=30), rng.normal(size=30)
    once, often = agreement(scores, truths), agreement(scores, truths, subsets=[np.arange(30)] * 5)
    counted = (often.tau_low, often.tau_high)  # no narrower for being counted five times
    assert counted == pytest.approx((once.tau_low, once.tau_high))
