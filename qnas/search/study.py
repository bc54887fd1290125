"""Optuna as the proposer of genes: samplers that are seeded trial by trial, and a log that survives a kill.

A fresh sampler, seeded by the run's seed and the trial's number, makes every proposal, and each trial that was told is
one line of a file from which the study is rebuilt; so a run that is continued proposes what an unbroken one does.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import optuna
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from qnas.checkpoints.files import append_row, read_rows
from qnas.errors import QnasError, did_you_mean
from qnas.evaluation.signals import PredictedScore
from qnas.search.genes import Choices

SAMPLERS = ("auto", "tpe", "nsga2", "evolution", "random")
POPULATION = 20
BUDGET = "budget"


def make_sampler(name: str, seed: int) -> BaseSampler:
    """A sampler by its name; ``auto`` is NSGA-II, the better one of genes under a budget at some hundred trials."""
    if name == "random":
        return RandomSampler(seed=seed)
    if name == "evolution":
        return EvolutionSampler(seed)
    if name == "tpe":
        return TPESampler(seed=seed, multivariate=True)
    return NSGAIISampler(seed=seed, population_size=POPULATION)


def check_sampler(name: str) -> None:
    """Check a sampler's name.

    Raises:
        QnasError: it is unknown.
    """
    if name not in SAMPLERS:
        raise QnasError(f"No sampler is called {name!r}; {did_you_mean(name, SAMPLERS)}")


class EvolutionSampler(BaseSampler):
    """Aging evolution (Real et al., 2019): changes some genes of the best of a few of the last networks in the budgets.

    Args:
        seed: of the choices.
        population: how many of the last networks are alive; fewer are added to at random.
        contestants: of them, the best of which is the parent.
        again: chance of each further change after the first; ignored genes make some changes void.
    """

    def __init__(self, seed: int, population: int = POPULATION, contestants: int = 5, again: float = 0.5) -> None:
        self.rng = Random(seed)
        self.population, self.contestants, self.again = population, contestants, again

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Nothing: the space is given from outside."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Genes of a parent with some changed; nothing while too few networks are alive."""
        told = reversed(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        alive = list(islice((one for one in told if all(x <= 0 for x in one.constraints.values())), self.population))
        if len(alive) < self.population:
            return {}
        parent = max(self.rng.sample(alive, self.contestants), key=lambda one: one.values[0])
        genes, changing = dict(parent.params), True
        while changing:
            name, choices = self.rng.choice(list(search_space.items()))
            genes[name] = self.rng.choice([one for one in _choices(choices) if one != genes[name]])
            changing = self.rng.random() < self.again
        return {name: genes[name] for name in search_space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, distribution: BaseDistribution
    ) -> Any:
        """A random gene."""
        return self.rng.choice(_choices(distribution))


def _choices(distribution: BaseDistribution) -> tuple[Any, ...]:
    assert isinstance(distribution, CategoricalDistribution)  # as all genes are
    return distribution.choices


class _FixedSpace(BaseSampler):
    """A sampler that is told the search space, which never changes, instead of inferring it from all trials each time.

    Args:
        inner: does the sampling.
        distributions: of every gene.
    """

    def __init__(self, inner: BaseSampler, distributions: dict[str, BaseDistribution]) -> None:
        self.inner, self.distributions = inner, distributions

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {name: choices for name, choices in self.distributions.items() if not choices.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, distribution: BaseDistribution
    ) -> Any:
        return self.inner.sample_independent(study, trial, param_name, distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self.inner.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self.inner.after_trial(study, trial, state, values)


class Proposer:
    """Proposes genes and is told their scores.

    Args:
        log: path of the file that remembers the trials; those already in it are taken over.
        sampler: one of ``SAMPLERS``.
        seed: of the run.
        choices: of every gene.
    """

    def __init__(self, log: Path, sampler: str, seed: int, choices: Choices) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        check_sampler(sampler)
        self.log, self.sampler, self.seed, self.choices = log, sampler, seed, choices
        self.distributions: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(values) for name, values in choices.items()
        }
        self.study = optuna.create_study(direction="maximize", sampler=make_sampler(sampler, seed))
        rows = read_rows(log)
        self.scores = [PredictedScore(*row["score"]) for row in rows]
        self.study.add_trials([self._trial(row) for row in rows])
        self._recall_parents()

    def _trial(self, row: dict[str, Any]) -> FrozenTrial:
        return create_trial(
            params=row["genes"],
            distributions=self.distributions,
            value=row["score"][0],
            system_attrs=row["attributes"],
        )

    def _recall_parents(self) -> None:
        """Let the study remember each generation's parents in the order in which a running one remembers them."""
        inner, trials = self.study.sampler, self.study.get_trials(deepcopy=False)
        if isinstance(inner, NSGAIISampler) and trials:
            for generation in range(1, inner.get_trial_generation(self.study, trials[-1]) + 1):
                inner.get_parent_population(self.study, generation)

    def finished(self) -> Iterator[tuple[dict[str, Any], PredictedScore]]:
        """Genes and score of the trials told so far, in order."""
        told = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return zip((trial.params for trial in told), self.scores, strict=True)

    def ask(self) -> tuple[Trial, dict[str, Any]]:
        """The next trial with its genes."""
        number = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = _FixedSpace(make_sampler(self.sampler, self.seed * 1_000_003 + number), self.distributions)
        trial = self.study.ask()
        return trial, {name: trial.suggest_categorical(name, values) for name, values in self.choices.items()}

    def tell(self, trial: Trial, score: PredictedScore, excess: float) -> None:
        """Give a trial's score, whose accuracy samplers go by, and by what share its network exceeds the budget.

        A share of 0 or less says that the budget is kept.
        """
        trial.set_constraint(BUDGET, excess)
        told = self.study.tell(trial, score.top1)
        self.scores.append(score)
        append_row(self.log, {"genes": told.params, "score": score, "attributes": told.system_attrs})
