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
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Kernel, Sum, WhiteKernel
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
SHIFT, OWN = 16.0, 0.1
"""Variance of what accuracies on other images have in common, in variances of the table's log-odds: next to any; and
the variances of what such images favour beyond that, as shares of the table's."""
FEATURES = 256
"""Cosines of which a drawn function is made (random Fourier features: Rahimi and Recht, 2007)."""
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

    def imagined(self, rows: Floats, seed: int) -> list[float]:
        """Accuracy, per cent, as it may be on other images: what is expected, and a drawn function of their own.

        Who proposes the best of each of many such functions proposes many kinds of networks, and those more often that
        are more likely to be the best (Thompson sampling: Kandasamy et al., 2018).
        """
        x, scale = self._asked(rows), float(np.std(self.y))
        mean: Floats = self.process.predict(x)
        values: list[float] = accuracy_of(mean + scale * self.process.kernel_.k2.drawn(x, seed)).tolist()
        return values

    def after(self, rows: Floats, accuracies: ArrayLike) -> "Outlook":
        """The outlook of one who knows these runs, too; how alike runs are stays as the table says."""
        x, y = np.vstack([self.x, self._read(rows, self.elsewhere)]), np.append(self.y, log_odds(accuracies))
        return replace(self, process=_conditioned(self.process.kernel_, x, y), x=x, y=y)

    def on_other_images(self, own: float = OWN) -> "Outlook":
        """The outlook for other images than the table's, which favour networks of their own to this extent."""
        kernel = with_own(self.process.kernel_, own)
        return replace(self, process=_conditioned(kernel, self.x, self.y), elsewhere=True)

    def _asked(self, rows: Floats) -> Floats:
        """What the process reads; until a run on the other images is known they count as the table's."""
        return self._read(rows, bool(self.x[:, -1].any()))

    def _read(self, rows: Floats, elsewhere: bool) -> Floats:
        return np.column_stack([self.scaler.transform(rows), np.full(len(rows), float(elsewhere))])


class Own(Kernel):  # type: ignore[misc]  # which has no types
    """What runs on other images than the table's share: their last input is 1, that of all others 0.

    Args:
        shift: variance of what all of them have in common.
        near: of what near ones share.
        length: within which they are near.
        trend: variance of the slopes of a trend in every input.
    """

    def __init__(self, shift: float, near: float, length: float, trend: float) -> None:
        self.shift, self.near, self.length, self.trend = shift, near, length, trend

    def __call__(self, x: Floats, y: Floats | None = None, eval_gradient: bool = False) -> Any:
        """See ``sklearn.gaussian_process.kernels.Kernel``."""
        a, b = (one[:, :-1] for one in (x, x if y is None else y))
        shared = self.shift + self.near * RBF(self.length)(a, b) + self.trend * (a @ b.T)
        shared *= np.outer(x[:, -1], (x if y is None else y)[:, -1])
        return (shared, np.empty((*shared.shape, 0))) if eval_gradient else shared

    def diag(self, x: Floats) -> NDArray[np.float64]:
        """See ``sklearn.gaussian_process.kernels.Kernel``."""
        found: NDArray[np.float64] = (self.shift + self.near + self.trend * (x[:, :-1] ** 2).sum(1)) * x[:, -1] ** 2
        return found

    def is_stationary(self) -> bool:
        """See ``sklearn.gaussian_process.kernels.Kernel``."""
        return False

    def drawn(self, x: Floats, seed: int) -> Floats:
        """A random function of such runs, all but the shift: one value for each of ``x``, (runs,)."""
        rng, inputs = np.random.default_rng(seed), x[:, :-1]
        angles = inputs @ rng.normal(0, 1 / self.length, (inputs.shape[1], FEATURES)) + rng.uniform(
            0, 2 * np.pi, FEATURES
        )
        waves = np.cos(angles) @ rng.normal(0, (2 * self.near / FEATURES) ** 0.5, FEATURES)
        total: Floats = waves + inputs @ rng.normal(0, self.trend**0.5, inputs.shape[1])
        return total


def kernel() -> Kernel:
    """How alike runs are: a trend in every input, what near ones share, what images do, and every run alone."""
    near = ConstantKernel(0.1, (1e-4, 1e2)) * RBF(2.0, (0.3, 30.0))
    trend = ConstantKernel(0.1, (1e-4, 1e2)) * DotProduct(0.0, "fixed")
    return Sum(near + trend, WhiteKernel(0.01, (1e-4, 1.0)))


def with_own(fitted: Kernel, own: float) -> Kernel:
    """A fitted ``kernel``, and what other images share beside it."""
    near, trend = fitted.k1.k1, fitted.k1.k2
    return Sum(fitted, Own(SHIFT, own * near.k1.constant_value, near.k2.length_scale, own * trend.k1.constant_value))


def _conditioned(kernel: Kernel, x: Floats, y: Floats) -> GaussianProcessRegressor:
    return GaussianProcessRegressor(kernel, optimizer=None, normalize_y=True).fit(x, y)


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
    return found.on_other_images() if elsewhere else found


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
