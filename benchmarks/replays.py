"""Ways of searching, replayed on a table of trained networks (``search.py --table``)."""

from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np

from qnas.nas.candidate import Candidate
from qnas.nas.rungs import Rung, select
from qnas.nas.settings import SearchSettings
from qnas.network.build import build_plan
from qnas.quant.scheme import Bits
from qnas.scores.outlook import rows_of, worth
from qnas.space.space import SearchSpace
from qnas.studies.benchmark_table import BenchmarkTable, Entry
from qnas.studies.proxy import EARLY, Learned
from qnas.training.recipe import Recipe

Curve = list[tuple[float, float, float]]
"""Work so far, and validation and test accuracy of each fully trained network, in the order they were trained."""
SCORE_WORK = 0.5
"""Training steps that one score costs: 20 to 30 milliseconds and 9 for the prediction, beside 70 a step (race.py)."""
SUBSET = 100
"""Networks of a table that one replay may choose from."""
HALVED = 3
"""Successive halving keeps one network in so many."""
MOST = 30
"""Networks that a replay trains at most by an outlook."""


class TableTrainer:
    """Looks up, in place of training, what runs from predicted parameters reached, and counts their work.

    Args:
        entries: of the table, by their networks' keys.
        work: that was done before.
    """

    def __init__(self, entries: dict[str, Entry], work: float) -> None:
        self.entries, self.work = entries, work
        self.curve: Curve = []

    def __call__(self, candidates: Sequence[Candidate], rung: Rung) -> list[float]:
        """See ``qnas.nas.rungs.Trainer``."""
        return [self.train(self.entries[one.key], rung) for one in candidates]

    def train(self, entry: Entry, rung: Rung) -> float:
        """Validation accuracy of one network after a rung; full runs go into the curve."""
        self.work += rung.steps
        if rung.keep:
            self.curve.append((self.work, *reached(entry, "predicted", rung.steps)))
        return reached(entry, "predicted", rung.steps)[0]


def reached(entry: Entry, start: str, steps: int) -> tuple[float, float]:
    """Validation accuracy of the first seed's run of a length, and the mean test accuracy of all seeds'."""
    runs = entry.of(start, steps)
    return runs[0].validation, fmean(run.test for run in runs)


class Replay:
    """A table at one pair of bit widths, which answers what training would."""

    def __init__(self, table: BenchmarkTable, bits: Bits, space: SearchSpace) -> None:
        self.entries = [entry for entry in table.entries if entry.genotype.bits == bits]
        self.settings = SearchSettings(bits, recipe=Recipe(table.settings["steps"]))
        self.space = space

    def random(self, order: list[Entry], start: str) -> Curve:
        """Train one network after the other in full."""
        full = self.settings.recipe.steps
        return [(full * place, *reached(entry, start, full)) for place, entry in enumerate(order, 1)]

    def halving(self, order: list[Entry], start: str) -> Curve:
        """Brackets of nine networks: all a short run, the best three a middle one, the best a full one."""
        short, middle, full = self.settings.lengths
        curve: Curve = []
        work = 0.0
        for first in range(0, len(order) - HALVED**2 + 1, HALVED**2):
            bracket = order[first : first + HALVED**2]
            thirds = sorted(bracket, key=lambda one: -reached(one, start, short)[0])[:HALVED]
            winner = max(thirds, key=lambda one: reached(one, start, middle)[0])
            work += HALVED**2 * short + HALVED * middle + full
            curve.append((work, *reached(winner, start, full)))
        return curve

    def qnas(self, order: list[Entry]) -> Curve:
        """The rungs of ``qnas search``, on all networks of the table."""
        trainer = TableTrainer({entry.genotype.key: entry for entry in order}, SCORE_WORK * len(order))
        select([self.candidate(entry) for entry in order], trainer, self.settings)
        return trainer.curve

    def candidate(self, entry: Entry) -> Candidate:
        """A network as a search knows it before any training."""
        return Candidate.of(entry.genotype, build_plan(entry.genotype, self.space.task), entry.costs, entry.score)

    def curve(self, name: str, seed: int) -> Curve:
        """One seed of one way of searching: the networks come in another order."""
        order = [self.entries[place] for place in np.random.default_rng(seed).permutation(len(self.entries))[:SUBSET]]
        if name == "qnas":
            return self.qnas(order)
        start = "predicted" if name.endswith("predicted") else "random"
        return (self.halving if name.startswith("halving") else self.random)(order, start)


