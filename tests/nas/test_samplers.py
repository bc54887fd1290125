"""The names of samplers, and what aging evolution changes of which network."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import create_trial

from qnas.errors import QnasError
from qnas.nas.samplers import EXPECTED, SAMPLERS, EvolutionSampler, FixedSpace, check_sampler, make_sampler

SPACE: dict[str, BaseDistribution] = {
    "a": CategoricalDistribution(tuple(range(21))),
    "b": CategoricalDistribution(("x", "y")),
}
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
    study = optuna.create_study(sampler=FixedSpace(make_sampler(name, 0), SPACE))
    for _ in range(2):
        trial = study.ask(SPACE)
        assert trial.params.keys() == SPACE.keys()
        study.tell(trial, 1.0)


def test_a_climb_begins_with_the_best_of_some_draws_and_ends_where_no_neighbour_is_better() -> None:
    asked: list[int] = []

    def value(genes: Mapping[str, Any]) -> int:
        return genes["a"] - 3 * (genes["b"] == "x")

    def best(drawn: Sequence[Mapping[str, Any]]) -> int:
        asked.append(len(drawn))
        return max(range(len(drawn)), key=lambda place: value(drawn[place]))

    study = optuna.create_study()
    found = []
    for seed in range(20):
        study.sampler = FixedSpace(make_sampler(EXPECTED, seed, best), SPACE)
        found.append(study.ask(SPACE).params)
    assert asked == [32, *[13] * 8] * 20
    assert [value(one) for one in found].count(20) >= 18  # the best there is
    study.sampler = FixedSpace(make_sampler(EXPECTED, 3), SPACE)
    assert study.ask(SPACE).params == first_of_draws(3)  # who has no idea stays where it began


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


def test_genes_without_a_choice_are_left_out_of_the_space() -> None:
    fixed = FixedSpace(make_sampler("random", 0), {**SPACE, "c": CategoricalDistribution((1,))})
    study = optuna.create_study()
    trial = study.ask()
    assert fixed.infer_relative_search_space(study, study.trials[trial.number]).keys() == SPACE.keys()
