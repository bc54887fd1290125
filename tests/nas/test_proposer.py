"""Batches of proposals of a study that is taken up again, at any point, held against those of an unbroken one."""

from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from qnas.errors import QnasError
from qnas.nas.budgets import nearest
from qnas.nas.limits import Limits
from qnas.nas.proposer import BUDGET, Answer, Look, Networks, Proposer
from qnas.nas.samplers import SAMPLERS
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.quant.scheme import Bits
from qnas.space.genes import decode, encode, gene_choices, genes_at, places_of
from qnas.space.space import SearchSpace, find_space
from qnas.work.queue import Directions, StudyAddress, WorkQueue, payload_of

CHOICES: dict[str, tuple[Any, ...]] = {
    "a": (1, 2, 3),
    "b": ("conv 3", "skip 1"),
    "c": (True, False),
    "d": (8, 16, 24, 32),
    "e": (0, 1),
    "f": (0, 1, 2, 3),
    "g": (7,),
}
EVERY = pytest.mark.parametrize("sampler", SAMPLERS)
SIZES = [20, 7, 20, 13, 10, 4]  # into the fourth generation of NSGA-II, whose population is 20
TRIALS = sum(SIZES)
TWO: Directions = ("maximize", "minimize")
Genes = dict[str, Any]


def fresh(sampler: str, seed: int = 0, directions: Directions = ("maximize",)) -> Proposer:
    return Proposer(sampler, seed, CHOICES, directions)


def answer(genes: Genes, objectives: int = 1) -> tuple[list[float], float]:
    """Something to climb, its cost, and a budget that a third of the genes exceed."""
    value = 10 * genes["a"] + genes["d"] * genes["e"] + (5 if genes["b"] == "skip 1" else 0) + genes["c"] + genes["f"]
    return [float(value), float(genes["d"])][:objectives], (genes["d"] * genes["a"] - 48) / 48


def go_on(proposer: Proposer, sizes: list[int]) -> list[Genes]:
    """Genes of some more batches."""
    seen, objectives = [], len(proposer.study.directions)
    for size in sizes:
        batch = proposer.propose(size)
        proposer.tell([answer(genes, objectives) for genes in batch])
        seen += batch
    return seen


class Kept(NamedTuple):
    """What a sampler proposes when nothing happens, and where the answers are."""

    genes: list[Genes]
    journal: Path
    directions: Directions

    def queue(self) -> WorkQueue:
        return WorkQueue(StudyAddress(str(self.journal), "study", "anyone"), self.directions)


def keep(proposer: Proposer, journal: Path, directions: Directions) -> Kept:
    kept, number = Kept([], journal, directions), 0
    queue = kept.queue()
    for size in SIZES:
        batch = proposer.propose(size)
        for genes in batch:
            values, excess = answer(genes, len(directions))
            claimed = queue.claim(str(number), constraints={BUDGET: excess})
            assert claimed is not None
            queue.finish(claimed, values, genes=places_of(CHOICES, genes))
            number += 1
        proposer.tell([answer(genes, len(directions)) for genes in batch])
        kept.genes.extend(batch)
    return kept


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kept]:
    folder = tmp_path_factory.mktemp("studies")
    return {name: keep(fresh(name), folder / name, ("maximize",)) for name in SAMPLERS}


@pytest.fixture(scope="module")
def unbroken_pareto(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kept]:
    folder = tmp_path_factory.mktemp("studies")
    return {name: keep(fresh(name, directions=TWO), folder / name, TWO) for name in SAMPLERS}


def answers(queue: WorkQueue, numbers: range) -> list[Answer]:
    """What a queue has of some proposals."""
    done = [queue.done[str(number)] for number in numbers]
    genes = [genes_at(CHOICES, payload_of(one)["genes"]) for one in done]
    return [Answer(some, one.values, one.constraints[BUDGET]) for some, one in zip(genes, done, strict=True)]


def recalled(kept: Kept, sampler: str, batches: int) -> Proposer:
    """A proposer that is told from the journal what the first batches gave."""
    proposer, queue = fresh(sampler, directions=kept.directions), kept.queue()
    for size in SIZES[:batches]:
        proposer.recall(answers(queue, range(proposer.told, proposer.told + size)))
    return proposer


