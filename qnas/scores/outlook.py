"""What a network is expected to reach after some training, before it had any.

A Gaussian process (Rasmussen and Williams, 2006) on learning curves: random networks of a space, each trained for a
random time (``benchmarks/learning_curves.py``). Their table lies beside the hypernetwork's checkpoint; the embedded
images' is below all others, for a table alone is too small to know all kinds of networks. What a search has trained
itself is added, so networks like those are known better from then on. On other images, and in a search's own runs, all
accuracies may lie higher or lower, by log-odds that such runs tell, and differ a little beyond that. A network's score,
once it is known, counts by how much it surprises (``qnas.scores.surprise``).
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import expm1, log, log2, nan
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Kernel
from sklearn.preprocessing import StandardScaler

from qnas.graph.statistics import graph_statistics, reach
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.plan import Plan
from qnas.quant.scheme import HIGHEST
from qnas.resources import shipped
from qnas.runs.reading import MOST_JSON, parse_rows, reading, unzipped
from qnas.scores.kernel import OWN, kernel, with_own
from qnas.scores.surprise import Surprise, learned
from qnas.scores.surrogate import Floats, accuracy_of, log_odds
from qnas.space.genotype import Genotype
from qnas.task import Task

CURVES, USUAL = "curves.jsonl.gz", "fashion"
POWERS = (-0.5, -0.25)
"""Of the images of a run."""
REPEATS = 15.4
"""Passes over the same images after which another teaches 1/e of what the second one did: Muennighoff et al.'s."""
HOPE = 1.0
"""Standard deviations above what is expected that are hoped for: who is little known is tried for it."""


def worth(images: float, distinct: int) -> float:
    """How many images teach as much, each seen once, as some that repeat (Muennighoff et al., 2023, equation 5).

    Args:
        images: that a network is trained on, each as often as it is seen.
        distinct: how many of them there are.
    """
    again = max(0.0, images / distinct - 1)
    return min(images, distinct * (1 + REPEATS * -expm1(-again / REPEATS)))


def inputs(plan: Plan, images: float) -> list[float]:
    """What the regression reads.

    Args:
        plan: of the network.
        images: that it is trained on, by what they are worth.

    Returns:
        The images to the power of ``POWERS``: errors fall by a power of them (Hestness et al., 2017), another for other
        images, and what is expected beyond the table's longest runs stays bounded; logarithms of parameters,
        MACs and activation bytes; mean binary logarithms of the layers' bits of weights and activations; then the
        statistics of the graph, and how far and how deep the network looks.
    """
    cost = costs(plan)
    layers = [node.bits for node in plan.nodes if node.kind in ("conv", "linear")]
    bits = [
        fmean(log2(min(HIGHEST, kind)) for kind in kinds)
        for kinds in zip(*((one.weights, one.activations) for one in layers), strict=True)
    ]
    sizes = map(log, (cost.params, cost.macs, cost.activation_bytes))
    return [*(images**power for power in POWERS), *sizes, *bits, *graph_statistics(plan), *reach(plan)]


def rows_of(plans: Sequence[Plan], images: Sequence[float], scores: Sequence[float | None] | None = None) -> Floats:
    """What an outlook is told of some networks.

    Args:
        plans: of the networks.
        images: that each is trained on, by what they are worth.
        scores: of each with predicted parameters, in per cent, where it is known.

    Returns:
        Their inputs, and the log-odds of their scores or what is no number, (networks, inputs + 1).
    """
    known = [nan if score is None else float(log_odds(score)) for score in scores or [None] * len(plans)]
    rows = [[*inputs(plan, seen), score] for plan, seen, score in zip(plans, images, known, strict=True)]
    return np.array(rows)


