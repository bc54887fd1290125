"""Stages with made scores: what the screen counts and spends, and which candidates each later stage takes."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial

from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.scores.race import Outcome
from qnas.scores.predicted import PredictedScore
from qnas.network.build import build_plan
from qnas.network.costs import Costs, costs
from qnas.network.plan import Plan
from qnas.quant.scheme import Bits
from qnas.work import queue as boards
from qnas.nas import screen as stages
from qnas.work.queue import WorkQueue
from qnas.nas.candidate import Candidate
from qnas.space.genes import decode, gene_choices
from qnas.nas.budgets import Limits
from qnas.nas.settings import SearchSettings
from qnas.nas.screen import (
    Screen,
    Trainer,
    best,
    best_trained,
    estimate_all,
    on_front,
    promise,
    rank,
    spread,
)
from qnas.nas.proposer import Proposal
from qnas.space.genotype import Branch, Genotype
from qnas.space.space import find_space

BITS = Bits(4, 4)
SPACE = find_space("tiny")
LIMITS = Limits(params=12_000)
Genes = dict[str, Any]
DISTRIBUTIONS: dict[str, BaseDistribution] = {
    name: CategoricalDistribution(choices) for name, choices in gene_choices(SPACE).items()
}


def random_genes(count: int) -> list[Genes]:
    generator = torch.Generator().manual_seed(0)
    choices = gene_choices(SPACE)
    return [
        {name: values[int(torch.randint(len(values), (1,), generator=generator))] for name, values in choices.items()}
        for _ in range(count)
    ]


class Listed:
    """A proposer that reads from a list, over and over, and keeps what it is told."""

    def __init__(self, genes: list[Genes]) -> None:
        self.genes, self.told, self.proposed = genes, 0, 0
        self.outcomes: list[tuple[list[float], float]] = []
        self.recalled: list[FrozenTrial] = []

    def propose(self, count: int) -> list[Proposal]:
        self.proposed += count
        numbers = range(self.told, self.told + count)
        return [Proposal(self.genes[number % len(self.genes)], {}, DISTRIBUTIONS) for number in numbers]

    def tell(self, outcomes: list[tuple[list[float], float]]) -> None:
        self.outcomes += outcomes
        self.told += len(outcomes)

    def recall(self, trials: list[FrozenTrial]) -> None:
        self.recalled += trials
        self.told += len(trials)


def scored_at(top1: float) -> PredictedScore:
    """A score whose loss and margin go with its accuracy."""
    return PredictedScore(top1, 3 - top1 / 40, top1 / 50 - 1)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Plan, float]]:
    """The plans that were scored with the most they might miss; a network's score is its number of nodes."""
    plans: list[tuple[Plan, float]] = []

    def run(plan: Plan, parameters: object, most_missed: float) -> Outcome:
        plans.append((plan, most_missed))
        return Outcome(scored_at(float(len(plan.nodes))), 7, True)

    monkeypatch.setattr(stages, "prepare_race", lambda *anything: SimpleNamespace(run=run))
    return plans


Scored = list[tuple[Plan, float]]


class StudyAddress(NamedTuple):
    """Where screens of these tests are."""

    data: DataSet
    journal: Path

    def screen(self, proposer: Listed, trials: int, limits: Limits = LIMITS, **more: Any) -> Screen:
        settings = SearchSettings(BITS, limits, trials=trials, **more)

        def ghn(plans: list[Plan], whole: bool = True) -> list[dict[str, object]]:
            return [{} for _ in plans]

        board = WorkQueue(boards.StudyAddress(str(self.journal), "screen", "me"), settings.directions)
        made: Any = proposer, ghn
        return Screen(settings, SPACE, self.data, made[1], made[0], board, costs)


@pytest.fixture
def here(digits_data: DataSet, tmp_path: Path) -> StudyAddress:
    return StudyAddress(digits_data, tmp_path / "journal")


def silent(share: float, remark: str) -> None:
    assert 0 <= share <= 1


def genotype_of(genes: Genes) -> Genotype:
    return decode(SPACE, genes, BITS)


def spent_by(genes: Genes) -> Costs:
    return costs(build_plan(genotype_of(genes), SPACE.image, SPACE.classes))


def keeps(genes: Genes) -> bool:
    return spent_by(genes).params <= 12_000


def keepers(count: int) -> list[Genes]:
    """Genes of different networks within the budget."""
    found = {genotype_of(genes).key: genes for genes in random_genes(300) if keeps(genes)}
    return list(found.values())[:count]


def keys(found: list[Candidate]) -> list[str]:
    return [candidate.genotype.key for candidate in found]