@EVERY
def test_proposals_have_every_gene(unbroken: dict[str, Kept], sampler: str) -> None:
    assert len(unbroken[sampler].genes) == TRIALS
    for genes in unbroken[sampler].genes:
        assert genes.keys() == CHOICES.keys()
        assert all(genes[name] in choices for name, choices in CHOICES.items())


@EVERY
def test_proposals_differ_from_one_another_and_between_seeds(unbroken: dict[str, Kept], sampler: str) -> None:
    first = unbroken[sampler].genes[:20]
    assert len({tuple(genes.values()) for genes in first}) > 12
    assert go_on(fresh(sampler, seed=1), [20]) != first


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "evolution"])
def test_samplers_that_learn_climb(sampler: str) -> None:
    runs = [go_on(fresh(sampler, seed), [10] * 8) for seed in range(3)]
    values = [[value if excess <= 0 else 0 for (value,), excess in map(answer, run)] for run in runs]
    assert sum(sum(one[-20:]) for one in values) > 1.25 * sum(sum(one[:20]) for one in values)


@EVERY
def test_what_is_proposed_depends_on_the_batches_before_alone(unbroken: dict[str, Kept], sampler: str) -> None:
    one, other = fresh(sampler), fresh(sampler)
    go_on(fresh(sampler, seed=5), [20, 20])  # somebody else's
    assert go_on(one, SIZES) == unbroken[sampler].genes
    for size in SIZES:
        batch = other.propose(size)
        outcomes = {place: answer(batch[place]) for place in reversed(range(size))}  # answered in any order
        other.tell([outcomes[place] for place in range(size)])
    assert [trial.params for trial in other.study.trials] == unbroken[sampler].genes


@EVERY
def test_later_proposals_depend_on_what_was_told(unbroken: dict[str, Kept], sampler: str) -> None:
    proposer = fresh(sampler)
    for size in SIZES:
        proposer.tell([([-value for value in answer(genes)[0]], 0.0) for genes in proposer.propose(size)])
    found = [trial.params for trial in proposer.study.trials]
    assert found[:20] == unbroken[sampler].genes[:20]
    assert (found == unbroken[sampler].genes) == (sampler in ("random", "expected"))


@EVERY
@pytest.mark.parametrize("batches", [1, 2, 3, 5])
def test_a_proposer_that_recalls_goes_on_as_if_unbroken(unbroken: dict[str, Kept], sampler: str, batches: int) -> None:
    proposer = recalled(unbroken[sampler], sampler, batches)
    assert proposer.told == sum(SIZES[:batches])
    assert go_on(proposer, SIZES[batches:]) == unbroken[sampler].genes[sum(SIZES[:batches]) :]


@EVERY
@pytest.mark.parametrize("batches", [2, 4])
def test_with_two_objectives_a_proposer_that_recalls_goes_on_as_if_unbroken(
    unbroken_pareto: dict[str, Kept], sampler: str, batches: int
) -> None:
    proposer = recalled(unbroken_pareto[sampler], sampler, batches)
    assert go_on(proposer, SIZES[batches:]) == unbroken_pareto[sampler].genes[sum(SIZES[:batches]) :]


@EVERY
def test_batches_may_be_answered_and_recalled_by_turns(unbroken: dict[str, Kept], sampler: str) -> None:
    proposer, queue = fresh(sampler), unbroken[sampler].queue()
    found = []
    for place, size in enumerate(SIZES):
        numbers = range(proposer.told, proposer.told + size)
        if place % 2:
            proposer.recall(answers(queue, numbers))
            found += unbroken[sampler].genes[numbers.start : numbers.stop]
        else:
            found += go_on(proposer, [size])
    assert found == unbroken[sampler].genes


@pytest.mark.parametrize("directions", [("maximize",), TWO])
def test_what_is_recalled_is_what_was_told(tmp_path: Path, directions: Directions) -> None:
    proposer = fresh("nsga2", directions=directions)
    kept = keep(proposer, tmp_path / "journal", directions)
    again = recalled(kept, "nsga2", len(SIZES))
    for one, other in zip(proposer.study.trials, again.study.trials, strict=True):
        assert (one.params, one.values, one.constraints) == (other.params, other.values, other.constraints)
        assert one.constraints.keys() == {BUDGET}
        assert one.system_attrs == other.system_attrs


def test_infeasible_proposals_are_not_the_best() -> None:
    proposer = fresh("random")
    told = [answer(genes) for genes in go_on(proposer, [30])]
    assert proposer.study.best_value == max(values[0] for values, excess in told if excess <= 0)
    assert proposer.study.best_value < max(values[0] for values, _ in told)


