"""Optuna as the proposer of genes: samplers that are seeded trial by trial, and a journal that survives a kill.

A fresh sampler, seeded by the run's seed and the trial's number, makes every proposal; so a run that is continued
proposes exactly what an unbroken one does.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

from qnas.errors import QnasError, did_you_mean
from qnas.search.genes import Choices

SAMPLERS = ("auto", "tpe", "nsga2", "random")
POPULATION = 20
STUDY = "screen"
BUDGET = "budget"


def make_sampler(name: str, seed: int) -> BaseSampler:
    """A sampler by its name; ``auto`` is NSGA-II, the better one of genes under a budget at some hundred trials."""
    if name == "random":
        return RandomSampler(seed=seed)
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


class Proposer:
    """Proposes genes and is told their scores; everything is in a journal file.

    Args:
        journal: its path.
        sampler: one of ``SAMPLERS``.
        seed: of the run.
        choices: of every gene.
    """

    def __init__(self, journal: Path, sampler: str, seed: int, choices: Choices) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        check_sampler(sampler)
        self.sampler, self.seed = sampler, seed
        self.distributions = {name: CategoricalDistribution(values) for name, values in choices.items()}
        storage = JournalStorage(JournalFileBackend(str(journal)))
        self.study = optuna.create_study(
            storage=storage,
            study_name=STUDY,
            direction="maximize",
            load_if_exists=True,
            sampler=make_sampler(sampler, 0),
        )
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        self.interrupted = [trial.number for trial in running]

    def finished(self) -> Iterator[tuple[dict[str, Any], float]]:
        """Genes and score of the trials told so far, in order."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            assert trial.value is not None
            yield trial.params, trial.value

    def ask(self) -> tuple[Trial, dict[str, Any]]:
        """The next trial with its genes; first the one that a kill interrupted."""
        number = self.interrupted.pop(0) if self.interrupted else len(self.study.get_trials(deepcopy=False))
        self.study.sampler = make_sampler(self.sampler, self.seed * 1_000_003 + number)
        stored = self.study.get_trials(deepcopy=False)
        trial = Trial(self.study, stored[number]._trial_id) if number < len(stored) else self.study.ask()
        return trial, {name: trial.suggest_categorical(name, d.choices) for name, d in self.distributions.items()}

    def tell(self, trial: Trial, score: float, excess: float) -> None:
        """Give a trial's score and by what share its network exceeds the budget (0 or less: kept)."""
        trial.set_constraint(BUDGET, excess)
        self.study.tell(trial, score)
