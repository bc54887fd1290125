"""The names of samplers, and what aging evolution changes of which network."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import NSGAIISampler
from optuna.trial import TrialState, create_trial

from qnas.errors import QnasError
from qnas.nas.samplers import (
    EXPECTED,
    POPULATION,
    SAMPLERS,
    EvolutionSampler,
    Generations,
    check_sampler,
    drawn,
    led,
    make_sampler,
)  # fmt: skip

SPACE: dict[str, BaseDistribution] = {
    "a": CategoricalDistribution(tuple(range(21))),
    "b": CategoricalDistribution(("x", "y")),
}
RUNNING = create_trial(state=TrialState.RUNNING)
Point = tuple[float, ...]


@pytest.mark.parametrize("name", ["bayes", "", "TPE"])
def test_an_unknown_sampler_is_refused(name: str) -> None:
    with pytest.raises(QnasError, match=f"No sampler is called {name!r}"):
        check_sampler(name)


def test_a_close_sampler_is_suggested() -> None:
    with pytest.raises(QnasError, match="did you mean 'nsga2'"):
        check_sampler("nsga3")


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_listed_sampler_is_known_and_proposes(name: str) -> None:
    check_sampler(name)
    study = optuna.create_study()
    for _ in range(2):
        trial = study.ask()
        genes = drawn(make_sampler(name, 0), study, study.trials[-1], SPACE)
        assert genes.keys() == SPACE.keys()
        study.tell(trial, 1.0)


def test_a_climb_begins_with_the_best_of_some_draws_and_ends_where_no_neighbour_is_better() -> None:
    asked: list[int] = []

    def value(genes: Mapping[str, Any]) -> int:
        return genes["a"] - 3 * (genes["b"] == "x")

    def best(drawn: Sequence[Mapping[str, Any]], seed: int) -> int:
        asked.append(len(drawn))
        return max(range(len(drawn)), key=lambda place: value(drawn[place]))

    study = optuna.create_study()
    found = []
    for seed in range(20):
        found.append(drawn(make_sampler(EXPECTED, seed, best), study, RUNNING, SPACE))
    assert asked == [32, *[13] * 8] * 20
    assert [value(one) for one in found].count(20) >= 18  # the best there is
    assert drawn(make_sampler(EXPECTED, 3), study, RUNNING, SPACE) == first_of_draws(
        3
    )  # who has no idea stays where it began


def first_of_draws(seed: int) -> dict[str, Any]:
    rng = Random(seed)
    return {"a": rng.choice(range(21)), "b": rng.choice(("x", "y"))}


def parents(points: list[Point], directions: list[str], excess: tuple[float, ...] = (), seeds: int = 150) -> set[int]:
    """Whom evolution changes, of networks with these values; their gene ``a`` numbers them."""
    study = optuna.create_study(directions=directions)
    for a, point in enumerate(points):
        over = {"budget": dict(enumerate(excess)).get(a, 0.0)}
        study.add_trial(create_trial(values=point, params={"a": a, "b": "x"}, distributions=SPACE, constraints=over))
    study.ask()
    made = [EvolutionSampler(seed, again=0).sample_relative(study, study.trials[-1], SPACE) for seed in range(seeds)]
    return {child["a"] for child in made if child.get("b") == "y"}  # only where the other gene was changed


def test_evolution_takes_the_best_of_five_networks() -> None:
    points = [(float(a),) for a in range(20)]
    assert min(parents(points, ["maximize"])) >= 4
    assert max(parents(points, ["minimize"])) <= 15


def test_evolution_changes_one_gene_or_more() -> None:
    study = optuna.create_study()
    for _ in range(20):
        study.add_trial(create_trial(value=1.0, params={"a": 0, "b": "x"}, distributions=SPACE))
    study.ask()
    made = [EvolutionSampler(seed).sample_relative(study, study.trials[-1], SPACE) for seed in range(50)]
    changed = {((child["a"] != 0), (child["b"] != "x")) for child in made}
    assert changed >= {(True, False), (False, True), (True, True)}


def test_evolution_with_two_objectives_takes_a_parent_that_no_other_dominates() -> None:
    front = [(float(a), float(a)) for a in range(1, 17)]  # more accurate and more costly, one after another
    dominated = [(0.5, 20.0)] * 4  # of any five networks one at least is none of these
    assert parents(front + dominated, ["maximize", "minimize"]) == set(range(16))


def test_evolution_proposes_nothing_while_too_few_networks_keep_the_budget() -> None:
    points = [(float(a),) for a in range(20)]
    assert parents(points, ["maximize"], excess=(0.1,)) == set()
    assert parents(points, ["maximize"], excess=(-0.1,)) != set()


def test_networks_beyond_the_budget_are_no_parents() -> None:
    points = [(100.0,)] + [(1.0,)] * 20
    assert 0 not in parents(points, ["maximize"], excess=(0.1,))
    assert 0 not in parents(points, ["maximize"])  # nor is one that has grown too old
    assert 0 in parents(points[:-1], ["maximize"])


@pytest.mark.parametrize("objectives", [1, 2])
def test_nsga2_that_is_told_its_generations_proposes_what_optunas_own_looks_for(objectives: int) -> None:
    directions = ["maximize", "minimize"][:objectives]
    own, told = (optuna.create_study(directions=directions) for _ in range(2))
    generations = Generations()
    for number, size in enumerate([20, 8, 12, 20, 5, 20, 20, 7]):
        generations.begin(told)
        batch = []
        for seed in range(100 * number, 100 * number + size):
            own.sampler = NSGAIISampler(seed=seed, population_size=POPULATION)
            trial = own.ask(SPACE)
            assert drawn(make_sampler("nsga2", seed, generations=generations), told, RUNNING, SPACE) == trial.params
            batch.append(trial)
        for trial in batch:
            a, b = trial.params["a"], trial.params["b"]
            values, over = [float(a % 7 + (b == "x")), float(a)][:objectives], {"budget": a - 15.0}
            trial.set_constraint("budget", over["budget"])
            own.tell(trial, values)
            told.add_trial(create_trial(values=values, params=trial.params, distributions=SPACE, constraints=over))
        generations.end(told.trials[-size:])


def over(genes: Mapping[str, Any]) -> float:
    """How far three of six genes are above 1: one in 27 of all networks keeps the budget."""
    return float(sum(max(0, genes[name] - 1) for name in "abc"))


@pytest.mark.parametrize("seed", range(20))
def test_genes_are_led_to_the_budgets_and_keep_what_does_not_matter(seed: int) -> None:
    genes, small = dict.fromkeys("abcdef", 5), dict.fromkeys("abcdef", 0)
    asked: list[Mapping[str, Any]] = []

    def excess(some: Mapping[str, Any]) -> float:
        asked.append(some)
        return over(some)

    found = led(genes, small, "abcdef", excess, Random(seed))
    assert over(found) == 0
    assert len(asked) <= 1 + 3
    assert led(small | {"d": 3}, genes, "abcdef", over, Random(seed)) == small | {"d": 3}  # which keeps them


def test_who_is_led_keeps_many_of_its_genes() -> None:
    genes, small = dict.fromkeys("abcdef", 5), dict.fromkeys("abcdef", 0)
    found = [led(genes, small, "abcdef", over, Random(seed)) for seed in range(100)]
    assert {tuple(one[name] for name in "abc") for one in found} == {(0, 0, 0)}
    assert len({tuple(one[name] for name in "def") for one in found}) == 8
