"""The screen with made scores: what it counts, what it spends, and how many images a network may miss."""

from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pytest
import torch
from optuna.distributions import CategoricalDistribution

from qnas.errors import QnasError
from qnas.nas.candidate import Candidate
from qnas.nas.leaders import MOST, Leaders
from qnas.nas.limits import Limits
from qnas.nas.proposer import Answer
from qnas.nas.screen import BATCH, REPEATED, Screen
from qnas.nas.settings import SearchSettings
from qnas.network.build import build_plan
from qnas.network.costs import Costs, costs
from qnas.network.plan import Plan
from qnas.quant.scheme import Bits
from qnas.scores.predicted import Score
from qnas.scores.race import Outcome
from qnas.space.cells import Branch
from qnas.space.genes import decode, gene_choices, places_of
from qnas.space.genotype import Genotype
from qnas.space.space import find_space
from qnas.training.price import price
from qnas.work.queue import Directions, StudyAddress, WorkQueue, payload_of

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

    def __init__(self, genes: list[Genes]) -> None:
        self.genes, self.told, self.proposed = genes, 0, 0
        self.outcomes: list[tuple[list[float], float]] = []
        self.recalled: list[Answer] = []

    def propose(self, count: int) -> list[Genes]:
        self.proposed += count
        return [self.genes[number % len(self.genes)] for number in range(self.told, self.told + count)]

    def tell(self, outcomes: list[tuple[list[float], float]]) -> None:
        self.outcomes += outcomes
        self.told += len(outcomes)

    def recall(self, answers: Sequence[Answer]) -> None:
        self.recalled += answers
        self.told += len(answers)


def scored_at(top1: float) -> Score:
    """A score whose loss and margin go with its accuracy."""
    return Score(top1, 3 - top1 / 40, top1 / 50 - 1)


class Counting:
    """A scorer that keeps what it was asked; a network's score is its number of nodes."""

    images = 200

    def __init__(self) -> None:
        self.asked: list[tuple[Plan, float]] = []

    def __call__(self, plan: Plan, most_missed: float) -> Outcome:
        self.asked.append((plan, most_missed))
        return Outcome(scored_at(float(len(plan.nodes))), 7, True)


class Here(NamedTuple):
    """Where the screens of a test are, and what scores for all of them."""

    journal: Path
    scorer: Counting

    @property
    def scored(self) -> list[tuple[Plan, float]]:
        return self.scorer.asked

    def queue(self, directions: Directions = ("maximize",)) -> WorkQueue:
        return WorkQueue(StudyAddress(str(self.journal), "screen", "me"), directions)

    def screen(self, proposer: Listed, trials: int, limits: Limits = LIMITS, **more: Any) -> Screen:
        settings = SearchSettings(BITS, limits, trials=trials, **more)
        return Screen(self.scorer, proposer, self.queue(settings.directions), costs, settings, SPACE)


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path / "journal", Counting())


def silent() -> None:
    """Look at nothing."""


def genotype_of(genes: Genes) -> Genotype:
    return decode(SPACE, genes, BITS)


def spent_by(genes: Genes) -> Costs:
    return costs(build_plan(genotype_of(genes), SPACE.task))


def keeps(genes: Genes) -> bool:
    return spent_by(genes).params <= 12_000


def keepers(count: int) -> list[Genes]:
    """Genes of different networks within the budget."""
    found = {genotype_of(genes).key: genes for genes in random_genes(300) if keeps(genes)}
    return list(found.values())[:count]


def keys(found: list[Candidate]) -> list[str]:
    return [candidate.key for candidate in found]


def test_only_new_networks_within_the_budget_count(here: Here) -> None:
    proposer = Listed(random_genes(200))
    found = here.screen(proposer, 8).run(silent)
    assert len(found) == 8 == len(set(keys(found)))
    assert proposer.told > 8
    for candidate in found:
        spent = costs(build_plan(candidate.genotype, SPACE.task))
        assert candidate.costs == spent
        assert spent.params <= 12_000


def test_candidates_come_in_the_order_they_were_proposed(here: Here) -> None:
    genes = random_genes(200)
    found = here.screen(Listed(genes), 8).run(silent)
    expected = list(dict.fromkeys(genotype_of(choice).key for choice in genes if keeps(choice)))
    assert keys(found) == expected[:8]


