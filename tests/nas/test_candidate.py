"""A candidate's own figures."""

import json

from qnas.scores.predicted import PredictedScore
from qnas.network.costs import Costs
from qnas.nas.candidate import Candidate
from qnas.space.genotype import Genotype


def made(genotype: Genotype) -> Candidate:
    return Candidate(genotype, Costs(100, 2000, 50, 60), PredictedScore(33.0, 1.9, -0.3))


def test_before_any_training_there_is_no_best_run(genotype: Genotype) -> None:
    assert made(genotype).best_trained is None


def test_the_longest_run_counts_not_the_best_one(genotype: Genotype) -> None:
    candidate = made(genotype)
    candidate.trained = {225: 80.0, 75: 90.0}
    assert candidate.best_trained == 80


def test_candidates_do_not_share_their_runs(genotype: Genotype) -> None:
    first, second = made(genotype), made(genotype)
    first.trained[75] = 50.0
    assert second.trained == {}


def test_everything_is_written_as_json(genotype: Genotype) -> None:
    candidate = made(genotype)
    candidate.trained = {75: 90.0}
    found = json.loads(json.dumps(candidate.to_json()))
    assert Genotype.from_json(found.pop("genotype")) == genotype
    assert found == {
        "key": genotype.key, "score": 33.0, "estimate": None, "trained": {"75": 90.0}, "test": None,
        "params": 100, "macs": 2000, "weight_bytes": 50, "activation_bytes": 60, "latency": 0.0,
    }  # fmt: skip
