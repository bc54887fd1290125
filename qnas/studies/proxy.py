"""How far scores can be trusted that cost little or no training, measured against a table of trained networks.

Every score is judged on the networks that gave it no label, over many random choices of the labelled ones, so that what
is fitted and what is not can be compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestRegressor

from qnas.checkpoints.store import default_checkpoint, load_checkpoint
from qnas.errors import QnasError
from qnas.graph.statistics import graph_statistics
from qnas.nas.settings import training_lengths
from qnas.network.build import build_plan
from qnas.network.plan import Plan
from qnas.scores.outlook import Outlook, outlook_beside, rows_of, worth
from qnas.scores.ranks import Agreement, agreement, kendall
from qnas.scores.surrogate import KNOWN, estimator, features, log_odds
from qnas.scores.zero_cost import ZERO_COST
from qnas.studies.benchmark_table import BenchmarkTable, Entry
from qnas.studies.settings import STARTS
from qnas.task import Task

SPLITS, TREES = 20, 50
Floats = NDArray[np.float64]
Score = Callable[[NDArray[np.intp]], Floats]
"""Scores of all networks of a table, from the places of those whose labels may be used."""


AZ = ("expressivity", "progressivity", "trainability")
"""The parts of AZ-NAS that tables hold; the fourth is the MACs."""
EARLY = {"losses_fifth": 2, "losses_half": 5}
"""Baselines that train every network: the sum of its losses (Ru et al., 2021) over so many tenths of its full run."""
LOOKED_AT = 1
"""The place of the tenth of a run whose loss an estimate may read: a fifth of the run is done by then."""
SHOWN = ("calibrated", "predicted")
"""The scores that are drawn, which every table has."""
OWN = (*SHOWN, "outlook", "outlook_unlabelled", "outlook_and_losses")
"""The scores that are not baselines."""


@dataclass(frozen=True)
class ProxyRow:
    """Scores against the truth at one pair of bit widths.

    ``n`` networks, ``labels`` of them labelled at a time. ``scores`` has the agreement of ``calibrated``, the estimate
    from labels; of ``predicted``, the accuracy of predicted parameters; of ``outlook``, what learning curves of other
    networks and the labels let expect, ``outlook_unlabelled``, without labels, and ``outlook_and_losses``, from the
    loss after a fifth of every network's run, too; and of every baseline. ``ceiling`` is Kendall's τ between the truths
    of two seeds, nothing if there is one seed. ``points`` has the truth, the predicted and the mean held-out calibrated
    score of each network.
    """

    bits: str
    n: int
    labels: int
    ceiling: float | None
    scores: dict[str, Agreement]
    points: dict[str, list[float]]

    def to_json(self) -> dict[str, Any]:
        """The row as it is printed: the calibrated score's agreement, τ of all others, and everything."""
        return {
            "bits": self.bits,
            **asdict(self.scores["calibrated"]),
            "n": self.n,
            "labels": self.labels,
            "ceiling": self.ceiling,
            "predicted": self.scores["predicted"].tau,
            "baselines": {name: score.tau for name, score in self.scores.items() if name not in OWN},
            "scores": {name: asdict(score) for name, score in self.scores.items()},
        }


@dataclass(frozen=True)
class ProxyTable:
    """Scores against the truth: what the truth is, and a row for every pair of bit widths."""

    data: str
    start: str
    steps: int
    rows: list[ProxyRow]

    @property
    def title(self) -> str:
        """What the table is of."""
        return f"{self.data}: scores against test accuracy after {self.steps} steps from {self.start} parameters"

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        plain = {"data": self.data, "start": self.start, "steps": self.steps}
        return {**plain, "rows": [row.to_json() for row in self.rows]}


class Runs(NamedTuple):
    """The runs that are the truth: their start and steps; those of the labels and of an epoch; images of a step."""

    start: str
    full: int
    short: int
    epoch: int
    batch: int

    def losses(self, entries: list[Entry]) -> list[tuple[float, ...]]:
        """Of each network's first full run by its tenths."""
        return [entry.of(self.start, self.full)[0].losses for entry in entries]


