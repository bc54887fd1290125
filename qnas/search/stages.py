"""The stages of a search: screen, calibrate, halve, train in full. Each costs more a network and looks at fewer.

screen      hypernetwork's accuracy of ``trials`` networks that Optuna proposes, within the budgets
calibrate   short training of a few of them; a regression from score, size and graph to their accuracy ranks all
halve       middle training of the best estimates, and of the best short runs
finish      full training of the best of those, then one look at the test images
"""

from collections.abc import Callable, Iterable

import torch

from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.evaluation.signals import PredictedScore, predicted_score
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.search.calibration import Calibration, calibrate, features
from qnas.search.candidate import Candidate
from qnas.search.genes import decode
from qnas.search.jobs import Job, Pool
from qnas.search.settings import SearchSettings
from qnas.search.study import Proposer
from qnas.space.space import SearchSpace

PROPOSALS_PER_TRIAL = 50
INFEASIBLE = PredictedScore(0.0, 0.0, 0.0)
Tell = Callable[[float, str], None]


class Screen:
    """Scores proposals with the hypernetwork. Infeasible ones and repetitions cost nothing and do not count.

    Args:
        settings: of the search.
        space: with its limits counted for the data.
        data: on the hypernetwork's device.
        ghn: the hypernetwork.
        proposer: of genes.
    """

    def __init__(
        self, settings: SearchSettings, space: SearchSpace, data: DataSet, ghn: GHN, proposer: Proposer
    ) -> None:
        self.settings, self.space, self.data, self.ghn, self.proposer = settings, space, data, ghn, proposer
        self.limits = settings.limits.within(space)
        self.found: dict[str, Candidate] = {}
        self.proposals = 0

    def run(self, tell: Tell) -> list[Candidate]:
        """All scored candidates, in the order they were found.

        Raises:
            QnasError: the proposals ran out before any network kept the budgets.
        """
        self._recall()
        settings = self.settings
        while len(self.found) < settings.trials and self.proposals < PROPOSALS_PER_TRIAL * settings.trials:
            trial, genes = self.proposer.ask()
            score, excess = self.consider(genes)
            self.proposer.tell(trial, score, excess)
            best = max((candidate.score for candidate in self.found.values()), default=0.0)
            tell(len(self.found) / settings.trials, f"{len(self.found)} networks, best score {best:.1f} %")
        if not self.found:
            raise QnasError(
                f"None of {self.proposals} proposed networks keeps all budgets together ({self.limits}); "
                "raise one of them."
            )
        return list(self.found.values())

    def _recall(self) -> None:
        """Take over the trials of a run that is continued; their scores are in its log."""
        for genes, value in self.proposer.finished():
            self.consider(genes, value)

    def consider(self, genes: dict[str, object], known: PredictedScore | None = None) -> tuple[PredictedScore, float]:
        """Score of the network that the genes stand for, and by what share it exceeds the budgets."""
        self.proposals += 1
        genotype = decode(self.space, genes, self.settings.bits)
        if genotype.key in self.found:
            return self.found[genotype.key].predicted, 0.0
        plan = build_plan(genotype, self.space.image, self.space.classes)
        spent = costs(plan)
        excess = self.limits.excess(spent)
        if excess > 0:
            return INFEASIBLE, excess
        if known is None:
            with torch.no_grad():
                known = predicted_score(plan, self.ghn([plan], whole=False)[0], self.data.validation)
        self.found[genotype.key] = Candidate(genotype, spent, known)
        return known, excess


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


def spread(candidates: list[Candidate], count: int) -> list[Candidate]:
    """A few candidates for calibration: two thirds of them the best scores, the rest evenly over all others."""
    ranked = sorted(candidates, key=lambda candidate: -candidate.score)
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
        return [features(one.predicted, build_plan(one.genotype, space.image, space.classes)) for one in some]

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


def best(candidates: Iterable[Candidate], count: int) -> list[Candidate]:
    """The most promising candidates, best first."""
    return sorted(candidates, key=promise, reverse=True)[:count]


def best_trained(candidates: Iterable[Candidate], steps: int, count: int) -> list[Candidate]:
    """The candidates of the highest accuracy after ``steps``, best first; score and then size break ties."""
    had = [candidate for candidate in candidates if steps in candidate.trained]
    return sorted(had, key=lambda c: (-c.trained[steps], -c.score, c.costs.params, c.genotype.key))[:count]
