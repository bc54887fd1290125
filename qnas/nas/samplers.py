"""Optuna's samplers of genes, and aging evolution, each seeded anew for every proposal.

A new sampler is a row in ``SAMPLERS``, at the end: from a seed to an ``optuna.samplers.BaseSampler``.
"""

from collections.abc import Callable, Mapping, Sequence
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
CHANGES = 400
"""Changes after which genes are led no further."""
Genes = dict[str, Any]

Choose = Callable[[Sequence[Mapping[str, Any]]], int]
"""The place of the most promising of some sets of genes."""


def first(drawn: Sequence[Mapping[str, Any]]) -> int:
    """Who has no idea takes the first."""
    return 0


def led(genes: Genes, choices: Mapping[str, Sequence[Any]], excess: Callable[[Genes], float], rng: Random) -> Genes:
    """Genes that keep the budgets, by changes of one or two that never lead away from them.

    Args:
        genes: to begin with.
        choices: of every gene that has any.
        excess: by what share a network of some genes exceeds the budgets; 0 or less if it keeps them.
        rng: of the changes.

    Returns:
        The nearest that was found, if ``CHANGES`` are not enough.
    """
    over = excess(genes)
    for _ in range(CHANGES):
        if over <= 0:
            break
        changed = genes | {name: rng.choice(choices[name]) for name in rng.sample([*choices], min(2, len(choices)))}
        if (less := excess(changed)) <= over:
            genes, over = changed, less
    return genes


def make_sampler(name: str, seed: int, choose: Choose = first) -> BaseSampler:
    """A sampler by its name, fresh.

    Args:
        name: one of ``SAMPLERS``.
        seed: of its choices.
        choose: whom ``EXPECTED`` asks.
    """
    return ClimbingSampler(seed, choose) if name == EXPECTED else SAMPLERS[name](seed)


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
        self.choose, self.drawn, self.rounds, self.neighbours = choose, drawn, rounds, neighbours

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Where the climb ends."""
        choices = {name: _choices(one) for name, one in search_space.items()}
        drawn = [{name: self.rng.choice(values) for name, values in choices.items()} for _ in range(self.drawn)]
        best = drawn[self.choose(drawn)]
        for _ in range(self.rounds):
            near = [best, *(self._neighbour(best, choices) for _ in range(self.neighbours))]
            best = near[self.choose(near)]
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


class FixedSpace(BaseSampler):
    """A sampler that is told the search space, which never changes, instead of inferring it from all trials each time.

    Args:
        inner: does the sampling.
        distributions: of every gene.
        lead: what is made of the genes that it says, if anything.
    """

    def __init__(
        self,
        inner: BaseSampler,
        distributions: dict[str, BaseDistribution],
        lead: Callable[[Genes], Genes] | None = None,
    ) -> None:
        self.inner, self.distributions, self.lead = inner, distributions, lead

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All genes that have a choice."""
        return {name: choices for name, choices in self.distributions.items() if not choices.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What the inner sampler says, or what that is led to."""
        genes = self.inner.sample_relative(study, trial, search_space)
        if self.lead is None:
            return genes
        independent = self.inner.sample_independent
        others = {name: one for name, one in search_space.items() if name not in genes}
        return self.lead(genes | {name: independent(study, trial, name, one) for name, one in others.items()})

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, distribution: BaseDistribution
    ) -> Any:
        """What the inner sampler says."""
        return self.inner.sample_independent(study, trial, param_name, distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """What the inner sampler does."""
        self.inner.before_trial(study, trial)


def _nsga2(seed: int) -> BaseSampler:
    return NSGAIISampler(seed=seed % SEEDS, population_size=POPULATION)


EXPECTED = "expected"
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "auto": _nsga2,  # the better one of genes under a budget at some hundred trials
    "tpe": lambda seed: TPESampler(seed=seed % SEEDS, multivariate=True),
    "nsga2": _nsga2,
    "evolution": EvolutionSampler,
    "random": lambda seed: RandomSampler(seed=seed % SEEDS),
    EXPECTED: ClimbingSampler,
}