def test_networks_beyond_the_budget_are_not_scored(here: Here) -> None:
    genes = random_genes(200)
    proposer = Listed(genes)
    here.screen(proposer, 8).run(silent)
    assert len(here.scored) == 8
    for choice, ((score,), excess) in zip(genes, proposer.outcomes, strict=False):
        assert (excess > 0) == (not keeps(choice))
        assert (score == 0) == (excess > 0)


def test_a_repeated_network_is_answered_without_scoring(here: Here) -> None:
    one, two, three = keepers(3)
    proposer = Listed([one, two, one, one, three])  # batches of 3, 1, and 1 again
    found = here.screen(proposer, 3).run(silent)
    assert keys(found) == [genotype_of(genes).key for genes in (one, two, three)]
    assert [value for ((value,), _) in proposer.outcomes[2:4]] == [proposer.outcomes[0][0][0]] * 2
    assert proposer.outcomes[0][0] == [float(len(build_plan(genotype_of(one), SPACE.task).nodes))]
    assert len(here.scored) == 4  # twice where its two proposals did not wait for one another


def test_genes_of_the_same_network_are_repetitions(here: Here) -> None:
    genes: Genes = {name: choices[0] for name, choices in gene_choices(SPACE).items()} | {"steps": 1, "channels": 8}
    left, right = {"state": 1, "": "sep_conv 3"}, {"state": 0, "": "max_pool 3"}
    orders = [
        genes | {f"{cell}0_{side}{'_' * bool(end)}{end}": value for cell in ("normal", "reduction")
                 for side, branch in zip(("left", "right"), order, strict=True) for end, value in branch.items()}
        for order in ((left, right), (right, left))
    ]  # fmt: skip
    assert orders[0] != orders[1]
    assert len(here.screen(Listed([orders[0], orders[0], orders[1]]), 2, Limits()).run(silent)) == 1
    assert len(here.scored) == 2  # both of the first batch, and none after


def test_proposals_run_out_where_no_network_keeps_all_budgets(here: Here) -> None:
    with pytest.raises(QnasError, match=r"None of 100 proposals \(5 different networks\) keeps all .*params=1"):
        here.screen(Listed(random_genes(5)), 2, Limits(params=1)).run(silent)
    assert here.scored == []


def test_a_small_space_ends_the_screen_with_fewer_networks(here: Here) -> None:
    assert len(here.screen(Listed(keepers(3)), 4).run(silent)) == 3


def test_a_screen_ends_when_only_known_networks_are_proposed(here: Here) -> None:
    proposer = Listed(keepers(3))
    assert len(here.screen(proposer, 400).run(silent)) == 3
    assert REPEATED <= proposer.told <= REPEATED + 2 * BATCH


def test_known_answers_are_taken_over_without_scoring(here: Here) -> None:
    genes = random_genes(200)
    first = here.screen(before := Listed(genes), 8).run(silent)
    told = before.outcomes
    here.scored.clear()
    proposer = Listed(genes)
    again = here.screen(proposer, 8).run(silent)
    assert [candidate.to_json() for candidate in again] == [candidate.to_json() for candidate in first]
    assert [one.predicted for one in again] == [one.predicted for one in first]
    assert here.scored == []
    assert (proposer.proposed, proposer.outcomes) == (0, [])
    assert len(proposer.recalled) == proposer.told
    assert [one.genes for one in proposer.recalled] == genes[: proposer.told]
    assert [(one.values, one.excess) for one in proposer.recalled] == told


def test_whoever_watches_a_screen_is_told_the_best_scores(here: Here) -> None:
    told: list[list[dict[str, Any]]] = []
    screen = here.screen(Listed(keepers(8)), 8)
    leaders = Leaders(told.append, screen.settings, SPACE)
    found = screen.run(lambda: leaders.look(screen.queue))
    best = sorted((one.score for one in found), reverse=True)
    assert [row["score"] for row in told[-1]] == best[:MOST]
    assert (leaders.scored, leaders.best) == (8, best[0])
    spent = {one.key: one.costs.params for one in found}
    assert all(row["params"] == spent[row["key"]] for row in told[-1])


