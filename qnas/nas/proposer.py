"""Proposals of genes in batches, the same ones in every process that searches, and after every kill.

A fresh sampler, seeded by the run's seed and the proposal's number, makes every proposal of a batch from what was told
of the batches before it. So it does not matter which process answers which proposal, in which order, nor when: all
processes propose the same, and a run that is continued proposes what an unbroken one does.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from random import Random
from typing import NamedTuple

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from qnas.nas.samplers import Choose, Generations, Genes, check_sampler, drawn, first, led, make_sampler
from qnas.space.genes import Choices
from qnas.work.queue import Directions

STUDY = "proposals"
BUDGET = "budget"
LED_AFTER = 50
"""Proposals of which at least one keeps the budgets, or others are led to them."""


class Answer(NamedTuple):
    """What became of a proposal: its genes, its values, and by what share its network exceeds the budgets."""

    genes: Genes
    values: list[float]
    excess: float


class Budgets(NamedTuple):
    """By what share a network of some genes exceeds the budgets, and finds genes of a network that keeps them."""

    excess: Callable[[Genes], float]
    small: Callable[[], Genes]


class Proposer:
    """Proposes genes and is told what became of them, a batch at a time.

    Args:
        sampler: one of ``SAMPLERS``.
        seed: of the run.
        choices: of every gene.
        directions: of the values, ``maximize`` or ``minimize``.
        choose: finds the most promising of some sets of genes, where the sampler asks.
        budgets: what is known of them; where fewer than one in ``LED_AFTER`` proposals keeps them, others are led
            to them.
    """

    def __init__(
        self,
        sampler: str,
        seed: int,
        choices: Choices,
        directions: Directions = ("maximize",),
        choose: Choose = first,
        budgets: Budgets | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        check_sampler(sampler)
        self.sampler, self.seed, self.choices = sampler, seed, choices
        self.single = {name: values[0] for name, values in choices.items() if len(values) == 1}
        self.choose: Choose = lambda drawn, seed: choose([{**self.single, **genes} for genes in drawn], seed)
        self.space = {
            name: CategoricalDistribution(values) for name, values in choices.items() if name not in self.single
        }
        self.storage = InMemoryStorage()
        self.study = optuna.create_study(storage=self.storage, study_name=STUDY, directions=directions)
        self.generations = Generations()
        self.asked: list[int] = []
        self.told = 0
        self.kept, self.budgets = 0, budgets

    def propose(self, count: int) -> list[Genes]:
        """The next batch."""
        self._begin(count)
        batch, is_led = [], self.told >= LED_AFTER * (self.kept + 1)
        for number, asked in enumerate(self.asked, self.told):
            seed = self.seed * 1_000_003 + number
            sampler = make_sampler(self.sampler, seed, self.choose, self.generations)
            genes = drawn(sampler, self.study, self.storage.get_trial(asked), self.space)
            if is_led:
                genes = self._led(genes, Random(seed))
            genes |= self.single
            batch.append({name: genes[name] for name in self.choices})
            self.storage.get_trial(asked).params = batch[-1]
        return batch

    def _begin(self, count: int) -> None:
        self.study = optuna.load_study(storage=self.storage, study_name=STUDY)  # which reads earlier trials once
        self.generations.begin(self.study)
        identity = self.storage.get_study_id_from_name(STUDY)
        self.asked = [self.storage.create_new_trial(identity) for _ in range(count)]

    def _led(self, genes: Genes, rng: Random) -> Genes:
        """Genes that keep the budgets."""
        if self.budgets is None:
            return genes
        excess, choices = self.budgets.excess, {name: one.choices for name, one in self.space.items()}
        return led(genes, self.small, choices, lambda some: excess({**self.single, **some}), rng)

    @cached_property
    def small(self) -> Genes:
        """Genes of a small network, which is looked for when it is needed."""
        return self.budgets.small() if self.budgets else {}

    def tell(self, outcomes: list[tuple[list[float], float]]) -> None:
        """Values of the proposed batch, and by what share each network exceeds the budget: 0 or less if it keeps it."""
        for asked, (values, excess) in zip(self.asked, outcomes, strict=True):
            self.storage.get_trial(asked).set_constraint(BUDGET, excess)
            self.storage.set_trial_state_values(asked, TrialState.COMPLETE, values)
            self.kept += excess <= 0
        self.generations.end([self.storage.get_trial(asked) for asked in self.asked])
        self.told += len(self.asked)

    def recall(self, answers: Sequence[Answer]) -> None:
        """Take over a batch that was proposed and answered before."""
        self._begin(len(answers))
        for asked, answer in zip(self.asked, answers, strict=True):
            self.storage.get_trial(asked).params = answer.genes
        self.tell([(answer.values, answer.excess) for answer in answers])
