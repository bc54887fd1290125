"""Proposals of genes in batches, the same ones in every process that searches, and after every kill.

A fresh sampler, seeded by the run's seed and the proposal's number, makes every proposal of a batch from what was told
of the batches before it. So it does not matter which process answers which proposal, in which order, nor when: all
processes propose the same, and a run that is continued proposes what an unbroken one does.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from random import Random
from typing import NamedTuple

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from qnas.errors import SEEDS
from qnas.nas.budgets import closed_form, nearest
from qnas.nas.samplers import EXPECTED, Choose, Generations, Genes, check_sampler, drawn, first, led, make_sampler
from qnas.nas.settings import SearchSettings
from qnas.network.build import build_plan
from qnas.space.genes import Choices, encode, gene_choices
from qnas.space.space import SearchSpace
from qnas.work.queue import Directions

STUDY = "proposals"
BUDGET = "budget"
TRIES = 50
"""How often genes are drawn anew until they keep the budgets, and changed until they are of a new network."""


class Answer(NamedTuple):
    """What became of a proposal: its genes, its values, and by what share its network exceeds the budgets."""

    genes: Genes
    values: list[float]
    excess: float


class Look(NamedTuple):
    """Genes, which network they describe, and by what share it exceeds the budgets: 0 or less if it keeps them."""

    genes: Genes
    key: str
    excess: float


class Networks(NamedTuple):
    """What is known of networks before they are scored.

    Args:
        look: at what some genes describe.
        small: finds genes of a network that keeps the budgets.
    """

    look: Callable[[Genes], Look]
    small: Callable[[], Genes]


class Proposer:
    """Proposes genes and is told what became of them, a batch at a time.

    Args:
        sampler: one of ``SAMPLERS``.
        seed: of the run.
        choices: of every gene.
        directions: of the values, ``maximize`` or ``minimize``.
        choose: finds the most promising of some sets of genes, where the sampler asks.
        networks: what is known of them. Then genes that exceed the budgets are drawn anew, and led to the budgets if
            that does not help; and those of a network that was proposed before are changed until it is a new one.
    """

    def __init__(
        self,
        sampler: str,
        seed: int,
        choices: Choices,
        directions: Directions = ("maximize",),
        choose: Choose = first,
        networks: Networks | None = None,
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
        self.networks, self.proposed = networks, set[str]()

    def propose(self, count: int) -> list[Genes]:
        """The next batch."""
        self._begin(count)
        return [self._proposal(number, asked) for number, asked in enumerate(self.asked, self.told)]

    def _proposal(self, number: int, asked: int) -> Genes:
        """Genes of a new network within the budgets, if such can be found."""
        trial, seed = self.storage.get_trial(asked), self.seed * 1_000_003 + number
        genes, rng = self._drawn(trial, seed), Random(seed)
        if self.networks:
            genes = self._new(self._within_budgets(genes, trial, self.networks, rng), self.networks, rng)
        self.storage.get_trial(asked).params = genes
        return genes

    def _drawn(self, trial: FrozenTrial, seed: int) -> Genes:
        """Genes as the sampler has them."""
        sampler = make_sampler(self.sampler, seed, self.choose, self.generations)
        genes = drawn(sampler, self.study, trial, self.space) | self.single
        return {name: genes[name] for name in self.choices}

    def _within_budgets(self, genes: Genes, trial: FrozenTrial, networks: Networks, rng: Random) -> Look:
        """A look at genes that keep the budgets: drawn anew, or led there where that does not help."""
        for _ in range(0 if self.sampler == EXPECTED else TRIES):  # which looked at many itself
            look = networks.look(genes)
            if look.excess <= 0:
                return look
            genes = self._drawn(trial, rng.randrange(SEEDS))
        return networks.look(led(genes, self.small, [*self.space], lambda some: networks.look(some).excess, rng))

    def _new(self, look: Look, networks: Networks, rng: Random) -> Genes:
        """Genes of a network that was not proposed before: neighbours of neighbours within the budgets."""
        for _ in range(TRIES):
            if look.key not in self.proposed:
                break
            name = rng.choice([*self.space])
            changed = networks.look(look.genes | {name: rng.choice(self.choices[name])})
            look = changed if changed.excess <= 0 else look
        self.proposed.add(look.key)
        return look.genes

    def _begin(self, count: int) -> None:
        self.study = optuna.load_study(storage=self.storage, study_name=STUDY)  # which reads earlier trials once
        self.generations.begin(self.study)
        identity = self.storage.get_study_id_from_name(STUDY)
        self.asked = [self.storage.create_new_trial(identity) for _ in range(count)]

    @cached_property
    def small(self) -> Genes:
        """Genes of a small network, which is looked for when it is needed."""
        return self.networks.small() if self.networks else {}

    def tell(self, outcomes: list[tuple[list[float], float]]) -> None:
        """Values of the proposed batch, and by what share each network exceeds the budget: 0 or less if it keeps it."""
        for asked, (values, excess) in zip(self.asked, outcomes, strict=True):
            self.storage.get_trial(asked).set_constraint(BUDGET, excess)
            self.storage.set_trial_state_values(asked, TrialState.COMPLETE, values)
        self.generations.end([self.storage.get_trial(asked) for asked in self.asked])
        self.told += len(self.asked)

    def recall(self, answers: Sequence[Answer]) -> None:
        """Take over a batch that was proposed and answered before."""
        self._begin(len(answers))
        for asked, answer in zip(self.asked, answers, strict=True):
            self.storage.get_trial(asked).params = answer.genes
            if self.networks:
                self.proposed.add(self.networks.look(answer.genes).key)
        self.tell([(answer.values, answer.excess) for answer in answers])


def proposer_for(settings: SearchSettings, space: SearchSpace, choose: Choose = first) -> Proposer:
    """What proposes networks to a search.

    Args:
        settings: of the search.
        space: with its limits counted for the data.
        choose: finds the most promising of some sets of genes, where the sampler asks.
    """
    limits = replace(settings.limits.within(space), latency=0.0)  # which takes time to measure
    closed = closed_form(settings.counted, settings.recipe.grid)

    def look(genes: Genes) -> Look:
        genotype = settings.decode(space, genes)
        return Look(genes, genotype.key, limits.excess(closed(build_plan(genotype, space.task))))

    def small() -> Genes:
        return encode(space, nearest(space, limits, settings.narrowest, settings.edges), settings.layer_choices)

    choices = gene_choices(space, settings.layer_choices)
    return Proposer(settings.sampler, settings.seed, choices, settings.directions, choose, Networks(look, small))