def test_a_screen_that_was_broken_off_within_a_batch_scores_only_the_rest(here: Here) -> None:
    genes = keepers(6)

    def stop() -> None:
        if len(here.scored) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        here.screen(Listed(genes), 6).run(stop)
    proposer = Listed(genes)
    assert keys(here.screen(proposer, 6).run(silent)) == [genotype_of(one).key for one in genes]
    assert len(here.scored) == 6
    assert (proposer.proposed, proposer.recalled) == (6, [])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(MemoryError(), "out of memory"), (float("nan"), "its score is no number")],
    ids=["memory", "nan"],
)
def test_a_network_whose_scoring_fails_is_none_of_those_found(here: Here, bad: Exception | float, reason: str) -> None:
    genes = keepers(5)
    failing = build_plan(genotype_of(genes[1]), SPACE.task).nodes

    class Failing(Counting):
        def __call__(self, plan: Plan, most_missed: float) -> Outcome:
            if plan.nodes != failing:
                return super().__call__(plan, most_missed)
            if isinstance(bad, Exception):
                raise bad
            return Outcome(Score(50.0, bad, bad), 200, True)

    there = here._replace(scorer=Failing())
    others = [genotype_of(genes[place]).key for place in (0, 2, 3, 4)]
    assert keys(there.screen(Listed(genes), 4).run(silent)) == others
    assert payload_of(there.queue().done["1"])["failed"] == reason
    assert keys(here.screen(Listed(genes), 4).run(silent)) == others  # as the journal has it
    assert here.scored == []


def test_ten_networks_in_a_row_whose_scoring_fails_stop_the_screen(here: Here) -> None:
    class Failing(Counting):
        def __call__(self, plan: Plan, most_missed: float) -> Outcome:
            raise MemoryError

    genes = keepers(15)
    with pytest.raises(QnasError, match="10 networks in a row did"):
        here._replace(scorer=Failing()).screen(Listed(genes), 15).run(silent)
    assert here.screen(Listed([*genes, *random_genes(200)]), 3, LIMITS).run(silent)  # others, once there is memory


def test_an_answer_to_another_proposal_than_the_screens_own_is_refused(here: Here) -> None:
    """As of a host whose processor adds up in another order, so that its proposals are others."""
    first, second, third = keepers(3)
    queue = here.queue()
    choices = gene_choices(SPACE)
    claimed = queue.claim("0", constraints={"budget": -0.5})
    assert claimed is not None
    queue.finish(claimed, [50.0], genes=places_of(choices, third), score=[50.0, 1.0, 0.0], images=9, latency=0.0)
    with pytest.raises(QnasError, match="propose the same networks, but of proposal 0 another one was scored"):
        here.screen(Listed([first, second]), 2).run(silent)


def test_the_limits_of_the_space_count_too(here: Here) -> None:
    found = here.screen(Listed(random_genes(300)), 10, Limits()).run(silent)
    assert all(candidate.costs.params <= SPACE.max_params for candidate in found)
    assert all(candidate.costs.macs <= SPACE.max_macs for candidate in found)