@dataclass(frozen=True)
class Outlook:
    """A fitted process, and what it stands on.

    Args:
        scaler: of the inputs.
        odds: scaler of the log-odds of accuracies, as the first table has them.
        process: from scaled inputs, a score's surprise and the level of a run's images to scaled log-odds.
        x: what the process reads of the runs that are known, (runs, inputs + 2).
        y: what it is told of them: the scaled log-odds of the accuracies that they reached, (runs,).
        surprise: of scores on the last table's images, if it has any.
        level: of the images of the runs that are asked for: 0 for the first table's, 1 for others, 2 for others again.
    """

    scaler: StandardScaler
    odds: StandardScaler
    process: GaussianProcessRegressor
    x: Floats
    y: Floats
    surprise: Surprise | None
    level: int = 0

    @property
    def strange(self) -> bool:
        """Whether no run on the images that are asked for is known."""
        return bool(self.x[:, -1].max() < self.level)

    def expected(self, rows: Floats) -> list[float]:
        """Accuracy of validation images, per cent, for each of ``rows_of``."""
        return self._accuracies(self.process.predict(self._asked(rows))) if len(rows) else []

    def hoped(self, rows: Floats) -> list[float]:
        """The same, and ``HOPE`` standard deviations of a run more (after GP-UCB: Srinivas et al., 2010)."""
        mean, deviation = self.process.predict(self._asked(rows), return_std=True)
        return self._accuracies(mean + HOPE * deviation)

    def imagined(self, rows: Floats, seed: int) -> list[float]:
        """Accuracy, per cent, as it may be on other images: what is expected, and a drawn function of their own.

        Who proposes the best of each of many such functions proposes many kinds of networks, and those more often that
        are more likely to be the best (Thompson sampling: Kandasamy et al., 2018).
        """
        x = self._asked(rows)
        mean: Floats = self.process.predict(x)
        return self._accuracies(mean + self.process.kernel_.k2.drawn(x, seed))

    def after(self, rows: Floats, accuracies: ArrayLike) -> "Outlook":
        """The outlook of one who knows these runs, too; how alike runs are stays as the table says."""
        x, y = np.vstack([self.x, self._read(rows, self.level)]), np.append(self.y, _scaled(self.odds, accuracies))
        return replace(self, process=_conditioned(self.process.kernel_, x, y), x=x, y=y)

    def after_own(self, rows: Floats, accuracies: ArrayLike) -> "Outlook":
        """The outlook of one who made these runs.

        They begin with other parameters than a table's, on another machine, and tables get old: all of them may be
        higher or lower by what such runs have in common, as on other images.
        """
        return (self if self.strange else self.on_other_images()).after(rows, accuracies)

    def used_to(self, rows: Floats) -> "Outlook":
        """The outlook where these networks' scores are of another hypernetwork, or on other images, than a table's."""
        return replace(self, surprise=self.surprise and self.surprise.used_to(*_apart(rows)))

    def on_other_images(self, own: float = OWN) -> "Outlook":
        """The outlook for other images than those so far, which favour networks of their own to this extent."""
        kernel = with_own(self.process.kernel_, own, self.level + 1)
        return replace(self, process=_conditioned(kernel, self.x, self.y), level=self.level + 1)

    def _accuracies(self, told: Floats) -> list[float]:
        values: list[float] = accuracy_of(self.odds.inverse_transform(told[:, None])[:, 0]).tolist()
        return values

    def _asked(self, rows: Floats) -> Floats:
        """What the process reads; until a run on the other images is known they count as those before."""
        return self._read(rows, self.level - self.strange)

    def _read(self, rows: Floats, level: int) -> Floats:
        return _columns(rows, self.scaler, self.surprise, level)


def _conditioned(kernel: Kernel, x: Floats, y: Floats) -> GaussianProcessRegressor:
    return GaussianProcessRegressor(kernel, optimizer=None).fit(x, y)


def find_curves(checkpoint: Path, data: str) -> tuple[tuple[Path, ...], str]:
    """The tables for a checkpoint of some data: that of the embedded images, and its own where it has one.

    Returns:
        The tables, and the data of the last one.
    """
    own, usual = checkpoint / CURVES, shipped("checkpoints") / USUAL / CURVES
    if not own.is_file():
        return (usual,), USUAL
    return ((own,) if data == USUAL else (usual, own)), data