def test_only_new_networks_within_the_budget_count(here: StudyAddress, scored: Scored) -> None:
    proposer = Listed(random_genes(200))
    found = here.screen(proposer, 8).run(silent)
    assert len(found) == 8 == len(set(keys(found)))
    assert proposer.told > 8
    for candidate in found:
        spent = costs(build_plan(candidate.genotype, SPACE.image, SPACE.classes))
        assert candidate.costs == spent
        assert spent.params <= 12_000


def test_candidates_come_in_the_order_they_were_proposed(here: StudyAddress, scored: Scored) -> None:
    genes = random_genes(200)
    found = here.screen(Listed(genes), 8).run(silent)
    expected = list(dict.fromkeys(genotype_of(choice).key for choice in genes if keeps(choice)))
    assert keys(found) == expected[:8]


def test_networks_beyond_the_budget_are_not_scored(here: StudyAddress, scored: Scored) -> None:
    genes = random_genes(200)
    proposer = Listed(genes)
    here.screen(proposer, 8).run(silent)
    assert len(scored) == 8
    for choice, ((score,), excess) in zip(genes, proposer.outcomes, strict=False):
        assert (excess > 0) == (not keeps(choice))
        assert (score == 0) == (excess > 0)


def test_a_repeated_network_is_answered_without_scoring(here: StudyAddress, scored: Scored) -> None:
    one, two, three = keepers(3)
    proposer = Listed([one, two, one, one, three])  # batches of 3, 1, and 1 again
    found = here.screen(proposer, 3).run(silent)
    assert keys(found) == [genotype_of(genes).key for genes in (one, two, three)]
    assert [value for ((value,), _) in proposer.outcomes[2:4]] == [proposer.outcomes[0][0][0]] * 2
    assert proposer.outcomes[0][0] == [float(len(build_plan(genotype_of(one), SPACE.image, 10).nodes))]
    assert len(scored) == 4  # twice where its two proposals did not wait for one another


def test_genes_of_the_same_network_are_repetitions(here: StudyAddress, scored: Scored) -> None:
    genes: Genes = {name: choices[0] for name, choices in gene_choices(SPACE).items()} | {"steps": 1, "channels": 8}
    left, right = {"state": 1, "": "sep_conv 3"}, {"state": 0, "": "max_pool 3"}
    orders = [
        genes | {f"{cell}0_{side}{'_' * bool(end)}{end}": value for cell in ("normal", "reduction")
                 for side, branch in zip(("left", "right"), order, strict=True) for end, value in branch.items()}
        for order in ((left, right), (right, left))
    ]  # fmt: skip
    assert orders[0] != orders[1]
    assert len(here.screen(Listed([orders[0], orders[0], orders[1]]), 2, Limits()).run(silent)) == 1
    assert len(scored) == 2  # both of the first batch, and none after


def test_proposals_run_out_where_no_network_keeps_all_budgets(here: StudyAddress, scored: Scored) -> None:
    with pytest.raises(QnasError, match=r"None of 100 proposed networks keeps all budgets together .*params=1"):
        here.screen(Listed(random_genes(5)), 2, Limits(params=1)).run(silent)
    assert scored == []


def test_a_small_space_ends_the_screen_with_fewer_networks(here: StudyAddress, scored: Scored) -> None:
    assert len(here.screen(Listed(keepers(3)), 4).run(silent)) == 3


def test_known_answers_are_taken_over_without_scoring(here: StudyAddress, scored: Scored) -> None:
    genes = random_genes(200)
    first = here.screen(Listed(genes), 8).run(silent)
    scored.clear()
    proposer = Listed(genes)
    again = here.screen(proposer, 8).run(silent)
    assert [candidate.to_json() for candidate in again] == [candidate.to_json() for candidate in first]
    assert [one.predicted for one in again] == [one.predicted for one in first]
    assert scored == []
    assert (proposer.proposed, proposer.outcomes) == (0, [])
    assert len(proposer.recalled) == proposer.told