def test_as_many_outcomes_are_told_as_were_proposed() -> None:
    proposer = fresh("random")
    proposer.propose(2)
    with pytest.raises(ValueError, match="shorter"):
        proposer.tell([([1.0], 0.0)])


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(QnasError, match="No sampler is called 'bayes'"):
        fresh("bayes")


def look(genes: Genes) -> Look:
    """What is known of genes, of which a third exceeds the budget, as ``answer`` has it; one changes nothing."""
    return Look(genes, str({name: choice for name, choice in genes.items() if name != "e"}), answer(genes)[1])


def knowing(sampler: str) -> Proposer:
    small = {"a": 1, "b": "skip 1", "c": True, "d": 8, "e": 0, "f": 0, "g": 7}
    return Proposer(sampler, 0, CHOICES, networks=Networks(look, lambda: small))


@EVERY
def test_who_knows_networks_proposes_new_ones_within_the_budgets(sampler: str) -> None:
    looked_at = [look(genes) for genes in go_on(knowing(sampler), SIZES)]
    assert max(one.excess for one in looked_at) <= 0
    assert (
        len({one.key for one in looked_at}) == TRIALS > len({look(genes).key for genes in go_on(fresh(sampler), SIZES)})
    )


@EVERY
def test_where_no_new_network_is_left_old_ones_are_proposed(sampler: str) -> None:
    small = {name: choices[0] for name, choices in CHOICES.items()}
    proposer = Proposer(sampler, 0, CHOICES, networks=Networks(lambda some: Look(some, "the one", 0.0), lambda: small))
    assert len(go_on(proposer, [20, 20])) == 40


@EVERY
@pytest.mark.parametrize("batches", [1, 3])
def test_who_knows_networks_recalls_them(sampler: str, batches: int) -> None:
    unbroken, again = go_on(knowing(sampler), SIZES), knowing(sampler)
    for start, size in zip(accumulate(SIZES, initial=0), SIZES[:batches], strict=False):
        again.recall([Answer(genes, *answer(genes)) for genes in unbroken[start : start + size]])
    assert go_on(again, SIZES[batches:]) == unbroken[sum(SIZES[:batches]) :]


@EVERY
def test_where_next_to_nothing_keeps_the_budgets_proposals_are_led_to_them(sampler: str) -> None:
    def excess(genes: Genes) -> float:
        return abs(genes["d"] - 24) / 8 + genes["a"] - 1 + (genes["b"] == "conv 3") + genes["f"]  # 4 of 384 keep them

    small = {"a": 1, "b": "skip 1", "c": True, "d": 24, "e": 0, "f": 0, "g": 7}
    looked: list[Genes] = []

    def found() -> Genes:
        looked.append(small)
        return small

    networks = Networks(lambda genes: Look(genes, str(genes), excess(genes)), found)
    proposals = Proposer(sampler, 0, CHOICES, networks=networks).propose(20)
    assert [excess(genes) for genes in proposals] == [0] * 20
    assert {tuple(genes.values()) for genes in proposals} > {tuple(small.values())}
    assert looked == [small]  # once


def networks_of(space: SearchSpace, limits: Limits) -> Networks:
    """As a search has them."""

    def look(genes: Genes) -> Look:
        genotype = decode(space, genes, Bits(4, 4))
        return Look(genes, genotype.key, limits.excess(costs(build_plan(genotype, space.task))))

    return Networks(look, lambda: encode(space, nearest(space, limits, Bits(4, 4))))


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("tiny", Limits(params=2_950, macs=33_000)),  # of 1,000 random networks of this seed none keeps both
        ("fashion", Limits(weight_bytes=2_100, activation_bytes=2_450)),
        ("mobile-small", Limits(params=3_060, macs=170_000)),
    ],
)
def test_budgets_that_few_networks_keep_together_are_kept(name: str, limits: Limits) -> None:
    space = find_space(name)
    networks, choices = networks_of(space, limits), gene_choices(space)
    at_random = map(networks.look, Proposer("random", 518, choices).propose(50))
    assert min(look.excess for look in at_random) > 0
    found = [networks.look(genes) for genes in Proposer("random", 518, choices, networks=networks).propose(20)]
    assert max(look.excess for look in found) <= 0
    assert len({look.key for look in found}) > 1
