"""What a network is expected to reach after some training, before it had any.

A regression on learning curves: random networks of a space, each trained for a random time
(``benchmarks/learning_curves.py``). Their table lies beside the hypernetwork's checkpoint.
"""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log, log2
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from qnas.graph.statistics import graph_statistics
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.plan import Plan
from qnas.quant.scheme import HIGHEST
from qnas.resources import shipped
from qnas.runs.reading import reading
from qnas.scores.surrogate import Floats, accuracy_of, log_odds
from qnas.space.genotype import Genotype
from qnas.task import Task

CURVES, USUAL = "curves.jsonl.gz", "fashion"
MAIN = 6
"""How many inputs, the first, also count by their squares and products."""
STIFFNESS = 1.0


def inputs(plan: Plan, images: float) -> list[float]:
    """What the regression reads.

    Args:
        plan: of the network.
        images: that it is trained on, each as often as it is seen.

    Returns:
        The images to the power of -1/2: errors fall by a power of them (Hestness et al., 2017), and what is expected
        beyond the table's longest runs stays bounded; logarithms of parameters, MACs and activation bytes; mean binary
        logarithms of the layers' bits of weights and activations: ``MAIN`` of them; then the statistics of the graph.
    """
    cost = costs(plan)
    layers = [node.bits for node in plan.nodes if node.kind in ("conv", "linear")]
    bits = [
        fmean(log2(min(HIGHEST, kind)) for kind in kinds)
        for kinds in zip(*((one.weights, one.activations) for one in layers), strict=True)
    ]
    sizes = map(log, (cost.params, cost.macs, cost.activation_bytes))
    return [images**-0.5, *sizes, *bits, *graph_statistics(plan)]


@dataclass(frozen=True)
class Outlook:
    """A fitted regression, and on how many runs it stands."""

    model: Pipeline
    runs: int

    def of(self, plans: Sequence[Plan], images: Sequence[float]) -> list[float]:
        """Expected accuracy of validation images, per cent, of each network after so many images of training."""
        if not plans:
            return []
        read = [inputs(plan, seen) for plan, seen in zip(plans, images, strict=True)]
        values: list[float] = accuracy_of(self.model.predict(np.array(read))).tolist()
        return values


def regression() -> Pipeline:
    """Ridge regression on standardised inputs, squares and products of the first ones."""
    bent = make_pipeline(PolynomialFeatures(2, include_bias=False), StandardScaler())
    parts = ColumnTransformer([("main", bent, slice(0, MAIN))], remainder="passthrough")
    return make_pipeline(StandardScaler(), parts, Ridge(STIFFNESS))


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
        return fit_outlook(list(_rows(path)), task)


def fit_outlook(rows: Sequence[Mapping[str, Any]], task: Task) -> Outlook:
    """An outlook of runs, each with its ``genotype``, the ``images`` it saw and the accuracy, ``top1``, it reached."""
    x, accuracies = arrays(rows, task)
    return Outlook(regression().fit(x, log_odds(accuracies)), len(rows))


def arrays(rows: Sequence[Mapping[str, Any]], task: Task) -> tuple[Floats, Floats]:
    """The inputs, (runs, inputs), and the accuracies in per cent, (runs,), of runs."""
    read = [inputs(build_plan(Genotype.from_json(row["genotype"]), task), row["images"]) for row in rows]
    return np.array(read), np.array([row["top1"] for row in rows])


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)