def test_a_screen_that_was_broken_off_within_a_batch_scores_only_the_rest(
    here: StudyAddress, scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    genes = keepers(6)

    def stop(share: float, remark: str) -> None:
        if len(scored) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        here.screen(Listed(genes), 6).run(stop)
    proposer = Listed(genes)
    assert keys(here.screen(proposer, 6).run(silent)) == [genotype_of(one).key for one in genes]
    assert len(scored) == 6
    assert (proposer.proposed, proposer.recalled) == (6, [])


def test_the_limits_of_the_space_count_too(here: StudyAddress, scored: Scored) -> None:
    found = here.screen(Listed(random_genes(300)), 10, Limits()).run(silent)
    assert all(candidate.costs.params <= SPACE.max_params for candidate in found)
    assert all(candidate.costs.macs <= SPACE.max_macs for candidate in found)


def test_two_screens_on_one_board_find_what_one_alone_finds(here: StudyAddress, tmp_path: Path, scored: Scored) -> None:
    genes, found = random_genes(60), {}

    def work(name: str) -> None:
        found[name] = screens[name].run(silent)

    alone = here.screen(Listed(genes), 25, Limits()).run(silent)
    scored.clear()
    other = here._replace(journal=tmp_path / "other")
    screens = {name: other.screen(Listed(genes), 25, Limits()) for name in ("left", "right")}
    threads = [Thread(target=work, args=[name]) for name in screens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in screens:
        assert [one.to_json() for one in found[name]] == [one.to_json() for one in alone]
    assert len(scored) == 25  # each network by one of the two


def test_costs_that_count_are_told_beside_the_score(here: StudyAddress, scored: Scored) -> None:
    genes = keepers(3)
    proposer = Listed(genes)
    here.screen(proposer, 3, pareto=("params", "macs")).run(silent)
    for choice, (values, _) in zip(genes, proposer.outcomes, strict=True):
        assert values[1:] == [spent_by(choice).params, spent_by(choice).macs]


def test_all_may_be_missed_while_too_few_are_found(here: StudyAddress, scored: Scored) -> None:
    here.screen(Listed(random_genes(60)), 24, Limits(), calibration=4, survivors=4).run(silent)
    cuts = [cut for _, cut in scored]
    assert cuts[:8] == [float("inf")] * 8
    assert 0 < cuts[-1] < float("inf")


def with_found(here: StudyAddress, scores: list[float], **more: Any) -> Screen:
    """A screen that has found networks of these scores, the later the costlier."""
    screen = here.screen(Listed([]), 99, calibration=2, survivors=1, **more)
    screen.found = {candidate.genotype.key: candidate for candidate in candidates(scores)}
    return screen


def test_as_many_may_be_missed_as_the_last_network_that_later_stages_look_at_missed(here: StudyAddress) -> None:
    total = len(here.data.validation)
    scores = [100 * (1 - missed / total) for missed in (40, 10, 30, 20)]
    assert with_found(here, scores[:2]).most_missed(Costs(0, 0, 0, 0)) == float("inf")
    assert with_found(here, scores[:3]).most_missed(Costs(0, 0, 0, 0)) == 40
    assert with_found(here, scores).most_missed(Costs(0, 0, 0, 0)) == 30


def test_where_costs_count_only_networks_that_cost_no_more_are_rivals(here: StudyAddress) -> None:
    total = len(here.data.validation)
    scores = [100 * (1 - missed / total) for missed in (40, 10, 30, 20, 25)]
    screen = with_found(here, scores, pareto=("params", "macs"))
    found = {params: screen.most_missed(Costs(params, 10_000, 0, 0)) for params in (1001, 1002, 1003, 1004, 9999)}
    assert found == {1001: float("inf"), 1002: 40, 1003: 30, 1004: 25, 9999: 25}
    assert screen.most_missed(Costs(9999, 9_999, 0, 0)) == float("inf")


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


def test_where_costs_count_candidates_are_ranked_front_by_front() -> None:
    made = candidates([50.0, 40.0, 60.0, 55.0])  # the later the costlier
    assert scores_of(rank(made, promise)) == [60, 55, 50, 40]
    assert scores_of(rank(made, promise, ("params",))) == [60, 50, 55, 40]
    assert scores_of(best(made, 2, ("params",))) == [60, 50]
    assert scores_of(spread(made, 3, ("params",)))[:2] == [60, 50]
    assert rank([], promise, ("params",)) == []


def test_the_best_trained_are_ranked_front_by_front_where_costs_count() -> None:
    made = candidates([0.0, 0.0, 0.0, 0.0])
    for candidate, value in zip(made, (50.0, 40.0, 60.0, 55.0), strict=True):
        candidate.trained = {12: value}
    found = best_trained(made, 12, 3, ("params",))
    assert {candidate.trained[12] for candidate in found[:2]} == {60, 50}
    assert found[2].trained[12] in (40, 55)


def test_on_the_front_are_those_that_none_exceeds_without_costing_more() -> None:
    made = candidates([0.0, 0.0, 0.0, 0.0])
    for candidate, value in zip(made, (50.0, 40.0, 60.0, 60.0), strict=True):
        candidate.trained = {12: value}
    assert on_front(made, 12, ("params",)) == [made[0], made[2]]
    assert on_front(made, 12, ()) == [made[2], made[3]]
    assert on_front(made, 12, ("macs",)) == [made[2], made[3]]  # all cost the same of these


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
