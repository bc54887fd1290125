"""Stages with made scores: what the screen counts and spends, and which candidates each later stage takes."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.evaluation.signals import PredictedScore
from qnas.network.build import build_plan
from qnas.network.costs import Costs, costs
from qnas.network.plan import Plan
from qnas.quant.scheme import Bits
from qnas.search import stages
from qnas.search.candidate import Candidate
from qnas.search.genes import decode, gene_choices
from qnas.search.limits import Limits
from qnas.search.settings import SearchSettings
from qnas.search.stages import (
    Screen,
    Trainer,
    best,
    best_trained,
    estimate_all,
    promise,
    spread,
)
from qnas.space.genotype import Branch, Genotype
from qnas.space.space import find_space

BITS = Bits(4, 4)
SPACE = find_space("tiny")
LIMITS = Limits(params=12_000)
Genes = dict[str, Any]


def random_genes(count: int) -> list[Genes]:
    generator = torch.Generator().manual_seed(0)
    choices = gene_choices(SPACE)
    return [
        {name: values[int(torch.randint(len(values), (1,), generator=generator))] for name, values in choices.items()}
        for _ in range(count)
    ]


class Listed:
    """A proposer that reads from a list, over and over, and keeps what it is told."""

    def __init__(self, genes: list[Genes], before: list[tuple[Genes, PredictedScore]] | None = None) -> None:
        self.genes, self.before = genes, before or []
        self.told: list[tuple[float, float]] = []

    def finished(self) -> Iterator[tuple[Genes, PredictedScore]]:
        return iter(self.before)

    def ask(self) -> tuple[int, Genes]:
        return len(self.told), self.genes[len(self.told) % len(self.genes)]

    def tell(self, trial: int, score: PredictedScore, excess: float) -> None:
        self.told.append((score.top1, excess))


def scored_at(top1: float) -> PredictedScore:
    """A score whose loss and margin go with its accuracy."""
    return PredictedScore(top1, 3 - top1 / 40, top1 / 50 - 1)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that were scored; a network's score is its number of nodes."""
    plans: list[Plan] = []

    def score(plan: Plan, parameters: object, images: object) -> PredictedScore:
        plans.append(plan)
        return scored_at(float(len(plan.nodes)))

    monkeypatch.setattr(stages, "predicted_score", score)
    return plans


def screen(proposer: Listed, data: DataSet, trials: int, limits: Limits = LIMITS) -> Screen:
    settings = SearchSettings(BITS, limits, trials=trials)

    def ghn(plans: list[Plan], whole: bool = True) -> list[dict[str, object]]:
        return [{} for _ in plans]

    return Screen(settings, SPACE, data, ghn, proposer)  # type: ignore[arg-type]


def silent(share: float, remark: str) -> None:
    assert 0 <= share <= 1


def genotype_of(genes: Genes) -> Genotype:
    return decode(SPACE, genes, BITS)


def keeps(genes: Genes) -> bool:
    return costs(build_plan(genotype_of(genes), SPACE.image, SPACE.classes)).params <= 12_000


def test_only_new_networks_within_the_budget_count(digits_data: DataSet, scored: list[Plan]) -> None:
    proposer = Listed(random_genes(200))
    found = screen(proposer, digits_data, 8).run(silent)
    assert len(found) == 8 == len({candidate.genotype.key for candidate in found})
    assert len(proposer.told) > 8
    for candidate in found:
        spent = costs(build_plan(candidate.genotype, SPACE.image, SPACE.classes))
        assert candidate.costs == spent
        assert spent.params <= 12_000


def test_candidates_come_in_the_order_they_were_found(digits_data: DataSet, scored: list[Plan]) -> None:
    genes = random_genes(200)
    found = screen(Listed(genes), digits_data, 8).run(silent)
    expected = list(dict.fromkeys(genotype_of(choice).key for choice in genes if keeps(choice)))
    assert [candidate.genotype.key for candidate in found] == expected[:8]


def test_networks_beyond_the_budget_are_not_scored(digits_data: DataSet, scored: list[Plan]) -> None:
    genes = random_genes(200)
    proposer = Listed(genes)
    screen(proposer, digits_data, 8).run(silent)
    assert len(scored) == 8
    for choice, (score, excess) in zip(genes, proposer.told, strict=False):
        assert (excess > 0) == (not keeps(choice))
        assert excess <= 0 or score == 0


