"""The stages of a search: screen, calibrate, halve, train in full. Each costs more a network and looks at fewer.

screen      hypernetwork's accuracy of ``trials`` networks that Optuna proposes, within the budgets
calibrate   short training of a few of them; a regression from score, size and graph to their accuracy ranks all
halve       middle training of the best estimates, and of the best short runs
finish      full training of the best of those, then one look at the test images
"""

import os
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property

import torch
from optuna.trial import FrozenTrial

from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.evaluation.race import Race, prepare_race
from qnas.evaluation.signals import PredictedScore
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.network.costs import Costs, costs
from qnas.search import pareto
from qnas.search.board import Board, facts_of
from qnas.search.calibration import Calibration, calibrate, features
from qnas.search.candidate import Candidate
from qnas.search.genes import decode
from qnas.search.jobs import Job, Pool
from qnas.search.limits import Price
from qnas.search.settings import SearchSettings
from qnas.search.study import BUDGET, Proposal, Proposer
from qnas.space.space import SearchSpace

PROPOSALS_PER_TRIAL = 50
BATCH = 20
"""Proposals that do not wait for one another."""
WAIT = 0.05
"""Seconds between looks at what other processes have done."""
INFEASIBLE = PredictedScore(0.0, 0.0, 0.0)
Tell = Callable[[float, str], None]


class Screen:
    """Scores proposals with the hypernetwork. Infeasible ones and repetitions cost nothing and do not count.

    Several processes may screen on one board: each proposes the same batches and answers what no other has answered.
    A network is dropped from its race once so many others that cost no more are sure to be better that no later stage
    would look at it.

    Args:
        settings: of the search.
        space: with its limits counted for the data.
        data: on the hypernetwork's device.
        ghn: the hypernetwork.
        proposer: of genes, who was told nothing yet.
        board: of the answers.
        price: gives a network's costs.
    """

    def __init__(
        self,
        settings: SearchSettings,
        space: SearchSpace,
        data: DataSet,
        ghn: GHN,
        proposer: Proposer,
        board: Board,
        price: Price,
    ) -> None:
        self.settings, self.space, self.data, self.ghn = settings, space, data, ghn
        self.proposer, self.board, self.price = proposer, board, price
        self.limits = settings.limits.within(space)
        self.found: dict[str, Candidate] = {}
        self.best = 0.0
        self.cuts: dict[tuple[float, ...], float] = {}

    @cached_property
    def race(self) -> Race:
        """Where the candidates compete."""
        return prepare_race(self.space, self.settings.bits, self.data, self.ghn, self.settings.seed)

    def run(self, tell: Tell) -> list[Candidate]:
        """All scored candidates, in the order they were proposed.

        Raises:
            QnasError: the proposals ran out before any network kept the budgets.
        """
        trials, proposals = self.settings.trials, self.proposer
        while len(self.found) < trials and proposals.told < PROPOSALS_PER_TRIAL * trials:
            size = min(BATCH, trials - len(self.found))
            tasks = [str(number) for number in range(proposals.told, proposals.told + size)]
            if all(task in self.board.done for task in tasks):
                proposals.recall([self.board.done[task] for task in tasks])
            else:
                self._answer(tasks, proposals.propose(size), tell)
                answers = [self.board.done[task] for task in tasks]
                proposals.tell([(one.values, one.constraints[BUDGET]) for one in answers])
            for task in tasks:
                self._note(self.board.done[task])
        if not self.found:
            raise QnasError(
                f"None of {proposals.told} proposed networks keeps all budgets together ({self.limits}); "
                "raise one of them."
            )
        return list(self.found.values())

    def _answer(self, tasks: list[str], batch: list[Proposal], tell: Tell) -> None:
        """Answer those proposals of a batch that no other process does, and wait for the others."""
        pairs = list(zip(tasks, batch, strict=True))
        random.Random(self.board.place.owner + str(os.getpid())).shuffle(pairs)  # so that two seldom want the same one
        left = dict(pairs)
        while left:
            for task, proposal in left.items():
                if task not in self.board.done:
                    self._consider(task, proposal)
                    share = len(self.found) / self.settings.trials
                    tell(share, f"{len(self.found)} networks, best score {self.best:.1f} %")
            left = {task: proposal for task, proposal in left.items() if task not in self.board.done}
            if left:
                time.sleep(WAIT)
                self.board.refresh()

    def _consider(self, task: str, proposal: Proposal) -> None:
        """Claim a proposal and answer it, unless another process is at it."""
        genotype = decode(self.space, proposal.genes, self.settings.bits)
        plan = build_plan(genotype, self.space.image, self.space.classes)
        spent = self.price(plan)
        excess = self.limits.excess(spent)
        claimed = self.board.claim(task, **proposal.trial(excess))
        if claimed is None:
            return
        known = self.found.get(genotype.key)
        score, images = (INFEASIBLE if known is None else known.predicted), 0
        if excess <= 0 and known is None:
            with torch.inference_mode():
                outcome = self.race.run(plan, self.ghn([plan], whole=False)[0], self.most_missed(spent))
            score, images = outcome.score, outcome.images
        values = [score.top1, *(float(getattr(spent, cost)) for cost in self.settings.pareto)]
        self.board.finish(claimed, values, score=list(score), images=images, latency=spent.latency)

    def most_missed(self, spent: Costs) -> float:
        """How many images a network may miss at most to be among the best found that cost no more than it.

        Those are as many as later stages look at; where only accuracy counts, every cost is as good.
        """
        own = tuple(getattr(spent, cost) for cost in self.settings.pareto)
        if own not in self.cuts:
            self.cuts[own] = self._cut(own)
        return self.cuts[own]

    def _cut(self, most: tuple[float, ...]) -> float:
        rivals = [
            candidate
            for candidate in self.found.values()
            if all(
                getattr(candidate.costs, cost) <= limit for cost, limit in zip(self.settings.pareto, most, strict=True)
            )
        ]
        wanted, total = self.settings.calibration + self.settings.survivors, len(self.data.validation)
        if len(rivals) < wanted:
            return float("inf")
        missed = sorted(round((100 - candidate.score) / 100 * total) for candidate in rivals)
        return float(missed[wanted - 1])

    def _note(self, trial: FrozenTrial) -> None:
        """Take over an answer."""
        if trial.constraints[BUDGET] > 0:
            return
        facts = facts_of(trial)
        genotype = decode(self.space, trial.params, self.settings.bits)
        if genotype.key not in self.found:
            spent = costs(build_plan(genotype, self.space.image, self.space.classes))
            spent = replace(spent, latency=facts["latency"])
            self.found[genotype.key] = Candidate(genotype, spent, PredictedScore(*facts["score"]))
            self.best = max(self.best, facts["score"][0])
            self.cuts.clear()