@dataclass(frozen=True)
class Learned:
    """What other networks' learning curves tell of a table's.

    Args:
        outlook: of these curves.
        familiar: whether it knows what is usual of the table's scores; else their median is no surprise.
    """

    outlook: Outlook
    familiar: bool = True

    def on(self, rows: Floats) -> Outlook:
        """The outlook on the table's networks, of which rows at any length tell the scores."""
        return self.outlook if self.familiar else self.outlook.used_to(rows)

    def scores(
        self, entries: list[Entry], plans: list[Plan], runs: Runs, labels: Floats, estimate: Callable[[int], Any]
    ) -> dict[str, Score]:
        """What networks reach after full runs: with labels, without them, and with early losses where a table has them.

        Of those the estimate reads what is expected without labels, parameters, and the loss of the run's second tenth.
        """
        known = [one.score.top1 for one in entries]
        seen = (worth(steps * runs.batch, runs.epoch * runs.batch) for steps in (runs.full, runs.short))
        asked, told = (rows_of(plans, [images] * len(plans), known) for images in seen)
        outlook, losses = self.on(asked), runs.losses(entries)
        expected = outlook.expected(asked)

        def labelled(places: NDArray[np.intp]) -> Floats:
            return np.array(outlook.after_own(told[places], labels[places]).expected(asked))

        found: dict[str, Score] = {"outlook": labelled, "outlook_unlabelled": _fixed(expected)}
        if all(losses):
            lost = np.log([one[LOOKED_AT] for one in losses])
            columns = [log_odds(expected), np.log([one.costs.params for one in entries]), lost]
            found["outlook_and_losses"] = _fitted(np.column_stack(columns), labels, estimate(len(columns)))
        return found


def evaluate_proxy(
    table: BenchmarkTable,
    task: Task,
    start: str,
    labels: int,
    seed: int = 0,
    epochs: float = 0,
    learned: Learned | None = None,
    estimate: Callable[[int], Any] = estimator,
) -> ProxyTable:
    """A row for every pair of bit widths of a table.

    Args:
        table: of trained networks.
        task: of its data set.
        start: whose full runs are the truth, ``predicted`` or ``random``.
        labels: networks whose middle runs from the same start the estimates are fitted to.
        seed: of the choices of labelled networks, of the random score and of the resampling.
        epochs: length of the runs that are the truth; 0 for the table's full runs. Labels are then runs of one epoch,
            or of as many where there are no shorter ones, on the validation images; the truth is on the test images.
        learned: from learning curves of other networks.
        estimate: makes what is fitted to the labels, from how many of the features count in full.

    Raises:
        QnasError: there is no such start, or the table has too few networks for so many labels.
    """
    if start not in STARTS:
        raise QnasError(f"`start` is one of {', '.join(STARTS)}, got {start!r}; give one of them.")
    full, short = lengths_of(table, epochs)
    by_bits: dict[str, list[Entry]] = {}
    for entry in table.entries:
        if entry.of(start, full) and entry.of(start, short):
            by_bits.setdefault("mixed" if entry.genotype.is_mixed else str(entry.genotype.bits), []).append(entry)
    fewest = min((len(entries) for entries in by_bits.values()), default=0)
    if not 3 <= labels <= fewest - 10:
        raise QnasError(
            f"At least 3 networks are labelled and 10 are not, but `labels` is {labels} of {fewest}; "
            "choose another number, or a larger table."
        )
    rows = [
        _row(bits, entries, task, Runs(start, full, short, table.epoch, table.batch), labels, seed, estimate, learned)
        for bits, entries in by_bits.items()
    ]
    return ProxyTable(task.data, start, full, rows)


def learned_of_others(table: BenchmarkTable, task: Task) -> Learned:
    """What a search on a table's images would expect if it knew none of the table's networks.

    Args:
        table: of trained networks.
        task: of its data set.
    """
    checkpoint = load_checkpoint(default_checkpoint(task.data))
    judged = frozenset(entry.genotype.architecture for entry in table.entries)
    outlook, familiar = outlook_beside(checkpoint.path, checkpoint.data, task, judged)
    same = table.settings.get("ghn_hash") == checkpoint.weights_hash
    return Learned(outlook, familiar and same)


def lengths_of(table: BenchmarkTable, epochs: float = 0) -> tuple[int, int]:
    """Steps of the runs that are the truth, and of those that are labels."""
    if not epochs and "steps" in table.settings:
        _, middle, full = training_lengths(table.settings["steps"])
        return full, middle
    full = round((epochs or 1) * table.epoch)
    return full, min(full, table.epoch)