def test_two_screens_on_one_queue_find_what_one_alone_finds(here: Here, tmp_path: Path) -> None:
    genes, found = random_genes(60), {}

    def work(name: str) -> None:
        found[name] = screens[name].run(silent)

    alone = here.screen(Listed(genes), 25, Limits()).run(silent)
    here.scored.clear()
    other = here._replace(journal=tmp_path / "other")
    screens = {name: other.screen(Listed(genes), 25, Limits()) for name in ("left", "right")}
    threads = [Thread(target=work, args=[name]) for name in screens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in screens:
        assert [one.to_json() for one in found[name]] == [one.to_json() for one in alone]
    assert len(here.scored) == 25  # each network by one of the two


def test_costs_that_count_are_told_beside_the_score(here: Here) -> None:
    genes = keepers(3)
    proposer = Listed(genes)
    here.screen(proposer, 3, pareto=("params", "macs")).run(silent)
    for choice, (values, _) in zip(genes, proposer.outcomes, strict=True):
        assert values[1:] == [spent_by(choice).params, spent_by(choice).macs]


def test_all_may_be_missed_while_too_few_are_found(here: Here) -> None:
    here.screen(Listed(random_genes(60)), 24, Limits(), labels=4, survivors=4).run(silent)
    cuts = [cut for _, cut in here.scored]
    assert cuts[:8] == [float("inf")] * 8
    assert 0 < cuts[-1] < float("inf")


def with_found(here: Here, scores: list[float], **more: Any) -> Screen:
    """A screen that has found networks of these scores, the later the costlier."""
    screen = here.screen(Listed([]), 99, labels=2, survivors=1, **more)
    for candidate in candidates(scores):
        screen.add(candidate)
    return screen


def test_as_many_may_be_missed_as_the_last_network_that_later_stages_look_at_missed(here: Here) -> None:
    total = here.scorer.images
    scores = [100 * (1 - missed / total) for missed in (40, 10, 30, 20)]
    assert with_found(here, scores[:2]).most_missed(Costs(0, 0, 0, 0)) == float("inf")
    assert with_found(here, scores[:3]).most_missed(Costs(0, 0, 0, 0)) == 40
    assert with_found(here, scores).most_missed(Costs(0, 0, 0, 0)) == 30


def test_where_time_is_given_no_score_is_cut_short(here: Here) -> None:
    """An outlook may try a network of a low score."""
    assert with_found(here, [90.0, 80.0, 70.0, 60.0], minutes=5.0).most_missed(Costs(0, 0, 0, 0)) == float("inf")


def test_where_costs_count_only_networks_that_cost_no_more_are_rivals(here: Here) -> None:
    total = here.scorer.images
    scores = [100 * (1 - missed / total) for missed in (40, 10, 30, 20, 25)]
    screen = with_found(here, scores, pareto=("params", "macs"))
    found = {params: screen.most_missed(Costs(params, 10_000, 0, 0)) for params in (1001, 1002, 1003, 1004, 9999)}
    assert found == {1001: float("inf"), 1002: 40, 1003: 30, 1004: 25, 9999: 25}
    assert screen.most_missed(Costs(9999, 9_999, 0, 0)) == float("inf")


def test_an_answer_holds_what_candidates_are_ranked_by_and_on_how_many_images(here: Here) -> None:
    genes = keepers(3)
    found = here.screen(Listed(genes), 3).run(silent)
    answers = here.queue().done
    assert len(answers) == 3
    for place, candidate in enumerate(found):
        payload = payload_of(answers[str(place)])
        places = places_of(gene_choices(SPACE), genes[place])
        assert payload == {"score": [*candidate.predicted[:3]], "images": 7, "latency": 0.0, "genes": places}


def test_answers_of_earlier_versions_have_their_genes_as_parameters(here: Here) -> None:
    genes, queue = keepers(3), here.queue()
    space = {name: CategoricalDistribution(values) for name, values in gene_choices(SPACE).items()}
    for number, one in enumerate(genes):
        claimed = queue.claim(str(number), params=one, distributions=space, constraints={"budget": -0.5})
        assert claimed is not None
        queue.finish(claimed, [50.0], score=[50.0, 1.0, 1.0], images=7, latency=0.0)
    assert keys(here.screen(Listed([]), 3).run(silent)) == [genotype_of(one).key for one in genes]
    assert here.scored == []


def test_candidates_know_their_features(here: Here) -> None:
    genes = keepers(2)
    for candidate in here.screen(Listed(genes), 2).run(silent):
        plan = build_plan(candidate.genotype, SPACE.task)
        assert candidate == Candidate.of(candidate.genotype, plan, costs(plan), candidate.predicted)
        assert candidate.price == 0


def test_where_time_counts_candidates_know_the_price_of_their_training(here: Here) -> None:
    (candidate,) = here.screen(Listed(keepers(1)), 1, usual_price=100.0).run(silent)
    assert candidate.price == price(build_plan(candidate.genotype, SPACE.task), SearchSettings(BITS).recipe.batch) > 0


def candidates(scores: list[float]) -> list[Candidate]:
    """Candidates of these scores, each another network, sized by their place."""
    step = ((Branch(0, "conv", 3), Branch(1, "skip", 1)),)
    genotypes = [Genotype(3, 1, place + 1, 2, True, (), step, BITS) for place in range(len(scores))]
    made = [Costs(1000 + place, 10_000, 100, 100) for place in range(len(scores))]
    return [Candidate(*one, scored_at(score)) for *one, score in zip(genotypes, made, scores, strict=True)]