class Trainer:
    """Gives candidates training runs of one length through a pool.

    Args:
        settings: of the search.
        pool: runs the jobs.
        device: where they compute.
        folder: for the weights of full runs.
    """

    def __init__(self, settings: SearchSettings, pool: Pool, device: str, folder: str) -> None:
        self.settings, self.pool, self.device, self.folder = settings, pool, device, folder

    def train(self, candidates: Iterable[Candidate], steps: int, tell: Tell, keep: bool = False) -> None:
        """Train each candidate anew for ``steps`` and note its accuracy; ``keep`` its weights if asked."""
        settings = self.settings
        by_job: dict[str, Candidate] = {}
        jobs = []
        for candidate in candidates:
            weights = f"{self.folder}/{candidate.genotype.key}.safetensors" if keep else ""
            job = Job(candidate.genotype, steps, settings.seed, settings.data, settings.ghn, self.device, weights)
            jobs.append(job)
            by_job[job.name] = candidate
        for done, (job, result) in enumerate(self.pool.run(jobs), 1):
            by_job[job.name].trained[steps] = result["top1"]
            best = max(candidate.trained.get(steps, 0.0) for candidate in by_job.values())
            tell(done / len(jobs), f"{done} of {len(jobs)} networks, {steps} steps, best {best:.1f} %")


Value = Callable[[Candidate], tuple[float, ...]]
"""What candidates are ranked by, the higher the better; what comes after the first number breaks ties."""


def rank(candidates: Iterable[Candidate], value: Value, costs: tuple[str, ...] = ()) -> list[Candidate]:
    """Candidates, best first: by their value, or where costs count, front by front of both (``qnas.search.pareto``)."""
    ranked = sorted(candidates, key=value, reverse=True)
    if not costs or not ranked:
        return ranked
    points = [(-value(one)[0], *(float(getattr(one.costs, cost)) for cost in costs)) for one in ranked]
    return [ranked[place] for place in pareto.order(points)]


def spread(candidates: list[Candidate], count: int, costs: tuple[str, ...] = ()) -> list[Candidate]:
    """A few candidates for calibration: two thirds of them the best scores, the rest evenly over all others."""
    ranked = rank(candidates, lambda candidate: (candidate.score,), costs)
    if len(ranked) <= count:
        return ranked
    first = count - count // 3
    others = ranked[first:]
    step = len(others) / max(1, count - first)
    return ranked[:first] + [others[int(place * step)] for place in range(count - first)]


def estimate_all(candidates: list[Candidate], short: int, space: SearchSpace) -> Calibration | None:
    """Fit the calibration to the candidates that had a short run and estimate all; nothing if fewer than three had."""
    labelled = [candidate for candidate in candidates if short in candidate.trained]
    if len(labelled) < 3:
        return None

    def rows(some: list[Candidate]) -> list[list[float]]:
        plans = [build_plan(one.genotype, space.image, space.classes) for one in some]
        return [features(one.predicted, plan, one.costs) for one, plan in zip(some, plans, strict=True)]

    calibration = calibrate(rows(labelled), [candidate.trained[short] for candidate in labelled])
    estimates = calibration.estimate(rows(candidates))
    for candidate, value in zip(candidates, estimates, strict=True):
        candidate.estimate = value
    return calibration


def promise(candidate: Candidate) -> tuple[float, float]:
    """What candidates are ranked by: the estimate, averaged with a short run's accuracy where there is one."""
    estimate = candidate.estimate if candidate.estimate is not None else candidate.score
    seen = candidate.best_trained
    return (estimate if seen is None else (estimate + seen) / 2), candidate.score


def best(candidates: Iterable[Candidate], count: int, costs: tuple[str, ...] = ()) -> list[Candidate]:
    """The most promising candidates, best first."""
    return rank(candidates, promise, costs)[:count]


def best_trained(
    candidates: Iterable[Candidate], steps: int, count: int, costs: tuple[str, ...] = ()
) -> list[Candidate]:
    """The candidates of the highest accuracy after ``steps``, best first; score and then size break ties."""
    had = sorted((one for one in candidates if steps in one.trained), key=lambda one: one.genotype.key)
    return rank(had, lambda one: (one.trained[steps], one.score, -one.costs.params), costs)[:count]


def on_front(candidates: list[Candidate], steps: int, costs: tuple[str, ...]) -> list[Candidate]:
    """Those that no other exceeds in accuracy after ``steps`` without costing more."""
    points = [(-one.trained[steps], *(float(getattr(one.costs, cost)) for cost in costs)) for one in candidates]
    return [candidates[place] for place in pareto.fronts(points)[0]]
