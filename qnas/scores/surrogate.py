"""From what is known before training to what short training would give: a regression on the run's own short runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from qnas.network.costs import Costs
from qnas.scores.predicted import Score
from qnas.scores.ranks import kendall

STIFFNESS = 3.0
GRAPH_WEIGHT = 1 / 3
"""What a statistic of the graph counts beside a score or a cost: enough to help with fifty labels, not to hurt with a
dozen."""
OUTER = 0.5
"""Accuracies this close to 0 or 100 per cent are held as this far from them, so that their log-odds are finite."""
LOSSES = (1e-6, 1e3)
KNOWN, PARAMS = 6, 3
"""How many features a network has before its graph's, and which of them is the logarithm of its parameters."""
Floats = NDArray[np.float64]


def log_odds(accuracy: ArrayLike) -> Floats:
    """Log-odds of accuracies in per cent."""
    odds: Floats = logit(np.clip(accuracy, OUTER, 100 - OUTER) / 100)
    return odds


def accuracy_of(odds: ArrayLike) -> Floats:
    """Accuracies in per cent, of their log-odds."""
    accuracy: Floats = 100 * expit(odds)
    return accuracy


def features(score: Score, costs: Costs, graph: Sequence[float]) -> list[float]:
    """What is known of a network before any training.

    Args:
        score: with predicted parameters.
        costs: of the network.
        graph: its statistics (``qnas.graph.statistics``).

    Returns:
        Log-odds of the predicted accuracy, logarithm of the loss, margin, and logarithms of parameters, MACs and
        activation bytes: ``KNOWN`` of them; then the statistics of the graph.
    """
    loss = score.loss if np.isfinite(score.loss) else LOSSES[1]
    sizes = np.log([float(np.clip(loss, *LOSSES)), costs.params, costs.macs, costs.activation_bytes]).tolist()
    margin = score.margin if np.isfinite(score.margin) else -1.0
    return [float(log_odds(score.top1)), sizes[0], margin, *sizes[1:], *graph]


def _weighed(known: int, rows: Floats) -> Floats:
    return rows * np.where(np.arange(rows.shape[1]) < known, 1, GRAPH_WEIGHT)


def estimator(known: int = KNOWN) -> TransformedTargetRegressor:
    """Ridge regression of accuracies' log-odds on standardised features, of which those after ``known`` count less."""
    rows = make_pipeline(StandardScaler(), FunctionTransformer(partial(_weighed, known)), Ridge(STIFFNESS))
    return TransformedTargetRegressor(rows, func=log_odds, inverse_func=accuracy_of, check_inverse=False)


@dataclass(frozen=True)
class Trust:
    """How well estimates did on short runs that they did not know.

    Args:
        labels: how many short runs.
        error: mean absolute error, in points of accuracy.
        tau: Kendall's τ of the estimates with what the runs gave.
        tau_params: that of the number of parameters, which any estimate should beat.
    """

    labels: int
    error: float
    tau: float
    tau_params: float

    @classmethod
    def of(cls, estimates: ArrayLike, accuracies: ArrayLike, params: ArrayLike) -> "Trust":
        """Of estimates and accuracies in per cent, and of parameters or their logarithms."""
        x, y, sizes = (np.asarray(values, np.float64) for values in (estimates, accuracies, params))
        return cls(len(y), float(np.abs(x - y).mean()), kendall(x, y), kendall(sizes, y))


@dataclass(frozen=True)
class Surrogate:
    """A fitted estimator of accuracies, and how well it did on its labels when each was left out in turn."""

    model: TransformedTargetRegressor
    trust: Trust

    def estimate(self, rows: list[list[float]]) -> list[float]:
        """Estimated accuracy after a short run, per cent, for each row of features."""
        values: list[float] = self.model.predict(np.array(rows)).tolist()
        return values


def fit_surrogate(rows: list[list[float]], accuracies: list[float]) -> Surrogate:
    """Fit the estimator to the features and accuracies of networks that had a short run; two or more of them."""
    x, y = np.array(rows), np.array(accuracies)
    model = estimator()
    left_out: Floats = cross_val_predict(model, x, y, cv=LeaveOneOut())
    return Surrogate(model.fit(x, y), Trust.of(left_out, y, x[:, PARAMS]))