def test_a_repeated_network_is_answered_without_scoring(digits_data: DataSet, scored: list[Plan]) -> None:
    one, two = [choice for choice in random_genes(200) if keeps(choice)][:2]
    proposer = Listed([one, one, one, two])
    found = screen(proposer, digits_data, 2).run(silent)
    assert len(found) == len(scored) == 2
    assert len({score for score, _ in proposer.told[:3]}) == 1
    assert proposer.told[0][0] == len(scored[0].nodes)


def test_genes_of_the_same_network_are_repetitions(digits_data: DataSet, scored: list[Plan]) -> None:
    genes: Genes = {name: choices[0] for name, choices in gene_choices(SPACE).items()} | {"steps": 1, "channels": 8}
    left, right = {"state": 1, "": "sep_conv 3"}, {"state": 0, "": "max_pool 3"}
    orders = [
        genes | {f"{cell}0_{side}{'_' * bool(end)}{end}": value for cell in ("normal", "reduction")
                 for side, branch in zip(("left", "right"), order, strict=True) for end, value in branch.items()}
        for order in ((left, right), (right, left))
    ]  # fmt: skip
    assert orders[0] != orders[1]
    found = screen(Listed(orders), digits_data, 2, Limits()).run(silent)
    assert len(found) == len(scored) == 1


def test_proposals_run_out_where_no_network_keeps_all_budgets(digits_data: DataSet, scored: list[Plan]) -> None:
    with pytest.raises(QnasError, match=r"None of 100 proposed networks keeps all budgets together .*params=1"):
        screen(Listed(random_genes(5)), digits_data, 2, Limits(params=1)).run(silent)
    assert scored == []


def test_a_small_space_ends_the_screen_with_fewer_networks(digits_data: DataSet, scored: list[Plan]) -> None:
    genes = [choice for choice in random_genes(200) if keeps(choice)][:3]
    assert len(screen(Listed(genes), digits_data, 10).run(silent)) == 3


def test_known_scores_are_taken_over_without_scoring(digits_data: DataSet, scored: list[Plan]) -> None:
    genes = [choice for choice in random_genes(200) if keeps(choice)][:4]
    proposer = Listed(genes[2:], [(genes[0], scored_at(61.0)), (genes[1], scored_at(62.0))])
    found = screen(proposer, digits_data, 4).run(silent)
    assert [candidate.score for candidate in found][:2] == [61, 62]
    assert len(scored) == len(proposer.told) == 2


def test_a_finished_screen_asks_for_nothing(digits_data: DataSet, scored: list[Plan]) -> None:
    genes = [choice for choice in random_genes(200) if keeps(choice)][:2]
    proposer = Listed([], [(genes[0], scored_at(61.0)), (genes[1], scored_at(62.0))])
    assert len(screen(proposer, digits_data, 2).run(silent)) == 2
    assert proposer.told == []


def test_the_limits_of_the_space_count_too(digits_data: DataSet, scored: list[Plan]) -> None:
    found = screen(Listed(random_genes(300)), digits_data, 10, Limits()).run(silent)
    assert all(candidate.costs.params <= SPACE.max_params for candidate in found)
    assert all(candidate.costs.macs <= SPACE.max_macs for candidate in found)


def candidates(scores: list[float]) -> list[Candidate]:
    """Candidates of these scores, each another network, sized by their place."""
    step = ((Branch(0, "conv", 3), Branch(1, "skip", 1)),)
    genotypes = [Genotype(3, 1, place + 1, 2, True, (), step, BITS) for place in range(len(scores))]
    made = [Costs(1000 + place, 10_000, 100, 100) for place in range(len(scores))]
    return [Candidate(*one, scored_at(score)) for *one, score in zip(genotypes, made, scores, strict=True)]


def scores_of(chosen: list[Candidate]) -> list[float]:
    return [candidate.score for candidate in chosen]


def test_two_thirds_of_the_short_runs_go_to_the_best_scores() -> None:
    chosen = scores_of(spread(candidates([float((37 * place) % 100) for place in range(100)]), 12))
    assert chosen[:8] == [99, 98, 97, 96, 95, 94, 93, 92]


def test_the_others_are_spread_evenly() -> None:
    rest = scores_of(spread(candidates([float(place) for place in range(108)]), 12))[8:]
    gaps = {high - low for high, low in pairwise(rest)}
    assert len(rest) == 4
    assert gaps == {25}
    assert all(score < 100 for score in rest)


