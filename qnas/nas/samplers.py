"""Optuna's samplers of genes, and aging evolution, each seeded anew for every proposal.

A new sampler is a row in ``SAMPLERS``, at the end: from a seed to an ``optuna.samplers.BaseSampler``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from qnas.errors import SEEDS, check_known

POPULATION = 20
Genes = dict[str, Any]

Choose = Callable[[Sequence[Mapping[str, Any]], int], int]
"""The place of the most promising of some sets of genes, by a seed of the proposal."""


def first(drawn: Sequence[Mapping[str, Any]], seed: int) -> int:
    """Who has no idea takes the first."""
    return 0


def led(genes: Genes, small: Genes, names: Sequence[str], excess: Callable[[Genes], float], rng: Random) -> Genes:
    """Genes that keep the budgets, with about as many of the given ones as can be.

    Args:
        genes: to begin with.
        small: of a network that keeps the budgets, which lends the others.
        names: of the genes that may be lent.
        excess: by what share a network of some genes exceeds the budgets; 0 or less if it keeps them.
        rng: of the order in which genes are lent.
    """
    if excess(genes) <= 0:
        return genes
    names = rng.sample(names, len(names))

    def lent(count: int) -> Genes:
        return genes | {name: small[name] for name in names[:count]}

    few, many = 0, len(names)
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if excess(lent(middle)) <= 0 else (middle, many)
    return lent(many)


def make_sampler(name: str, seed: int, choose: Choose = first, generations: "Generations | None" = None) -> BaseSampler:
    """A sampler by its name, fresh.

    Args:
        name: one of ``SAMPLERS``.
        seed: of its choices.
        choose: whom ``EXPECTED`` asks.
        generations: what NSGA-II knows of earlier trials.
    """
    sampler = ClimbingSampler(seed, choose) if name == EXPECTED else SAMPLERS[name](seed)
    if isinstance(sampler, GenerationSampler) and generations:
        sampler.generations = generations
    return sampler


def check_sampler(name: str) -> None:
    """Check a sampler's name.

    Raises:
        QnasError: it is unknown.
    """
    check_known("sampler", name, SAMPLERS)


class GeneSampler(BaseSampler):
    """What samplers of genes share, whose space is given from outside.

    Args:
        seed: of the choices.
    """

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Nothing: the space is given from outside."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, distribution: BaseDistribution
    ) -> Any:
        """A random gene."""
        return self.rng.choice(_choices(distribution))


class EvolutionSampler(GeneSampler):
    """Aging evolution (Real et al., 2019): changes some genes of the best of a few of the last networks in the budgets.

    Args:
        seed: of the choices.
        population: how many of the last networks are alive; fewer are added to at random.
        contestants: of them, the best of which is the parent.
        again: chance of each further change after the first; ignored genes make some changes void.
    """

    def __init__(self, seed: int, population: int = POPULATION, contestants: int = 5, again: float = 0.5) -> None:
        super().__init__(seed)
        self.population, self.contestants, self.again = population, contestants, again

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Genes of a parent with some changed; nothing while too few networks are alive."""
        told = reversed(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        alive = list(islice((one for one in told if all(x <= 0 for x in one.constraints.values())), self.population))
        if len(alive) < self.population:
            return {}
        parent, *others = self.rng.sample(alive, self.contestants)
        for other in others:
            if _dominates(other, parent, study.directions):
                parent = other
        genes, changing = dict(parent.params), True
        while changing:
            name, choices = self.rng.choice(list(search_space.items()))
            genes[name] = self.rng.choice([one for one in _choices(choices) if one != genes[name]])
            changing = self.rng.random() < self.again
        return {name: genes[name] for name in search_space}


class ClimbingSampler(GeneSampler):
    """Climbs from the most promising of some random sets of genes to better neighbours, and proposes where it gets.

    Args:
        seed: of the draws.
        choose: says which of some sets is the most promising.
        drawn: how many sets it begins with.
        rounds: how often it looks for a better neighbour.
        neighbours: among how many; each differs in one to three genes.
    """

    def __init__(
        self, seed: int, choose: Choose = first, drawn: int = 32, rounds: int = 8, neighbours: int = 12
    ) -> None:
        super().__init__(seed)
        self.seed = seed
        self.choose, self.drawn, self.rounds, self.neighbours = choose, drawn, rounds, neighbours

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Where the climb ends."""
        choices = {name: _choices(one) for name, one in search_space.items()}
        drawn = [{name: self.rng.choice(values) for name, values in choices.items()} for _ in range(self.drawn)]
        best = drawn[self.choose(drawn, self.seed)]
        for _ in range(self.rounds):
            near = [best, *(self._neighbour(best, choices) for _ in range(self.neighbours))]
            best = near[self.choose(near, self.seed)]
        return best

    def _neighbour(self, genes: dict[str, Any], choices: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
        names = self.rng.sample(list(choices), min(self.rng.randint(1, 3), len(choices)))
        return genes | {name: self.rng.choice(choices[name]) for name in names}


def _dominates(one: FrozenTrial, other: FrozenTrial, directions: list[StudyDirection]) -> bool:
    signs = [1 if direction == StudyDirection.MAXIMIZE else -1 for direction in directions]
    gains = [sign * (a - b) for sign, a, b in zip(signs, one.values, other.values, strict=True)]
    return bool(min(gains) >= 0 and max(gains) > 0)


def _choices(distribution: BaseDistribution) -> tuple[Any, ...]:
    assert isinstance(distribution, CategoricalDistribution)  # as all genes are
    return distribution.choices


@dataclass
class Generations:
    """All that NSGA-II needs of earlier trials, so that it does not look for it among all of them each time.

    Args:
        last: members of the last generation that were told; the first one is random.
        parents: of the last generation, those of a new one best first, later by number.
    """

    last: list[FrozenTrial] = field(default_factory=list)
    parents: list[FrozenTrial] = field(default_factory=list)

    def begin(self, study: Study) -> None:
        """Turn to the next generation, where the last one is complete."""
        if len(self.last) >= POPULATION:
            self.parents = GenerationSampler(0, self).select_parent(study, 0)
            self.last = []

    def end(self, batch: Sequence[FrozenTrial]) -> None:
        """Take a batch of trials into the last generation."""
        self.last += batch
        self.parents.sort()


class GenerationSampler(NSGAIISampler):
    """NSGA-II (Deb et al., 2002) as Optuna has it, with the same proposals, which is told who is alive.

    Args:
        seed: of the choices.
        generations: of the run; none yet if there are none.
    """

    def __init__(self, seed: int, generations: Generations | None = None) -> None:
        super().__init__(seed=seed % SEEDS, population_size=POPULATION)
        self.generations = generations or Generations()

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        """No number: the one that is told."""
        return 0

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The last generation."""
        return self.generations.last

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """Its parents; as Optuna remembers them, only who asks first is told them best first."""
        parents = self.generations.parents
        self.generations.parents = sorted(parents)
        return parents


def drawn(sampler: BaseSampler, study: Study, trial: FrozenTrial, space: Mapping[str, BaseDistribution]) -> Genes:
    """All genes of a trial as a sampler says, whose space is not inferred from all trials, as it never changes."""
    sampler.before_trial(study, trial)
    genes = sampler.sample_relative(study, trial, dict(space))
    one_by_one = sampler.sample_independent
    return {
        name: genes[name] if name in genes else one_by_one(study, trial, name, choices)
        for name, choices in space.items()
    }


EXPECTED = "expected"
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "auto": lambda seed: GenerationSampler(
        seed, Generations()
    ),  # the better one of genes under a budget at some hundred trials
    "tpe": lambda seed: TPESampler(seed=seed % SEEDS, multivariate=True),
    "nsga2": GenerationSampler,
    "evolution": EvolutionSampler,
    "random": lambda seed: RandomSampler(seed=seed % SEEDS),
    EXPECTED: ClimbingSampler,
}
