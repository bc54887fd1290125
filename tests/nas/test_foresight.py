"""Foresight with an outlook that counts parameters: what is expected by a rung, and which genes are chosen."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from qnas.nas.candidate import Candidate
from qnas.nas.foresight import Foresight
from qnas.nas.limits import Limits
from qnas.nas.rungs import rungs_of
from qnas.nas.settings import SearchSettings
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.quant.scheme import Bits
from qnas.scores.outlook import inputs, worth
from qnas.scores.predicted import Score
from qnas.scores.surrogate import Floats
from qnas.space.genes import decode, gene_choices
from qnas.space.space import find_space
from qnas.training.price import price
from qnas.training.recipe import Recipe

BITS, SPACE = Bits(4, 4), find_space("fashion")
SETTINGS = SearchSettings(BITS, minutes=1, usual_price=1000.0, recipe=Recipe(steps=1200))
GENES: list[dict[str, Any]] = [
    {name: rng.choice(choices) for name, choices in gene_choices(SPACE).items()} for rng in map(Random, range(12))
]
PLAN = build_plan(decode(SPACE, GENES[0], BITS), SPACE.task)


PARAMS, MACS = 2, 3
"""Where inputs have them."""


class First:
    """An outlook that gives one of the inputs as it is."""

    def __init__(self, place: int, strange: bool = False) -> None:
        self.place, self.strange = place, strange

    def expected(self, rows: Floats) -> list[float]:
        values: list[float] = rows[:, self.place].tolist()
        return values

    def hoped(self, rows: Floats) -> list[float]:
        return [2 * value for value in self.expected(rows)]

    def imagined(self, rows: Floats, seed: int) -> list[float]:
        return rows[:, PARAMS + seed - 1].tolist()

    def used_to(self, rows: Floats) -> "First":
        return self

    def after(self, rows: Floats, accuracies: Sequence[float]) -> "First":
        assert rows.shape == (len(accuracies), len(inputs(PLAN, 1)) + 1)
        return First(self.place + 1)

    def after_own(self, rows: Floats, accuracies: Sequence[float]) -> "First":
        return First(self.after(rows, accuracies).place + 1)


def foresight(place: int, **changes: Any) -> Foresight:
    return Foresight(First(place), replace(SETTINGS, **changes), SPACE, 10**9)  # type: ignore[arg-type]


def parameters(genes: dict[str, Any]) -> int:
    return costs(build_plan(decode(SPACE, genes, BITS), SPACE.task)).params


def candidate() -> Candidate:
    genotype = decode(SPACE, GENES[0], BITS)
    return Candidate.of(genotype, PLAN, costs(PLAN), Score(50.0, 1.0, 0.0))


def test_images_that_repeat_count_less() -> None:
    full = rungs_of(SETTINGS)[-1]
    few, many = (
        replace(foresight(0), distinct=distinct, read={})([candidate()], full)[0] for distinct in (1_000, 10**9)
    )
    seen = many**-2
    assert few**-2 == pytest.approx(worth(seen, 1_000))
    assert few**-2 < seen


def test_what_is_expected_counts_the_images_that_a_network_sees_in_its_time() -> None:
    short, _, full = rungs_of(SETTINGS)
    few, many = (foresight(0)([candidate()], rung)[0] for rung in (short, full))
    seen = 64 * round(1200 * 1000 / price(PLAN, 64))
    assert many == pytest.approx(seen**-0.5)
    assert few / many == pytest.approx(12**0.5, rel=0.01)


def test_hopes_and_what_runs_teach_are_the_outlooks() -> None:
    one, (short, *_) = foresight(PARAMS), rungs_of(SETTINGS)
    assert one.hoped([candidate()], short) == [2 * value for value in one([candidate()], short)]
    wiser = one.after([candidate()], short, [50.0])
    assert wiser([candidate()], short) == foresight(MACS)([candidate()], short) != one([candidate()], short)
    assert wiser.read is one.read


def test_scores_count_as_what_their_networks_are_used_to() -> None:
    one, (short, *_) = foresight(PARAMS), rungs_of(SETTINGS)
    assert one._rows([candidate()], short)[0, -1] == pytest.approx(0.0)  # log-odds of 50 per cent
    outlook = First(PARAMS)
    outlook.used_to = lambda rows: First(MACS)  # type: ignore[method-assign]
    used = replace(one, outlook=outlook).used_to([candidate()], short)  # type: ignore[arg-type]
    assert used([candidate()], short) == foresight(MACS)([candidate()], short)


def test_those_genes_are_chosen_of_which_most_is_expected() -> None:
    sizes = [parameters(genes) for genes in GENES]
    limit = sorted(sizes)[6]
    within = [size for size in sizes if size <= limit]
    assert sizes[foresight(PARAMS, limits=Limits(params=limit)).choose(GENES, 0)] == max(within)
    assert sizes[foresight(PARAMS).choose(GENES, 0)] == max(size for size in sizes if size <= SPACE.max_params)


def test_every_other_seed_goes_by_hope() -> None:
    outlook = First(PARAMS)
    outlook.hoped = lambda rows: (-rows[:, PARAMS]).tolist()  # type: ignore[method-assign]
    one = replace(foresight(PARAMS), outlook=outlook)  # type: ignore[arg-type]
    sizes = [parameters(genes) for genes in GENES]
    within = [size for size in sizes if size <= SPACE.max_params]
    assert [sizes[one.choose(GENES, seed)] for seed in (0, 1, 2)] == [max(within), min(within), max(within)]


def test_on_other_images_each_seed_has_an_idea_of_its_own() -> None:
    away = replace(foresight(PARAMS), outlook=First(PARAMS, strange=True))  # type: ignore[arg-type]
    within = [place for place, genes in enumerate(GENES) if parameters(genes) <= SPACE.max_params]
    plans = [build_plan(decode(SPACE, GENES[place], BITS), SPACE.task) for place in within]
    by_parameters, by_macs = (
        within[max(range(len(plans)), key=lambda one: inputs(plans[one], 1)[idea])] for idea in (PARAMS, MACS)
    )
    assert (away.choose(GENES, 1), away.choose(GENES, 2)) == (by_parameters, by_macs)


def test_where_none_keeps_the_budgets_that_is_proposed_which_exceeds_them_least() -> None:
    sizes = [parameters(genes) for genes in GENES]
    assert sizes[foresight(PARAMS, limits=Limits(params=10)).choose(GENES, 0)] == min(sizes)