@pytest.mark.parametrize(
    ("there", "count"), [(3, 12), (8, 12), (9, 12), (11, 12), (12, 12), (13, 12), (5, 6), (99, 1), (99, 2)]
)
def test_as_many_as_wanted_are_chosen_and_none_twice(there: int, count: int) -> None:
    chosen = scores_of(spread(candidates([float(place) for place in range(there)]), count))
    assert len(set(chosen)) == len(chosen) == min(there, count)


def test_the_best_are_those_of_the_highest_estimate() -> None:
    made = candidates([90.0, 10.0, 50.0])
    for candidate, estimate in zip(made, (20.0, 80.0, 60.0), strict=True):
        candidate.estimate = estimate
    assert scores_of(best(made, 2)) == [10, 50]


def test_without_estimates_the_score_decides() -> None:
    assert scores_of(best(candidates([30.0, 10.0, 50.0]), 2)) == [50, 30]


def test_a_short_run_counts_as_much_as_the_estimate() -> None:
    candidate = candidates([33.0])[0]
    candidate.estimate, candidate.trained = 60.0, {75: 90.0}
    assert promise(candidate) == (75, 33)


def test_equal_promise_is_settled_by_the_score() -> None:
    made = candidates([10.0, 20.0])
    for candidate in made:
        candidate.estimate = 50.0
    assert scores_of(best(made, 2)) == [20, 10]


def test_the_best_trained_are_ranked_by_the_runs_of_one_length() -> None:
    made = candidates([10.0, 20.0, 30.0, 40.0])
    for candidate, runs in zip(made, ({3: 50.0, 12: 70.0}, {3: 99.0}, {12: 90.0}, {12: 80.0}), strict=True):
        candidate.trained = runs
    assert scores_of(best_trained(made, 12, 5)) == [30, 40, 10]
    assert scores_of(best_trained(made, 12, 1)) == [30]


def test_equal_accuracies_are_settled_by_score_and_then_size() -> None:
    made = candidates([10.0, 20.0, 20.0])
    for candidate in made:
        candidate.trained = {12: 70.0}
    ranked = best_trained(made[::-1], 12, 3)
    assert [candidate.costs.params for candidate in ranked] == [1001, 1002, 1000]


def test_fewer_than_three_short_runs_give_no_estimates() -> None:
    made = candidates([10.0, 20.0, 30.0])
    for candidate in made[:2]:
        candidate.trained = {75: 50.0}
    assert estimate_all(made, 75, SPACE) is None
    assert [candidate.estimate for candidate in made] == [None] * 3


def test_all_candidates_get_an_estimate_that_follows_the_short_runs() -> None:
    made = candidates([float(score) for score in range(0, 100, 5)])
    for candidate in made[::2]:
        candidate.trained = {75: 0.5 * candidate.score + 20}
    calibration = estimate_all(made, 75, SPACE)
    assert calibration is not None
    assert calibration.labels == 10
    estimates = [candidate.estimate for candidate in made]
    assert estimates == sorted(estimates, key=float)
    for candidate in made:
        assert candidate.estimate == pytest.approx(0.5 * candidate.score + 20, abs=4)


def test_runs_of_another_length_are_no_labels() -> None:
    made = candidates([10.0, 20.0, 30.0, 40.0])
    for candidate in made:
        candidate.trained = {225: 50.0}
    assert estimate_all(made, 75, SPACE) is None


def test_training_notes_each_accuracy_with_its_steps() -> None:
    made, asked = candidates([10.0, 20.0]), []

    def run(jobs: list[Any]) -> Iterator[tuple[Any, dict[str, float]]]:
        asked.extend(jobs)
        for job in reversed(jobs):  # results come in any order
            yield job, {"top1": float(job.genotype.channels)}

    pool: Any = SimpleNamespace(run=run)
    settings = replace(SearchSettings(BITS), seed=5)
    Trainer(settings, pool, "cpu", "picks").train(made, 75, silent, keep=True)
    assert [candidate.trained for candidate in made] == [{75: 1.0}, {75: 2.0}]
    assert [(job.steps, job.seed, job.device) for job in asked] == [(75, 5, "cpu")] * 2
    assert [job.weights for job in asked] == [f"picks/{candidate.genotype.key}.safetensors" for candidate in made]