def _row(
    bits: str,
    entries: list[Entry],
    task: Task,
    runs: Runs,
    labels: int,
    seed: int,
    estimate: Callable[[int], Any],
    learned: Learned | None,
) -> ProxyRow:
    start, full, epoch = runs.start, runs.full, runs.epoch
    plans = [build_plan(one.genotype, task) for one in entries]
    tests = [[run.test for run in entry.of(start, full)] for entry in entries]
    truths, rng = np.array([np.mean(values) for values in tests]), np.random.default_rng(seed)
    measured = np.array([entry.of(start, runs.short)[0].validation for entry in entries])
    predicted = [one.score for one in entries]
    graphs = np.array([graph_statistics(plan) for plan in plans])
    known = np.array(
        [features(one.score, one.costs, graph.tolist()) for one, graph in zip(entries, graphs, strict=True)]
    )
    macs = [entry.costs.macs for entry in entries]
    signals = {name: [one.signals[name] for one in entries] for name in ZERO_COST if name in entries[0].signals}
    scores: dict[str, Score] = {
        "calibrated": _fitted(known, measured, estimate(KNOWN)),
        "predicted": _fixed([score.top1 for score in predicted]),
        **(learned.scores(entries, plans, runs, measured, estimate) if learned else {}),
        "params": _fixed([entry.costs.params for entry in entries]),
        "macs": _fixed(macs),
        "random": _fixed(rng.permutation(len(entries))),
        **{name: _fixed(values) for name, values in signals.items()},
        **({"az_nas": _fixed(az_nas(*(signals[name] for name in AZ), macs))} if set(AZ) <= set(signals) else {}),
        "graph_regression": _fitted(graphs, measured, estimate(graphs.shape[1])),
        "forest": _fitted(np.column_stack([graphs, *signals.values()]), measured, forest()),
    }
    for origin in STARTS:
        if (start, full) != (origin, epoch) and all(entry.of(origin, epoch) for entry in entries):
            scores[f"epoch_from_{origin}"] = _fixed([entry.of(origin, epoch)[0].validation for entry in entries])
    if all(losses := runs.losses(entries)):
        scores |= {name: _fixed([-sum(one[:tenths]) for one in losses]) for name, tenths in EARLY.items()}
    choices = [rng.permutation(len(entries)) for _ in range(SPLITS)]
    agreements, means = {}, {}
    for name, score in scores.items():
        found = [score(choice[:labels]) for choice in choices]
        agreements[name] = agreement(found, truths, seed, [choice[labels:] for choice in choices])
        means[name] = _held_out(np.array(found), [choice[:labels] for choice in choices])
    twice = np.array([values[:2] for values in tests if len(values) > 1])
    ceiling = kendall(*twice.T) if len(twice) > 1 else None
    points = {"truth": truths, **{name: means[name] for name in SHOWN}}
    return ProxyRow(
        bits, len(entries), labels, ceiling, agreements, {name: values.tolist() for name, values in points.items()}
    )


def az_nas(*parts: Sequence[float]) -> Floats:
    """Sum of the logarithms of relative ranks over expressivity, progressivity, trainability and MACs, (networks,).

    AZ-NAS (Lee and Ham, 2024): who is last in one of them loses more than who is first in another gains.
    """
    ranks: Floats = np.array([rankdata(values) for values in parts])
    total: Floats = np.log(ranks / ranks.shape[1]).sum(0)
    return total


def forest() -> RandomForestRegressor:
    """A random forest, which GRAF (Kadlecová et al., 2024) fits to features of the graph and zero-cost proxies."""
    return RandomForestRegressor(TREES, random_state=0, n_jobs=1)


def _held_out(found: Floats, labelled: Sequence[NDArray[np.intp]]) -> Floats:
    """The mean score of every network over the choices that do not label it; over all if none does not, (networks,).

    Args:
        found: scores by choice, (choices, networks).
        labelled: places of the networks that each choice labels.
    """
    counts = np.ones(found.shape, bool)
    for row, places in zip(counts, labelled, strict=True):
        row[places] = False
    counts |= ~counts.any(0)
    means: Floats = (found * counts).sum(0) / counts.sum(0)
    return means


def _fixed(values: Any) -> Score:
    """A score that no label changes."""
    return lambda labelled: np.asarray(values, float)


def _fitted(rows: Floats, measured: Floats, model: Any) -> Score:
    """The estimate of a regression on the labelled networks' rows of features."""
    return lambda labelled: model.fit(rows[labelled], measured[labelled]).predict(rows)
