"""The estimator held against ridge regression by the normal equations, and what it says of itself against a loop."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from qnas.graph.statistics import graph_statistics
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.plan import Plan
from qnas.sampling.generator import stream
from qnas.scores.predicted import Score
from qnas.scores.surrogate import GRAPH_WEIGHT, KNOWN, PARAMS, STIFFNESS, features, fit_surrogate
from qnas.space.space import find_space
from qnas.task import Task

WIDTH = KNOWN + 4
MIDDLE = np.arange(WIDTH)


def rows_of(count: int, seed: int = 0) -> list[list[float]]:
    """Plausible features: of a score, of sizes and of a graph."""
    return np.random.default_rng(seed).normal(MIDDLE, 1.5, (count, WIDTH)).tolist()


def odds(accuracy: np.ndarray) -> np.ndarray:
    return np.log(accuracy / (100 - accuracy))


def per_cent(value: np.ndarray) -> np.ndarray:
    return 100 / (1 + np.exp(-value))


def linear(rows: list[list[float]]) -> list[float]:
    """Accuracies whose log-odds are linear in the score, the parameters and one statistic of the graph."""
    x = np.array(rows) - MIDDLE
    return per_cent(0.4 * x[:, 0] - 0.3 * x[:, PARAMS] + 0.2 * x[:, -1]).tolist()


def ridge(rows: list[list[float]], accuracies: list[float], wanted: list[list[float]]) -> np.ndarray:
    """Ridge regression of log-odds with a free intercept; the graph's features are worth less by their weight."""
    x, y, z = np.array(rows), odds(np.array(accuracies)), np.array(wanted)
    mean, deviation = x.mean(0), x.std(0)
    weights = np.array([1.0] * KNOWN + [GRAPH_WEIGHT] * (WIDTH - KNOWN))
    x, z = weights * (x - mean) / deviation, weights * (z - mean) / deviation
    slopes = np.linalg.solve(x.T @ x + STIFFNESS * np.eye(WIDTH), x.T @ (y - y.mean()))
    return per_cent(z @ slopes + y.mean())


@pytest.fixture
def plan() -> Plan:
    return build_plan(next(stream(find_space("tiny"), 0)), Task((1, 8, 8), 10))


def test_features_are_the_score_the_sizes_and_the_graph(plan: Plan) -> None:
    spent = costs(plan)
    found = features(Score(80.0, 0.5, 0.25), spent, graph_statistics(plan))
    sizes = np.log([spent.params, spent.macs, spent.activation_bytes]).tolist()
    assert found == pytest.approx([np.log(4), np.log(0.5), 0.25, *sizes, *graph_statistics(plan)])
    assert found[PARAMS] == pytest.approx(np.log(spent.params))


@pytest.mark.parametrize("score", [(0.0, float("nan"), float("nan")), (100.0, 0.0, 1.0), (10.0, float("inf"), -1.0)])
def test_features_of_any_score_are_finite(plan: Plan, score: tuple[float, float, float]) -> None:
    assert np.isfinite(features(Score(*score), costs(plan), graph_statistics(plan))).all()


def test_estimates_equal_ridge_regression() -> None:
    rows, others = rows_of(12), rows_of(30, seed=1)
    accuracies = np.random.default_rng(2).uniform(20, 95, 12).tolist()
    assert fit_surrogate(rows, accuracies).estimate(others) == pytest.approx(ridge(rows, accuracies, others))


def test_a_linear_relation_is_recovered_from_many_labels() -> None:
    rows, others = rows_of(600), rows_of(30, seed=1)
    assert fit_surrogate(rows, linear(rows)).estimate(others) == pytest.approx(linear(others), abs=1)


def test_without_noise_the_error_left_out_is_next_to_nothing() -> None:
    rows = rows_of(1500)
    assert fit_surrogate(rows, linear(rows)).trust.error < 0.1


def test_the_error_of_noise_is_of_its_size() -> None:
    rows, noise = rows_of(150), np.random.default_rng(4).normal(0, 5, 150)
    accuracies = [value + error for value, error in zip(linear(rows), noise, strict=True)]
    assert fit_surrogate(rows, accuracies).trust.error == pytest.approx(5 * (2 / np.pi) ** 0.5, rel=0.15)


def test_errors_and_ranks_are_those_of_each_label_left_out_in_turn() -> None:
    rows = rows_of(9)
    accuracies = np.random.default_rng(3).uniform(30, 90, 9).tolist()
    left_out = []
    for place in range(9):
        kept, truths = (values[:place] + values[place + 1 :] for values in (rows, accuracies))
        left_out.append(ridge(kept, truths, rows[place : place + 1])[0])
    found = fit_surrogate(rows, accuracies)
    assert found.trust.error == pytest.approx(np.abs(np.array(left_out) - accuracies).mean())
    assert found.trust.tau == pytest.approx(kendalltau(left_out, accuracies).statistic)
    assert found.trust.tau_params == pytest.approx(kendalltau(np.array(rows)[:, PARAMS], accuracies).statistic)
    assert found.trust.labels == 9


def test_estimates_stay_within_zero_and_a_hundred_per_cent() -> None:
    rows = rows_of(50)
    steep = [100.0 if row[0] > np.mean(rows, 0)[0] else 0.0 for row in rows]
    far = np.array(rows[:2])
    far[:, 0] += (100, -100)
    assert fit_surrogate(rows, steep).estimate(far.tolist()) == pytest.approx([100, 0], abs=1)


def test_alike_candidates_give_a_finite_estimate() -> None:
    same = [rows_of(1)[0]] * 4
    surrogate = fit_surrogate(same, [50.0] * 4)
    assert surrogate.estimate(same[:1]) == pytest.approx([50])
    assert (surrogate.trust.error, surrogate.trust.tau, surrogate.trust.tau_params) == pytest.approx((0, 0, 0))
