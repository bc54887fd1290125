"""Proposals of genes in batches, the same ones in every process that searches, and after every kill.

A fresh sampler, seeded by the run's seed and the proposal's number, makes every proposal of a batch from what was told
of the batches before it. So it does not matter which process answers which proposal, in which order, nor when: all
processes propose the same, and a run that is continued proposes what an unbroken one does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import NSGAIISampler
from optuna.trial import FrozenTrial, Trial, create_trial

from qnas.nas.samplers import Choose, FixedSpace, Genes, check_sampler, first, led, make_sampler
from qnas.space.genes import Choices
from qnas.work.queue import Directions

BUDGET = "budget"
LED_AFTER = 50
"""Proposals none of which keeps the budgets, after which others are led to them."""


@dataclass(frozen=True)
class Proposal:
    """Genes, what the sampler wants remembered of them, and how they are kept in an Optuna storage."""

    genes: dict[str, Any]
    attributes: dict[str, Any]
    distributions: dict[str, BaseDistribution]

    def trial(self, excess: float) -> dict[str, Any]:
        """Arguments of ``optuna.trial.create_trial``, for a network that exceeds the budget by this share."""
        return {
            "params": self.genes,
            "distributions": self.distributions,
            "system_attrs": self.attributes,
            "constraints": {BUDGET: excess},
        }


class Proposer:
    """Proposes genes and is told what became of them, a batch at a time.

    Args:
        sampler: one of ``SAMPLERS``.
        seed: of the run.
        choices: of every gene.
        directions: of the values, ``maximize`` or ``minimize``.
        choose: finds the most promising of some sets of genes, where the sampler asks.
        excess: by what share a network of some genes exceeds the budgets. Where none of ``LED_AFTER`` keeps them,
            proposals are led to them.
    """

    def __init__(
        self,
        sampler: str,
        seed: int,
        choices: Choices,
        directions: Directions = ("maximize",),
        choose: Choose = first,
        excess: Callable[[Genes], float] | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        check_sampler(sampler)
        self.sampler, self.seed, self.choices = sampler, seed, choices
        self.single = {name: values[0] for name, values in choices.items() if len(values) == 1}
        self.choose: Choose = lambda drawn: choose([{**self.single, **genes} for genes in drawn])
        self.distributions: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(values) for name, values in choices.items()
        }
        self.study = optuna.create_study(directions=directions, sampler=make_sampler(sampler, seed))
        self.asked: list[Trial] = []
        self.told = 0
        self.has_recalled, self.has_kept, self.excess = True, False, excess

    def propose(self, count: int) -> list[Proposal]:
        """The next batch."""
        if not self.has_recalled:
            self._recall_parents()
        result = []
        for number in range(self.told, self.told + count):
            seed = self.seed * 1_000_003 + number
            sampler = make_sampler(self.sampler, seed, self.choose)
            self.study.sampler = FixedSpace(sampler, self.distributions, self._lead(seed))
            trial = self.study.ask()
            genes = {name: trial.suggest_categorical(name, values) for name, values in self.choices.items()}
            self.asked.append(trial)
            result.append(Proposal(genes, {}, self.distributions))
        trials = self.study.get_trials(deepcopy=False)[-count:]
        return [replace(one, attributes=dict(trial.system_attrs)) for one, trial in zip(result, trials, strict=True)]

    def _lead(self, seed: int) -> Callable[[Genes], Genes] | None:
        """Leads genes to the budgets, where nothing that keeps them is known after some proposals."""
        excess = self.excess
        if excess is None or self.has_kept or self.told < LED_AFTER:
            return None
        choices = {name: values for name, values in self.choices.items() if name not in self.single}
        return partial(led, choices=choices, excess=lambda genes: excess({**self.single, **genes}), rng=Random(seed))

    def tell(self, outcomes: list[tuple[list[float], float]]) -> None:
        """Values of the proposed batch, and by what share each network exceeds the budget: 0 or less if it keeps it."""
        for trial, (values, excess) in zip(self.asked, outcomes, strict=True):
            trial.set_constraint(BUDGET, excess)
            self.study.tell(trial, values)
            self.has_kept |= excess <= 0
        self.told += len(self.asked)
        self.asked = []

    def recall(self, trials: Sequence[FrozenTrial]) -> None:
        """Take over a batch that was proposed and answered before, as it is kept in a storage."""
        self.study.add_trials([
            create_trial(
                values=one.values,
                params=one.params,
                distributions=self.distributions,
                system_attrs=one.system_attrs,
            )
            for one in trials
        ])  # fmt: skip
        self.told += len(trials)
        self.has_kept |= any(one.constraints[BUDGET] <= 0 for one in trials)
        self.has_recalled = False

    def _recall_parents(self) -> None:
        """Let the study remember each generation's parents in the order in which a running one remembers them."""
        inner, trials = make_sampler(self.sampler, self.seed), self.study.get_trials(deepcopy=False)
        if isinstance(inner, NSGAIISampler) and trials:
            self.study.sampler = inner
            for generation in range(1, inner.get_trial_generation(self.study, trials[-1]) + 1):
                inner.get_parent_population(self.study, generation)
        self.has_recalled = True
