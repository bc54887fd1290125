"""Rungs with made scores and a made trainer: who gets how much training, in which order, and that nothing changes."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from statistics import fmean

import pytest

from qnas.errors import QnasError
from qnas.graph.statistics import graph_statistics
from qnas.nas.candidate import Candidate
from qnas.nas.rungs import (
    FEWEST_LABELS,
    Rung,
    best,
    best_trained,
    estimate,
    hopefuls,
    mended,
    on_front,
    promise,
    rank,
    rungs_of,
    select,
    stratified,
    train,
)
from qnas.nas.settings import SearchSettings
from qnas.network.build import build_plan
from qnas.network.costs import Costs
from qnas.quant.scheme import Bits
from qnas.scores.predicted import Score
from qnas.scores.surrogate import Trust
from qnas.space.cells import Branch
from qnas.space.genotype import Genotype
from qnas.space.space import find_space
from qnas.training.recipe import Recipe

BITS = Bits(4, 4)
SPACE = find_space("tiny")
SETTINGS = SearchSettings(BITS, labels=6, survivors=4, top=2, recipe=Recipe(steps=120))  # lengths 10, 30 and 120


def candidates(scores: Sequence[float]) -> list[Candidate]:
    """Candidates of these scores, each another network, sized by their place."""
    step = ((Branch(0, "conv", 3), Branch(1, "skip", 1)),)
    made = []
    for place, score in enumerate(scores):
        genotype = Genotype(3, 1, place + 1, 2, True, (), step, BITS)
        graph = tuple(graph_statistics(build_plan(genotype, SPACE.task)))
        predicted = Score(score, 3 - score / 40, score / 50 - 1)
        made.append(Candidate(genotype, Costs(1000 + place, 10_000, 100, 100), predicted, graph))
    return made


def estimated(made: list[Candidate], values: list[float]) -> list[Candidate]:
    return [replace(one, estimate=value) for one, value in zip(made, values, strict=True)]


def trained_to(made: list[Candidate], steps: int, values: list[float]) -> list[Candidate]:
    return [one.after(steps, value) for one, value in zip(made, values, strict=True)]


class Noting:
    """A trainer that gives what a function says, and keeps whom it was asked to train."""

    def __init__(self, accuracy: Callable[[Candidate, Rung], float | str] = lambda one, rung: one.score) -> None:
        self.accuracy = accuracy
        self.asked: list[tuple[Rung, list[Candidate]]] = []

    def __call__(self, candidates: Sequence[Candidate], rung: Rung) -> list[float | str]:
        self.asked.append((rung, list(candidates)))
        return [self.accuracy(one, rung) for one in candidates]

    @property
    def scores(self) -> dict[str, list[float]]:
        """The scores of whom it trained, rung by rung."""
        return {rung.name: scores_of(chosen) for rung, chosen in self.asked}


def scores_of(chosen: Sequence[Candidate]) -> list[float]:
    return [candidate.score for candidate in chosen]


def test_two_thirds_of_the_short_runs_go_to_the_best_scores() -> None:
    chosen = scores_of(stratified(candidates([float((37 * place) % 100) for place in range(100)]), 12))
    assert chosen[:8] == [99, 98, 97, 96, 95, 94, 93, 92]


def test_the_others_are_spread_evenly() -> None:
    rest = scores_of(stratified(candidates([float(place) for place in range(108)]), 12))[8:]
    gaps = {high - low for high, low in pairwise(rest)}
    assert len(rest) == 4
    assert gaps == {25}
    assert all(score < 100 for score in rest)
    rest = scores_of(stratified(candidates([float(place) for place in range(14)]), 9))[6:]  # 8 others, by 2.67
    assert rest == [7, 5, 2]


@pytest.mark.parametrize(
    ("there", "count"), [(3, 12), (8, 12), (9, 12), (11, 12), (12, 12), (13, 12), (5, 6), (99, 1), (99, 2)]
)
def test_as_many_as_wanted_are_chosen_and_none_twice(there: int, count: int) -> None:
    chosen = scores_of(stratified(candidates([float(place) for place in range(there)]), count))
    assert len(set(chosen)) == len(chosen) == min(there, count)


def test_the_best_are_those_of_the_highest_estimate() -> None:
    made = estimated(candidates([90.0, 10.0, 50.0]), [20.0, 80.0, 60.0])
    assert scores_of(best(made, 2)) == [10, 50]


def test_without_estimates_the_score_decides() -> None:
    assert scores_of(best(candidates([30.0, 10.0, 50.0]), 2)) == [50, 30]


def test_a_short_run_counts_as_much_as_the_estimate() -> None:
    (candidate,) = estimated(candidates([33.0]), [60.0])
    assert promise(candidate.after(75, 90.0)) == (75, 33)


def test_equal_promise_is_settled_by_the_score() -> None:
    made = estimated(candidates([10.0, 20.0]), [50.0, 50.0])
    assert scores_of(best(made, 2)) == [20, 10]


def test_the_best_trained_are_ranked_by_the_runs_of_one_length() -> None:
    runs = ({3: 50.0, 12: 70.0}, {3: 99.0}, {12: 90.0}, {12: 80.0})
    made = [
        replace(one, trained=trained) for one, trained in zip(candidates([10.0, 20.0, 30.0, 40.0]), runs, strict=True)
    ]
    assert scores_of(best_trained(made, 12, 5)) == [30, 40, 10]
    assert scores_of(best_trained(made, 12, 1)) == [30]


def test_equal_accuracies_are_settled_by_score_and_then_size() -> None:
    made = trained_to(candidates([10.0, 20.0, 20.0]), 12, [70.0] * 3)
    ranked = best_trained(made[::-1], 12, 3)
    assert [candidate.costs.params for candidate in ranked] == [1001, 1002, 1000]


def test_where_costs_count_candidates_are_ranked_front_by_front() -> None:
    made = candidates([50.0, 40.0, 60.0, 55.0])  # the later the costlier
    assert scores_of(rank(made, promise)) == [60, 55, 50, 40]
    assert scores_of(rank(made, promise, ("params",))) == [60, 50, 55, 40]
    assert scores_of(best(made, 2, ("params",))) == [60, 50]
    assert scores_of(stratified(made, 3, ("params",)))[:2] == [60, 50]
    assert rank([], promise, ("params",)) == []


def test_the_best_trained_are_ranked_front_by_front_where_costs_count() -> None:
    made = trained_to(candidates([0.0, 0.0, 0.0, 0.0]), 12, [50.0, 40.0, 60.0, 55.0])
    found = best_trained(made, 12, 3, ("params",))
    assert {candidate.trained[12] for candidate in found[:2]} == {60, 50}
    assert found[2].trained[12] in (40, 55)


def test_on_the_front_are_those_that_none_exceeds_without_costing_more() -> None:
    made = trained_to(candidates([0.0, 0.0, 0.0, 0.0]), 12, [50.0, 40.0, 60.0, 60.0])
    assert on_front(made, 12, ("params",)) == [made[0], made[2]]
    assert on_front(made, 12, ()) == [made[2], made[3]]
    assert on_front(made, 12, ("macs",)) == [made[2], made[3]]  # all cost the same of these


def test_fewer_than_three_short_runs_give_no_estimates() -> None:
    left, right, other = candidates([10.0, 20.0, 30.0])
    made = [left.after(75, 50.0), right.after(75, 50.0), other]
    known, trust = estimate(made, 75)
    assert trust is None
    assert known == made
    assert [candidate.estimate for candidate in known] == [None] * 3


def test_all_candidates_get_an_estimate_that_follows_the_short_runs() -> None:
    made = [
        one.after(75, 0.5 * one.score + 20) if place % 2 == 0 else one
        for place, one in enumerate(candidates(range(0, 100, 5)))
    ]
    known, trust = estimate(made, 75)
    assert trust is not None
    assert trust.labels == 10
    estimates = [candidate.estimate for candidate in known]
    assert estimates == sorted(estimates, key=float)
    for candidate in known:
        assert candidate.estimate == pytest.approx(0.5 * candidate.score + 20, abs=4)
    assert [replace(candidate, estimate=None) for candidate in known] == made


def test_runs_of_another_length_are_no_labels() -> None:
    made = [one.after(225, 50.0) for one in candidates([10.0, 20.0, 30.0, 40.0])]
    assert estimate(made, 75) == (made, None)


def test_training_notes_each_accuracy_with_its_steps() -> None:
    made, trainer = candidates([10.0, 20.0, 30.0]), Noting(lambda one, rung: one.score + rung.steps)
    known = train(made, [made[2], made[0]], Rung("some", 5), trainer)
    assert [candidate.trained for candidate in known] == [{5: 15.0}, {}, {5: 35.0}]
    assert trainer.scores == {"some": [30, 10]}
    again = train(known, known[:1], Rung("more", 7), trainer)
    assert [candidate.trained for candidate in again] == [{5: 15.0, 7: 17.0}, {}, {5: 35.0}]


def test_a_trainer_gives_one_accuracy_for_each_candidate() -> None:
    made = candidates([10.0, 20.0])
    with pytest.raises(ValueError, match="shorter"):
        train(made, made, Rung("some", 5), lambda candidates, rung: [50.0])


def test_whose_training_fails_climbs_no_further_and_the_next_takes_its_place() -> None:
    fails = {"calibrate": [99.0], "halve": [95.0, 94.0], "finish": [98.0, 96.0]}

    def accuracy(one: Candidate, rung: Rung) -> float | str:
        return f"no number after {rung.steps}" if one.score in fails[rung.name] else one.score

    trainer = Noting(accuracy)
    chosen = select(candidates([float(place) for place in range(100)]), trainer, SETTINGS)
    asked = [(rung.name, scores_of(given)) for rung, given in trainer.asked]
    assert asked[0][0] == "calibrate"
    assert asked[1:] == [
        ("halve", [98, 97, 96, 95]), ("halve", [94]), ("halve", [93]), ("finish", [98, 97]), ("finish", [96]),
        ("finish", [93]),
    ]  # fmt: skip
    assert scores_of(chosen.picks) == [97, 93]
    assert {one.score: one.failed for one in chosen.candidates if one.failed} == {
        99: "no number after 10", 95: "no number after 30", 94: "no number after 30",
        98: "no number after 120", 96: "no number after 120",
    }  # fmt: skip


def test_a_search_all_of_whose_full_trainings_fail_ends_with_the_reason() -> None:
    trainer = Noting(lambda one, rung: "out of memory" if rung.keep else one.score)
    with pytest.raises(QnasError, match=r"all 4 that got so far failed \(out of memory\)"):
        select(candidates([10.0, 20.0, 30.0, 40.0, 50.0]), trainer, SETTINGS)


def test_three_rungs_of_which_the_last_keeps_the_weights() -> None:
    assert rungs_of(SETTINGS) == (Rung("calibrate", 10), Rung("halve", 30), Rung("finish", 120, keep=True))


def test_each_rung_goes_to_those_that_stood_out_on_the_one_before() -> None:
    trainer = Noting()
    found = candidates([float((37 * place) % 100) for place in range(100)])
    chosen = select(found, trainer, SETTINGS)
    assert [rung for rung, _ in trainer.asked] == list(rungs_of(SETTINGS))
    assert trainer.scores == {
        "calibrate": [99, 98, 97, 96, 95, 47],
        "halve": [99, 98, 97, 96],
        "finish": [99, 98],
    }
    assert scores_of(chosen.picks) == [99, 98]
    by_score = {candidate.score: set(candidate.trained) for candidate in chosen.candidates if candidate.trained}
    assert by_score == {99: {10, 30, 120}, 98: {10, 30, 120}, 97: {10, 30}, 96: {10, 30}, 95: {10}, 47: {10}}


def test_what_a_rung_gives_decides_who_gets_the_next() -> None:
    trainer = Noting(lambda one, rung: one.score if rung.name == "calibrate" else 100 - one.score)
    chosen = select(candidates([float(score) for score in range(50, 70)]), trainer, SETTINGS)
    assert trainer.scores["halve"] == [69, 68, 67, 66]
    assert trainer.scores["finish"] == [66, 67]
    assert scores_of(chosen.picks) == [66, 67]


def test_picks_come_by_their_full_run_best_first() -> None:
    full = {69.0: 80.0, 68.0: 90.0, 67.0: 85.0}
    trainer = Noting(lambda one, rung: full[one.score] if rung.keep else one.score)
    chosen = select(candidates([float(score) for score in range(50, 70)]), trainer, replace(SETTINGS, top=3))
    assert trainer.scores["finish"] == [69, 68, 67]
    assert scores_of(chosen.picks) == [68, 67, 69]
    assert scores_of(chosen.front) == [68]


def test_a_middle_run_goes_to_as_many_as_are_trained_in_full_at_least() -> None:
    trainer = Noting()
    select(candidates([float(score) for score in range(50, 70)]), trainer, replace(SETTINGS, survivors=1, top=5))
    assert {name: len(scores) for name, scores in trainer.scores.items()} == {"calibrate": 6, "finish": 5}


def test_where_all_go_on_to_a_full_run_there_is_no_middle_one() -> None:
    trainer = Noting()
    select(candidates([float(score) for score in range(50, 70)]), trainer, replace(SETTINGS, survivors=2))
    assert set(trainer.scores) == {"calibrate", "finish"}


def test_all_that_were_found_come_back_in_their_order() -> None:
    found = candidates([float((7 * place) % 20) for place in range(20)])
    chosen = select(found, Noting(), SETTINGS)
    assert [candidate.key for candidate in chosen.candidates] == [candidate.key for candidate in found]
    assert all(candidate.estimate is not None for candidate in chosen.candidates)
    assert chosen.trust is not None
    assert chosen.trust.labels == 6
    assert [one for one in chosen.candidates if 120 in one.trained and one not in chosen.picks] == []


@pytest.mark.parametrize("pareto", [(), ("params",)])
def test_a_selection_changes_nothing_and_is_the_same_each_time(pareto: tuple[str, ...]) -> None:
    settings = replace(SETTINGS, pareto=pareto)
    found = candidates([float((7 * place) % 20) for place in range(20)])
    before, first, second = deepcopy(found), Noting(), Noting()
    one, other = (select(found, trainer, settings) for trainer in (first, second))
    assert found == before
    assert all(not candidate.trained and candidate.estimate is None for candidate in found)
    assert (one.candidates, one.picks, one.front) == (other.candidates, other.picks, other.front)
    assert first.asked == second.asked


def test_trainers_see_candidates_as_they_are_known_by_then() -> None:
    trainer = Noting()
    select(candidates([float(score) for score in range(50, 70)]), trainer, SETTINGS)
    seen = [[(sorted(one.trained), one.estimate is None) for one in chosen] for _, chosen in trainer.asked]
    assert seen == [[([], True)] * 6, [([10], False)] * 4, [([10, 30], False)] * 2]


def test_without_enough_labels_scores_and_short_runs_decide() -> None:
    trainer = Noting(lambda one, rung: 100 - one.score)
    chosen = select(candidates([10.0, 20.0, 30.0, 40.0]), trainer, replace(SETTINGS, labels=2, survivors=3, top=1))
    assert chosen.trust is None
    assert trainer.scores == {"calibrate": [40, 30], "halve": [40, 30, 20], "finish": [20]}


def test_fewer_candidates_than_a_rung_takes_are_all_trained() -> None:
    trainer = Noting()
    chosen = select(candidates([10.0, 20.0]), trainer, replace(SETTINGS, top=3))
    assert trainer.scores == {name: [20, 10] for name in ("calibrate", "finish")}
    assert scores_of(chosen.picks) == [20, 10]


def test_where_costs_count_each_rung_goes_front_by_front() -> None:
    made = candidates([50.0, 40.0, 60.0, 55.0])  # the later the costlier
    trainer = Noting()
    chosen = select(made, trainer, replace(SETTINGS, labels=3, survivors=3, pareto=("params",)))
    assert trainer.scores["calibrate"] == [60, 50, 55]
    assert trainer.scores["finish"] == [60, 50]
    assert scores_of(chosen.picks) == [60, 50]
    assert scores_of(chosen.front) == [60, 50]


class ByScore:
    """An outlook that expects a quarter of the score of a short run, and more of a longer one.

    Args:
        surprises: by how much scores have surprised; what one has surprised by is expected of its longer runs, too.
        near: of a score that is no nearer to a known one than this, much more may be hoped.
    """

    def __init__(self, surprises: dict[float, float] | None = None, near: float = 0.0) -> None:
        self.surprises, self.near = surprises or {}, near

    def __call__(self, candidates: Sequence[Candidate], rung: Rung) -> list[float]:
        return [one.score / 4 + rung.steps / 100 + self.surprises.get(one.score, 0.0) for one in candidates]

    def hoped(self, candidates: Sequence[Candidate], rung: Rung) -> list[float]:
        unknown = [all(abs(one.score - score) > self.near for score in self.surprises) for one in candidates]
        return [value + 10 * more for value, more in zip(self(candidates, rung), unknown, strict=True)]

    def after(self, candidates: Sequence[Candidate], rung: Rung, accuracies: Sequence[float]) -> "ByScore":
        expected = self(candidates, rung)
        new = {one.score: was - value for one, was, value in zip(candidates, accuracies, expected, strict=True)}
        return ByScore({**self.surprises, **new}, self.near)

    def after_own(self, candidates: Sequence[Candidate], rung: Rung, accuracies: Sequence[float]) -> "ByScore":
        return self.after(candidates, rung, accuracies)


def test_where_time_is_given_short_runs_go_in_turn_to_what_is_expected_and_hoped() -> None:
    trainer, made, outlook = Noting(lambda one, rung: 50.0), candidates(range(40, 60)), ByScore(near=2.0)
    timed = replace(SETTINGS, labels=5, survivors=2, top=2)
    chosen = select(made, trainer, timed, outlook)
    assert trainer.scores["calibrate"] == [59, 56, 58, 53, 57]
    assert chosen.trust is not None
    expected = [one / 4 + 0.1 for one in (53, 56, 57, 58, 59)]
    assert chosen.trust == Trust.of(expected, [50.0] * 5, [1013, 1016, 1017, 1018, 1019])
    untrained = [one for one in chosen.candidates if not one.trained]
    assert [one.estimate for one in untrained] == outlook(untrained, rungs_of(timed)[-1])


def test_every_second_short_run_is_far_from_all_before_it() -> None:
    made, (*_, full) = candidates(range(40, 60)), rungs_of(SETTINGS)
    assert scores_of(hopefuls(made, 6, full, ByScore(near=2.0))) == [59, 56, 58, 53, 57, 50]
    assert len(hopefuls(made, 99, full, ByScore(near=2.0))) == len(made)
    costly = hopefuls(made, 2, full, ByScore(), ("params",))  # the later the costlier: all are on the front
    assert scores_of(costly) == [59, 40]


def test_a_short_run_mends_what_is_expected_of_a_full_one() -> None:
    short, _, full = rungs_of(SETTINGS)
    *made, other = estimated(candidates([80, 60, 70]), [70] * 3)
    made = trained_to(made, short.steps, [20.0, 40.0])
    (worse, better, unknown), trust = mended([*made, other], short, full, ByScore())
    assert trust is None  # of two short runs
    surprises = [one - 0.1 - score / 4 for one, score in ((20.0, 80), (40.0, 60))]
    expected = [score / 4 + full.steps / 100 + more for score, more in zip((80, 60), surprises, strict=True)]
    assert [worse.estimate, better.estimate] == pytest.approx(expected)
    assert unknown.estimate == pytest.approx(70 / 4 + full.steps / 100)
    assert mended([unknown], short, full, ByScore()) == ([unknown], None)


class Shifting(ByScore):
    """Expects of all by how much the known ones have surprised it on average."""

    def after(self, candidates: Sequence[Candidate], rung: Rung, accuracies: Sequence[float]) -> "Shifting":
        mean = fmean(was - value for was, value in zip(accuracies, self(candidates, rung), strict=True))
        return Shifting({one / 4: mean for one in range(400)})


def test_every_short_run_is_expected_by_an_outlook_that_knows_the_others() -> None:
    short, _, full = rungs_of(SETTINGS)
    made = candidates(range(40, 48))
    reached = [one.score / 4 + short.steps / 100 - 20 for one in made]
    _, trust = mended(trained_to(made, short.steps, reached), short, full, Shifting())
    assert trust is not None
    assert trust.error == pytest.approx(0)
    _, trust = mended(trained_to(made, short.steps, [*reached[:-1], reached[-1] + 8]), short, full, Shifting())
    assert trust is not None
    assert trust.error == pytest.approx((7 * 8 / 7 + 8) / 8)
    few = trained_to(made[:FEWEST_LABELS], short.steps, reached[:FEWEST_LABELS])
    assert mended(few, short, full, Shifting())[1] is not None
    assert mended([*few[1:], *made[FEWEST_LABELS:]], short, full, Shifting())[1] is None


def test_full_runs_may_turn_out_longer_than_planned() -> None:
    """Who was to train in full is told to what decides; what is expected is of the length that was decided."""
    trainer, made, asked = Noting(), candidates(range(40, 60)), list[tuple[Rung, Rung, list[float]]]()

    def lengthen(short: Rung, full: Rung, chosen: Sequence[Candidate]) -> Rung:
        asked.append((short, full, scores_of(chosen)))
        return replace(full, steps=200)

    timed = replace(SETTINGS, labels=5, survivors=2, top=2)
    chosen = select(made, trainer, timed, ByScore(), lengthen)
    short, _, full = rungs_of(timed)
    assert asked == [(short, full, trainer.scores["finish"])]
    assert trainer.asked[-1][0] == replace(full, steps=200)
    assert [sorted(one.trained) for one in chosen.picks] == [[10, 200]] * 2
    untrained = [one for one in chosen.candidates if not one.trained]
    assert [one.estimate for one in untrained] == ByScore()(untrained, replace(full, steps=200))


def test_short_runs_that_surprise_decide_who_trains_in_full() -> None:
    trainer = Noting(lambda one, rung: 100 - one.score)
    select(candidates(range(40, 60)), trainer, replace(SETTINGS, labels=5, survivors=2, top=2), ByScore())
    assert trainer.scores["finish"] == [55, 56]
