"""A candidate's own figures, and that it never changes."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from qnas.graph.statistics import graph_statistics
from qnas.nas.candidate import Candidate
from qnas.network.build import build_plan
from qnas.network.costs import Costs, costs
from qnas.scores.predicted import Score
from qnas.scores.surrogate import KNOWN, features
from qnas.space.genotype import Genotype
from qnas.task import Task

SCORE = Score(33.0, 1.9, -0.3)


def made(genotype: Genotype) -> Candidate:
    return Candidate(genotype, Costs(100, 2000, 50, 60), SCORE)


def test_before_any_training_there_is_no_best_run(genotype: Genotype) -> None:
    assert made(genotype).best_trained is None


def test_the_longest_run_counts_not_the_best_one(genotype: Genotype) -> None:
    assert made(genotype).after(225, 80.0).after(75, 90.0).best_trained == 80


def test_candidates_do_not_share_their_runs(genotype: Genotype) -> None:
    first, second = made(genotype), made(genotype)
    first.trained[75] = 50.0
    assert second.trained == {}


def test_a_candidate_stays_as_it_was_when_it_is_trained(genotype: Genotype) -> None:
    before = made(genotype)
    once = before.after(75, 50.0)
    again = once.after(225, 60.0).after(75, 55.0)
    assert [one.trained for one in (before, once, again)] == [{}, {75: 50.0}, {75: 55.0, 225: 60.0}]
    assert replace(again, trained={}) == before
    with pytest.raises(FrozenInstanceError):
        before.estimate = 1.0  # type: ignore[misc]


def test_its_features_are_those_of_its_score_its_costs_and_its_graph(genotype: Genotype) -> None:
    plan = build_plan(genotype, Task((1, 8, 8), 10))
    candidate = Candidate.of(genotype, plan, costs(plan), SCORE)
    assert candidate.graph == tuple(graph_statistics(plan))
    assert candidate.features == features(SCORE, costs(plan), graph_statistics(plan))
    assert len(made(genotype).features) == KNOWN


def test_its_costs_are_found_by_name(genotype: Genotype) -> None:
    assert [made(genotype).cost(name) for name in ("params", "macs", "latency")] == [100, 2000, 0]


def test_everything_is_written_as_json(genotype: Genotype) -> None:
    found = json.loads(json.dumps(made(genotype).after(75, 90.0).to_json()))
    assert Genotype.from_json(found.pop("genotype")) == genotype
    assert found == {
        "key": genotype.key, "score": 33.0, "estimate": None, "trained": {"75": 90.0}, "test": None,
        "params": 100, "macs": 2000, "weight_bytes": 50, "activation_bytes": 60, "latency": 0.0,
        "instructions": 0.0, "flash": 0, "ram": 0,
    }  # fmt: skip
