"""From what is known for free to what short training would give: a ridge regression on the run's own short runs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from qnas.network.costs import Costs

STIFFNESS = 1.0
Floats = NDArray[np.float64]


def features(score: float, spent: Costs) -> list[float]:
    """What is known of a candidate before any training: its predicted accuracy and the logarithms of its size."""
    return [score, float(np.log(spent.params)), float(np.log(spent.macs))]


@dataclass(frozen=True)
class Calibration:
    """A fitted estimator; ``error`` is its mean absolute leave-one-out error in points of accuracy, over ``labels``."""

    model: Pipeline
    error: float
    labels: int

    def estimate(self, rows: list[list[float]]) -> list[float]:
        """Estimated accuracy after a short run, per cent, for each row of features."""
        values: list[float] = np.clip(self.model.predict(np.array(rows)), 0, 100).tolist()
        return values


def estimator() -> Pipeline:
    """Ridge regression on standardised features."""
    return make_pipeline(StandardScaler(), Ridge(STIFFNESS))


def calibrate(rows: list[list[float]], accuracies: list[float]) -> Calibration:
    """Fit the estimator to the features and accuracies of candidates that had a short run; two or more of them."""
    x, y = np.array(rows), np.array(accuracies)
    model = estimator()
    left_out: Floats = cross_val_predict(model, x, y, cv=LeaveOneOut())
    return Calibration(model.fit(x, y), float(np.abs(left_out - y).mean()), len(y))
