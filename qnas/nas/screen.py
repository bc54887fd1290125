"""The first stage of a search: proposals that keep the budgets are scored, none of them twice."""

import os
import random
import time
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from math import inf, isfinite
from operator import le
from typing import Any, NamedTuple, Protocol

from optuna.trial import FrozenTrial

from qnas.errors import QnasError
from qnas.nas.budgets import CostModel, closed_form
from qnas.nas.candidate import Candidate
from qnas.nas.proposer import BUDGET, Answer
from qnas.nas.samplers import Genes
from qnas.nas.settings import SearchSettings
from qnas.network.build import build_plan
from qnas.network.costs import Costs
from qnas.network.plan import Plan
from qnas.scores.predicted import Score
from qnas.scores.race import Outcome
from qnas.space.genes import Choices, gene_choices, genes_at, places_of
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace
from qnas.training.price import price
from qnas.work.failures import Failed, Failures, memory_may_lack
from qnas.work.queue import WorkQueue, payload_of

PROPOSALS_PER_TRIAL = 50
BATCH = 20
"""Proposals that do not wait for one another."""
REPEATED = 100
"""Proposals in a row of networks that were all proposed before, after which others are not looked for."""
WAIT = 0.05
"""Seconds between looks at what other processes have done."""
GENES = "genes"
"""Where an answer keeps the places of its genes (``qnas.space.genes.places_of``)."""
INFEASIBLE = Score(0.0, 0.0, 0.0)


class Scorer(Protocol):
    """What scores networks."""

    @property
    def images(self) -> int:
        """On how many images a score that was not cut short stands."""

    def __call__(self, plan: Plan, most_missed: float) -> Outcome:
        """The score of a network, which may stop short once it is sure to miss more than so many images."""


class Proposes(Protocol):
    """What proposes genes, a batch at a time (``qnas.nas.proposer.Proposer``)."""

    told: int

    def propose(self, count: int) -> list[Genes]:
        """The next batch."""

    def tell(self, outcomes: list[tuple[list[float], float]]) -> None:
        """What became of it: values, and by what share each network exceeds the budget."""

    def recall(self, answers: Sequence[Answer]) -> None:
        """Take over a batch that was proposed and answered before."""


class Costed(NamedTuple):
    """A proposal that was looked at."""

    genotype: Genotype
    plan: Plan
    costs: Costs


def genes_of(choices: Choices, trial: FrozenTrial) -> Genes:
    """The genes of an answered trial, which earlier versions kept among its parameters."""
    return trial.params or genes_at(choices, payload_of(trial)[GENES])


