"""What a network is expected to reach after some training, before it had any.

A Gaussian process (Rasmussen and Williams, 2006) on learning curves: random networks of a space, each trained for a
random time (``benchmarks/learning_curves.py``). Their table lies beside the hypernetwork's checkpoint. What a search
has trained itself is added to it, so networks like those are known better from then on.
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
from numpy.typing import ArrayLike
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
        process: from scaled inputs to log-odds of accuracies.
        x: scaled inputs of the runs that are known, (runs, inputs).
        y: log-odds of the accuracies that they reached, (runs,).
    """

    scaler: StandardScaler
    process: GaussianProcessRegressor
    x: Floats
    y: Floats

    def expected(self, rows: Floats) -> list[float]:
        """Accuracy of validation images, per cent, for each of ``rows_of``."""
        values: list[float] = (
            accuracy_of(self.process.predict(self.scaler.transform(rows))).tolist() if len(rows) else []
        )
        return values

    def hoped(self, rows: Floats) -> list[float]:
        """The same, and ``HOPE`` standard deviations more (GP-UCB: Srinivas et al., 2010)."""
        mean, deviation = self.process.predict(self.scaler.transform(rows), return_std=True)
        values: list[float] = accuracy_of(mean + HOPE * deviation).tolist()
        return values

    def after(self, rows: Floats, accuracies: ArrayLike) -> "Outlook":
        """The outlook of one who knows these runs, too; how alike runs are stays as the table says."""
        x, y = np.vstack([self.x, self.scaler.transform(rows)]), np.append(self.y, log_odds(accuracies))
        known = GaussianProcessRegressor(self.process.kernel_, optimizer=None, normalize_y=True)
        return replace(self, process=known.fit(x, y), x=x, y=y)


def kernel() -> Kernel:
    """How alike runs are: a trend in every input, what near ones share beyond it, and what every run has alone."""
    near = ConstantKernel(0.1, (1e-4, 1e2)) * RBF(2.0, (0.3, 30.0))
    return near + ConstantKernel(0.1, (1e-4, 1e2)) * DotProduct(0.0, "fixed") + WhiteKernel(0.01, (1e-4, 1.0))


def find_curves(checkpoint: Path) -> Path:
    """The table that lies beside a checkpoint; where none does, that of the embedded images."""
    return next(path for folder in (checkpoint, shipped("checkpoints") / USUAL) if (path := folder / CURVES).is_file())


@lru_cache(maxsize=2)
def read_outlook(path: Path, task: Task) -> Outlook:
    """The outlook of a table of learning curves.

    Args:
        path: of the table.
        task: that networks are built for.

    Raises:
        QnasError: the table is damaged.
    """
    with reading(path, "a table of learning curves", "copy the checkpoint anew"):
        return fit_outlook(parse_rows(unzipped(path, MOST_JSON))[0], task)


def fit_outlook(rows: Sequence[Mapping[str, Any]], task: Task) -> Outlook:
    """An outlook of runs, each with its ``genotype``, the ``images`` it saw and the accuracy, ``top1``, it reached."""
    return fitted(*arrays(rows, task))


def fitted(rows: Floats, accuracies: Floats) -> Outlook:
    """An outlook of inputs, (runs, inputs), and accuracies in per cent, (runs,)."""
    scaler = StandardScaler().fit(rows)
    x, y = scaler.transform(rows), log_odds(accuracies)
    process = GaussianProcessRegressor(kernel(), normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where the data want no noise, its bound is good enough
        return Outlook(scaler, process.fit(x, y), x, y)


def arrays(rows: Sequence[Mapping[str, Any]], task: Task) -> tuple[Floats, Floats]:
    """The inputs, (runs, inputs), and the accuracies in per cent, (runs,), of runs."""
    plans = [build_plan(Genotype.from_json(row["genotype"]), task) for row in rows]
    return rows_of(plans, [row["images"] for row in rows]), np.array([row["top1"] for row in rows])
