"""The estimator held against numpy's ridge regression, and its leave-one-out error against a loop."""

import numpy as np
import pytest

from qnas.network.costs import Costs
from qnas.search.calibration import STIFFNESS, calibrate, features


def rows_of(count: int, seed: int = 0) -> list[list[float]]:
    """Plausible features: a score in per cent and two logarithms of sizes."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(10, 90, count), rng.uniform(8, 12, count), rng.uniform(11, 14, count)]).tolist()


def linear(rows: list[list[float]]) -> list[float]:
    """An exact linear relation, within 0 to 100."""
    return [20 + 0.4 * score + 1.5 * params - 0.5 * macs for score, params, macs in rows]


def ridge(rows: list[list[float]], accuracies: list[float], wanted: list[list[float]]) -> np.ndarray:
    """Ridge regression on standardised features with a free intercept, from the normal equations."""
    x, y, z = np.array(rows), np.array(accuracies), np.array(wanted)
    mean, deviation = x.mean(0), x.std(0)
    x, z = (x - mean) / deviation, (z - mean) / deviation
    slopes = np.linalg.solve(x.T @ x + STIFFNESS * np.eye(x.shape[1]), x.T @ (y - y.mean()))
    return z @ slopes + y.mean()


def test_features_are_the_score_and_the_logarithms_of_the_sizes() -> None:
    found = features(42.5, Costs(params=1000, macs=100_000, weight_bytes=7, activation_bytes=9))
    assert found == pytest.approx([42.5, 6.907755278982137, 11.512925464970229])


def test_estimates_equal_ridge_regression() -> None:
    rows, others = rows_of(12), rows_of(30, seed=1)
    accuracies = [
        value + noise for value, noise in zip(linear(rows), np.random.default_rng(2).normal(0, 3, 12), strict=True)
    ]
    assert calibrate(rows, accuracies).estimate(others) == pytest.approx(ridge(rows, accuracies, others))


def test_a_linear_relation_is_recovered_from_many_labels() -> None:
    rows, others = rows_of(150), rows_of(30, seed=1)
    assert calibrate(rows, linear(rows)).estimate(others) == pytest.approx(linear(others), abs=0.4)


def test_without_noise_the_error_left_out_is_next_to_nothing() -> None:
    rows = rows_of(150)
    assert calibrate(rows, linear(rows)).error < 0.1


def test_the_error_is_that_of_each_label_left_out_in_turn() -> None:
    rows = rows_of(9)
    accuracies = np.random.default_rng(3).uniform(30, 90, 9).tolist()
    errors = []
    for place in range(9):
        kept, truths = (values[:place] + values[place + 1 :] for values in (rows, accuracies))
        errors.append(abs(ridge(kept, truths, rows[place : place + 1])[0] - accuracies[place]))
    assert calibrate(rows, accuracies).error == pytest.approx(np.mean(errors))


def test_the_error_of_noise_is_of_its_size() -> None:
    rows, noise = rows_of(150), np.random.default_rng(4).normal(0, 5, 150)
    accuracies = [value + error for value, error in zip(linear(rows), noise, strict=True)]
    assert calibrate(rows, accuracies).error == pytest.approx(5 * (2 / np.pi) ** 0.5, rel=0.15)


def test_the_number_of_labels_is_told() -> None:
    assert calibrate(rows_of(7), linear(rows_of(7))).labels == 7


def test_estimates_stay_within_zero_and_a_hundred_per_cent() -> None:
    rows = rows_of(50)
    steep = [10 * score - 400 for score, _, _ in rows]
    estimates = calibrate(rows, steep).estimate([[0.0, 10, 12], [100.0, 10, 12]])
    assert estimates == [0, 100]


def test_alike_candidates_give_a_finite_estimate() -> None:
    same = [[50.0, 10.0, 12.0]] * 4
    calibration = calibrate(same, [60.0, 62.0, 64.0, 66.0])
    assert calibration.estimate(same[:1]) == pytest.approx([63])
    assert calibration.error == pytest.approx(np.mean([4, 4 / 3, 4 / 3, 4]))
