"""What a network is expected to reach after some training, before it had any.

A Gaussian process (Rasmussen and Williams, 2006) on learning curves: random networks of a space, each trained for a
random time (``benchmarks/learning_curves.py``). Their table lies beside the hypernetwork's checkpoint. What a search
has trained itself is added to it, so networks like those are known better from then on. Where it trains on images that
are not the table's, all its accuracies may lie higher or lower than the table's, by log-odds that its own runs tell.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log, log2
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Kernel, WhiteKernel
from sklearn.preprocessing import StandardScaler

from qnas.graph.statistics import graph_statistics
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.plan import Plan
from qnas.quant.scheme import HIGHEST
from qnas.resources import shipped
from qnas.runs.reading import MOST_JSON, parse_rows, reading, unzipped
from qnas.scores.surrogate import Floats, accuracy_of, log_odds
from qnas.space.genotype import Genotype
from qnas.task import Task

CURVES, USUAL = "curves.jsonl.gz", "fashion"
SHIFT = 16.0
"""Variance of what accuracies on other images have in common, in variances of the table's log-odds: next to any."""
HOPE = 1.0
"""Standard deviations above what is expected that are hoped for: who is little known is tried for it."""


def inputs(plan: Plan, images: float) -> list[float]:
    """What the regression reads.

    Args:
        plan: of the network.
        images: that it is trained on, each as often as it is seen.

    Returns:
        The images to the power of -1/2: errors fall by a power of them (Hestness et al., 2017), and what is expected
        beyond the table's longest runs stays bounded; logarithms of parameters, MACs and activation bytes; mean binary
        logarithms of the layers' bits of weights and activations; then the statistics of the graph.
    """
    cost = costs(plan)
    layers = [node.bits for node in plan.nodes if node.kind in ("conv", "linear")]
    bits = [
        fmean(log2(min(HIGHEST, kind)) for kind in kinds)
        for kinds in zip(*((one.weights, one.activations) for one in layers), strict=True)
    ]
    sizes = map(log, (cost.params, cost.macs, cost.activation_bytes))
    return [images**-0.5, *sizes, *bits, *graph_statistics(plan)]


def rows_of(plans: Sequence[Plan], images: Sequence[float]) -> Floats:
    """What an outlook reads of some networks, each trained on so many images, (networks, inputs)."""
    return np.array([inputs(plan, seen) for plan, seen in zip(plans, images, strict=True)])


@dataclass(frozen=True)
class Outlook:
    """A fitted process, and what it stands on.

    Args:
        scaler: of the inputs.
        process: from scaled inputs, and whether a run is on other images, to log-odds of accuracies.
        x: what the process reads of the runs that are known, (runs, inputs + 1).
        y: log-odds of the accuracies that they reached, (runs,).
        elsewhere: whether the runs that are asked for are on other images than the table's.
    """

    scaler: StandardScaler
    process: GaussianProcessRegressor
    x: Floats
    y: Floats
    elsewhere: bool = False

    def expected(self, rows: Floats) -> list[float]:
        """Accuracy of validation images, per cent, for each of ``rows_of``."""
        values: list[float] = accuracy_of(self.process.predict(self._asked(rows))).tolist() if len(rows) else []
        return values

    def hoped(self, rows: Floats) -> list[float]:
        """The same, and ``HOPE`` standard deviations more (GP-UCB: Srinivas et al., 2010)."""
        mean, deviation = self.process.predict(self._asked(rows), return_std=True)
        values: list[float] = accuracy_of(mean + HOPE * deviation).tolist()
        return values

    def after(self, rows: Floats, accuracies: ArrayLike) -> "Outlook":
        """The outlook of one who knows these runs, too; how alike runs are stays as the table says."""
        x, y = np.vstack([self.x, self._read(rows, self.elsewhere)]), np.append(self.y, log_odds(accuracies))
        known = GaussianProcessRegressor(self.process.kernel_, optimizer=None, normalize_y=True)
        return replace(self, process=known.fit(x, y), x=x, y=y)

    def _asked(self, rows: Floats) -> Floats:
        """What the process reads; until a run on the other images is known they count as the table's."""
        return self._read(rows, bool(self.x[:, -1].any()))

    def _read(self, rows: Floats, elsewhere: bool) -> Floats:
        return np.column_stack([self.scaler.transform(rows), np.full(len(rows), float(elsewhere))])