class Screen:
    """Scores proposals with the hypernetwork. Infeasible ones and repetitions cost nothing and do not count.

    Several processes may screen on one queue: each proposes the same batches and answers what no other has answered.
    A network is dropped from its race once so many others that cost no more are sure to be better that no later stage
    would look at it; none is where time is given, for there an outlook decides.

    Args:
        scorer: scores a network that keeps the budgets.
        proposer: of genes, who was told nothing yet.
        queue: of the answers.
        cost_model: gives a network's costs.
        settings: of the search.
        space: with its limits counted for the data.
    """

    def __init__(
        self,
        scorer: Scorer,
        proposer: Proposes,
        queue: WorkQueue,
        cost_model: CostModel,
        settings: SearchSettings,
        space: SearchSpace,
    ) -> None:
        self.scorer, self.proposer, self.queue, self.cost_model = scorer, proposer, queue, cost_model
        self.settings, self.space = settings, space
        self.limits = settings.limits.within(space)
        self.choices = gene_choices(space, settings.layer_choices)
        self.found: dict[str, Candidate] = {}
        self.seen: set[str] = set()
        self.looked_at: dict[str, Costed] = {}
        self.ranked: list[tuple[int, tuple[float, ...]]] = []
        self.failures = Failures()
        self.cuts: dict[tuple[float, ...], float] = {}

    def run(self, look: Callable[[], None]) -> list[Candidate]:
        """All scored candidates, in the order they were proposed.

        Args:
            look: called whenever the queue has new answers.

        Raises:
            QnasError: the proposals ran out before any network kept the budgets, or scoring fails again and again.
        """
        trials, proposals, repeated = self.settings.trials, self.proposer, 0
        while len(self.found) < trials and proposals.told < PROPOSALS_PER_TRIAL * trials and repeated < REPEATED:
            known = len(self.seen)
            size = min(BATCH, trials - len(self.found))
            tasks = [str(number) for number in range(proposals.told, proposals.told + size)]
            before = {task for task in tasks if task in self.queue.done}
            if len(before) == len(tasks):
                done = [self.queue.done[task] for task in tasks]
                proposals.recall(
                    [Answer(genes_of(self.choices, one), one.values, one.constraints[BUDGET]) for one in done]
                )
            else:
                batch = proposals.propose(size)
                self._answer(tasks, batch, look)
                done = [self.queue.done[task] for task in tasks]
                self._check_same(batch, done)
                proposals.tell([(one.values, one.constraints[BUDGET]) for one in done])
            for task, trial in zip(tasks, done, strict=True):
                self._note(task, trial, task not in before)
            repeated = repeated + size if len(self.seen) == known else 0
            self.looked_at.clear()
            look()
        if not self.found:
            answered = self.queue.done.values()
            different = {self.settings.decode(self.space, genes_of(self.choices, trial)).key for trial in answered}
            raise QnasError(
                f"None of {proposals.told} proposals ({len(different)} different networks) keeps all budgets together "
                f"({self.limits}); raise one of them."
            )
        return list(self.found.values())

    def _check_same(self, batch: list[Genes], done: Sequence[FrozenTrial]) -> None:
        """Check that what others answered of a batch is what this process proposed, too.

        Raises:
            QnasError: it is not, for processors and versions may add up in another order.
        """
        for place, (genes, trial) in enumerate(zip(batch, done, strict=True), self.proposer.told):
            if genes_of(self.choices, trial) != genes:
                raise QnasError(
                    f"Processes that share a search propose the same networks, but of proposal {place} another one was "
                    "scored; go on with the versions and the kind of processor that it was begun with."
                )

    def _answer(self, tasks: list[str], batch: list[Genes], look: Callable[[], None]) -> None:
        """Answer those proposals of a batch that no other process does, and wait for the others."""
        pairs = list(zip(tasks, batch, strict=True))
        order = random.Random(self.queue.address.worker + str(os.getpid()))  # so that two seldom want the same one
        order.shuffle(pairs)
        left = dict(pairs)
        while left:
            for task, genes in left.items():
                if task not in self.queue.done:
                    self._consider(task, genes)
                    look()
            left = {task: genes for task, genes in left.items() if task not in self.queue.done}
            if left:
                time.sleep(WAIT)
                self.queue.refresh()

    def _consider(self, task: str, genes: Genes) -> None:
        """Claim a proposal and answer it, unless another process is at it."""
        genotype = self.settings.decode(self.space, genes)
        plan = build_plan(genotype, self.space.task)
        own = self.cost_model(plan)
        self.looked_at[task] = Costed(genotype, plan, own)
        excess = self.limits.excess(own)
        claimed = self.queue.claim(task, constraints={BUDGET: excess})
        if claimed is None:
            return
        if task in self.queue.running:  # of a process that died the budgets were decided by the costs that it measured
            excess = self.queue.running[task].constraints[BUDGET]
        known = self.found.get(genotype.key)
        score, images = (INFEASIBLE if known is None else known.predicted), 0
        payload: dict[str, Any] = {GENES: places_of(self.choices, genes)}
        if excess <= 0 and known is None:
            try:
                outcome = self._scored(plan, own)
                score, images = outcome.score, outcome.images
            except Failed as reason:
                payload["failed"] = str(reason)
        values = [score.top1, *(float(getattr(own, cost)) for cost in self.settings.pareto)]
        ranked_by = [score.top1, score.loss, score.margin]
        self.queue.finish(claimed, values, score=ranked_by, images=images, latency=own.latency, **payload)

    def _scored(self, plan: Plan, own: Costs) -> Outcome:
        """The score of a network.

        Raises:
            Failed: memory lacks for it, or the score is no number.
        """
        with memory_may_lack():
            outcome = self.scorer(plan, self.most_missed(own))
        score = outcome.score
        if not all(map(isfinite, (score.top1, score.loss, score.margin))):
            raise Failed("its score is no number")
        return outcome

    def most_missed(self, costs: Costs) -> float:
        """How many images a network may miss at most to be among the best found that cost no more than it.

        Those are as many as later stages look at; where only accuracy counts, every cost is as good.
        """
        counted = tuple(getattr(costs, cost) for cost in self.settings.pareto)
        if counted not in self.cuts:
            self.cuts[counted] = self._cut(counted)
        return self.cuts[counted]

    def _cut(self, most: tuple[float, ...]) -> float:
        if self.settings.minutes:
            return inf
        wanted = self.settings.labels + self.settings.survivors
        rivals = (missed for missed, spent in self.ranked if all(map(le, spent, most)))
        return float(next(islice(rivals, wanted - 1, None), inf))

    def _note(self, task: str, trial: FrozenTrial, is_new: bool) -> None:
        """Take over an answer; failures count that this run has met, so that another one goes on after them."""
        genotype, plan, own = self.looked_at.get(task) or self._looked_at_again(trial)
        self.seen.add(genotype.key)
        if trial.constraints[BUDGET] > 0 or genotype.key in self.found:
            return
        payload = payload_of(trial)
        if is_new:
            self.failures.note(genotype.key, payload.get("failed", ""))
        if "failed" in payload:
            return
        paid = price(plan, self.settings.recipe.batch) if self.settings.usual_price else 0.0
        own = replace(own, latency=payload["latency"])
        self.add(Candidate.of(genotype, plan, own, Score(*payload["score"]), paid))

    def _looked_at_again(self, trial: FrozenTrial) -> Costed:
        """What another process, or an earlier one, looked at."""
        genotype = self.settings.decode(self.space, genes_of(self.choices, trial))
        plan = build_plan(genotype, self.space.task)
        return Costed(genotype, plan, closed_form(self.settings.counted, self.settings.recipe.grid)(plan))

    def add(self, candidate: Candidate) -> None:
        """Take a candidate among those found."""
        self.found[candidate.key] = candidate
        missed = round((100 - candidate.score) / 100 * self.scorer.images)
        insort(self.ranked, (missed, tuple(map(candidate.cost, self.settings.pareto))))
        self.cuts.clear()