def outlook_beside(
    checkpoint: Path, data: str, task: Task, without: frozenset[str] = frozenset()
) -> tuple[Outlook, bool]:
    """What a checkpoint's tables let expect of networks on some images.

    Args:
        checkpoint: its folder.
        data: that it was trained on.
        task: that networks are built for.
        without: see ``read_outlook``.

    Returns:
        The outlook, and whether it is familiar with such scores: it has some of the checkpoint's own, on these images.

    Raises:
        QnasError: a table is damaged.
    """
    curves, known = find_curves(checkpoint, data)
    outlook = read_outlook(curves, task, known != task.data, without)
    return outlook, curves[-1].parent == checkpoint and known == task.data


@lru_cache(maxsize=2)
def read_outlook(
    tables: tuple[Path, ...], task: Task, elsewhere: bool = False, without: frozenset[str] = frozenset()
) -> Outlook:
    """The outlook of tables of learning curves.

    Args:
        tables: of different images, each upon those before.
        task: that networks are built for.
        elsewhere: whether its images are others than the last table's.
        without: architectures (``Genotype.architecture``) whose runs it is not to know.

    Raises:
        QnasError: a table is damaged.
    """
    first, *others = tables
    found = _read_upon(None, first, task, without)
    for path in others:
        found = _read_upon(found, path, task, without)
    return found.on_other_images() if elsewhere else found


def _read_upon(outlook: Outlook | None, path: Path, task: Task, without: frozenset[str]) -> Outlook:
    with reading(path, "a table of learning curves", "copy the checkpoint anew"):
        rows = parse_rows(unzipped(path, MOST_JSON))[0]
        known = [row for row in rows if Genotype.from_json(row["genotype"]).architecture not in without]
        return upon(outlook, arrays(known, task))


def upon(outlook: Outlook | None, runs: tuple[Floats, Floats]) -> Outlook:
    """An outlook of runs, as ``arrays`` gives them; upon that for other images if there is one."""
    if not outlook:
        return fitted(*runs)
    return replace(outlook.on_other_images(), surprise=learned(*_apart(runs[0]))).after(*runs)


def fitted(rows: Floats, accuracies: Floats) -> Outlook:
    """An outlook of ``rows_of`` runs and their accuracies in per cent, (runs,)."""
    scaler, odds = StandardScaler().fit(rows[:, :-1]), StandardScaler().fit(log_odds(accuracies)[:, None])
    surprise = learned(*_apart(rows))
    x, y = _columns(rows, scaler, surprise, 0), _scaled(odds, accuracies)
    process = GaussianProcessRegressor(kernel(), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where the data want no noise, its bound is good enough
        return Outlook(scaler, odds, process.fit(x, y), x, y, surprise)


def _apart(rows: Floats) -> tuple[Floats, Floats]:
    """What is known of networks whatever their training, without their scores; and these."""
    return rows[:, len(POWERS) : -1], rows[:, -1]


def _columns(rows: Floats, scaler: StandardScaler, surprise: Surprise | None, level: int) -> Floats:
    surprises = surprise(*_apart(rows)) if surprise else np.zeros(len(rows))
    return np.column_stack([scaler.transform(rows[:, :-1]), surprises, np.full(len(rows), float(level))])


def _scaled(odds: StandardScaler, accuracies: ArrayLike) -> Floats:
    found: Floats = odds.transform(log_odds(accuracies)[:, None])[:, 0]
    return found


def arrays(rows: Sequence[Mapping[str, Any]], task: Task) -> tuple[Floats, Floats]:
    """``rows_of`` runs, and their accuracies in per cent, (runs,), of the rows of a table."""
    plans = [build_plan(Genotype.from_json(row["genotype"]), task) for row in rows]
    told = rows_of(plans, [row["worth"] for row in rows], [row.get("score") for row in rows])
    return told, np.array([row["top1"] for row in rows])