class Stopped:
    """A table at one pair of bit widths whose runs tell the losses of their tenths, so that one may end early.

    Args:
        table: with runs of these epochs from this start.
        bits: of the networks.
        space: theirs.
        learned: from learning curves of other networks.
        start: ``random`` or ``predicted``.
        epochs: of a full run.
        score_work: training steps that one score costs.
    """

    def __init__(
        self, table: BenchmarkTable, bits: Bits, space: SearchSpace, learned: Learned, start: str, epochs: float,
        score_work: float,
    ) -> None:  # fmt: skip
        self.steps, self.start, self.score_work = round(epochs * table.epoch), start, score_work
        every = [entry for entry in table.entries if entry.genotype.bits == bits and not entry.genotype.is_mixed]
        self.entries = [one for one in every if any(run.losses for run in one.of(start, self.steps)[:1])]
        plans = [build_plan(one.genotype, space.task) for one in self.entries]
        images = worth(table.batch * self.steps, table.batch * table.epoch)
        seen, scores = [images] * len(plans), [one.score.top1 for one in self.entries]
        self.rows = {True: rows_of(plans, seen, scores), False: rows_of(plans, seen)}
        self.outlook = learned.on(self.rows[True])
        self.ways: dict[str, Callable[[list[int]], Curve]] = {
            "qnas": self.by_outlook,
            "unscored": lambda order: self.by_outlook(order, scored=False),
            "scores": self.by_scores,
            "halving": self.halving,
            "random": lambda order: self.trained(order, 0.0),
        }

    def trained(self, order: list[int], work: float) -> Curve:
        """Train one network after the other in full."""
        found = [reached(self.entries[place], self.start, self.steps) for place in order]
        return [(work + self.steps * done, *one) for done, one in enumerate(found, 1)]

    def by_scores(self, order: list[int]) -> Curve:
        """Train those first whose predicted accuracy is higher."""
        best = sorted(order, key=lambda place: -self.entries[place].score.top1)
        return self.trained(best, self.score_work * len(order))

    def by_outlook(self, order: list[int], scored: bool = True) -> Curve:
        """Train the one of which the most is expected, which tells more of the others, and so on."""
        rows, outlook, left, chosen = self.rows[scored], self.outlook, list(order), list[int]()
        while left and len(chosen) < MOST:
            chosen.append(left.pop(int(np.argmax(outlook.expected(rows[left])))))
            seen = [reached(self.entries[place], self.start, self.steps)[0] for place in chosen]
            outlook = self.outlook.after_own(rows[chosen], seen)
        return self.trained(chosen, self.score_work * len(order) * scored)

    def halving(self, order: list[int]) -> Curve:
        """Brackets of nine runs: by their losses three go on after a fifth, and one of these after a half."""
        curve: Curve = []
        work = 0.0
        for first in range(0, len(order) - HALVED**2 + 1, HALVED**2):
            left, before = order[first : first + HALVED**2], 0
            for tenths in EARLY.values():
                work += len(left) * self.steps * (tenths - before) / 10
                best = sorted(left, key=lambda place: self.lost(place, tenths))
                left, before = best[: len(left) // HALVED], tenths
            work += self.steps * (10 - before) / 10
            curve.append((work, *reached(self.entries[left[0]], self.start, self.steps)))
        return curve

    def lost(self, place: int, tenths: int) -> float:
        """Mean loss of a run's latest tenth so far."""
        return self.entries[place].of(self.start, self.steps)[0].losses[tenths - 1]

    def curve(self, name: str, seed: int) -> Curve:
        """One seed of one way of searching: the networks come in another order."""
        order = np.random.default_rng(seed).permutation(len(self.entries))[:SUBSET]
        return self.ways[name](order.tolist())