class Shift(Kernel):  # type: ignore[misc]  # which has no types
    """What runs on other images than the table's have in common: their last input is 1, that of all others 0.

    Args:
        variance: of that.
    """

    def __init__(self, variance: float) -> None:
        self.variance = variance

    def __call__(self, x: Floats, y: Floats | None = None, eval_gradient: bool = False) -> Any:
        """See ``sklearn.gaussian_process.kernels.Kernel``."""
        shared = self.variance * np.outer(x[:, -1], (x if y is None else y)[:, -1])
        return (shared, np.empty((*shared.shape, 0))) if eval_gradient else shared

    def diag(self, x: Floats) -> NDArray[np.float64]:
        """See ``sklearn.gaussian_process.kernels.Kernel``."""
        found: NDArray[np.float64] = self.variance * x[:, -1] ** 2
        return found

    def is_stationary(self) -> bool:
        """See ``sklearn.gaussian_process.kernels.Kernel``."""
        return False


def kernel() -> Kernel:
    """How alike runs are: a trend in every input, what near ones share, what images do, and every run alone."""
    near = ConstantKernel(0.1, (1e-4, 1e2)) * RBF(2.0, (0.3, 30.0))
    trend = ConstantKernel(0.1, (1e-4, 1e2)) * DotProduct(0.0, "fixed")
    return near + trend + Shift(SHIFT) + WhiteKernel(0.01, (1e-4, 1.0))


def find_curves(checkpoint: Path, data: str) -> tuple[Path, str]:
    """The table that lies beside a checkpoint, and its data; where none does, that of the embedded images."""
    own, usual = checkpoint / CURVES, shipped("checkpoints") / USUAL / CURVES
    return (own, data) if own.is_file() else (usual, USUAL)


@lru_cache(maxsize=2)
def read_outlook(path: Path, task: Task, elsewhere: bool = False) -> Outlook:
    """The outlook of a table of learning curves.

    Args:
        path: of the table.
        task: that networks are built for.
        elsewhere: whether its images are others than the table's.

    Raises:
        QnasError: the table is damaged.
    """
    with reading(path, "a table of learning curves", "copy the checkpoint anew"):
        found = fit_outlook(parse_rows(unzipped(path, MOST_JSON))[0], task)
    return replace(found, elsewhere=elsewhere)


def fit_outlook(rows: Sequence[Mapping[str, Any]], task: Task) -> Outlook:
    """An outlook of runs, each with its ``genotype``, the ``images`` it saw and the accuracy, ``top1``, it reached."""
    return fitted(*arrays(rows, task))


def fitted(rows: Floats, accuracies: Floats) -> Outlook:
    """An outlook of inputs, (runs, inputs), and accuracies in per cent, (runs,)."""
    scaler = StandardScaler().fit(rows)
    x, y = np.column_stack([scaler.transform(rows), np.zeros(len(rows))]), log_odds(accuracies)
    process = GaussianProcessRegressor(kernel(), normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where the data want no noise, its bound is good enough
        return Outlook(scaler, process.fit(x, y), x, y)


def arrays(rows: Sequence[Mapping[str, Any]], task: Task) -> tuple[Floats, Floats]:
    """The inputs, (runs, inputs), and the accuracies in per cent, (runs,), of runs."""
    plans = [build_plan(Genotype.from_json(row["genotype"]), task) for row in rows]
    return rows_of(plans, [row["images"] for row in rows]), np.array([row["top1"] for row in rows])
