"""Settings of a search: their rungs, their checks, and what tells one run from another."""

import json
from dataclasses import fields, replace

import pytest

from qnas.errors import QnasError
from qnas.nas.limits import Limits
from qnas.nas.settings import COSTS, SearchSettings, paid_steps
from qnas.quant.scheme import Bits
from qnas.space.genes import decode, gene_choices
from qnas.space.space import find_space
from qnas.training.recipe import Recipe

USUAL = SearchSettings(Bits(4, 4))


@pytest.mark.parametrize(
    ("steps", "lengths"), [(900, (75, 225, 900)), (12, (1, 3, 12)), (2, (1, 1, 2)), (5, (1, 1, 5))]
)
def test_a_middle_run_has_a_quarter_and_a_short_one_a_twelfth(steps: int, lengths: tuple[int, int, int]) -> None:
    assert replace(USUAL, recipe=Recipe(steps=steps)).lengths == lengths


def test_all_have_the_same_steps_where_there_is_no_usual_price() -> None:
    assert [paid_steps(75, 0.0, price) for price in (1.0, 3.0, 900.0)] == [75, 75, 75]


def test_the_dearer_a_step_the_fewer_fit_into_the_time_of_the_usual_network() -> None:
    assert [paid_steps(75, 300.0, price) for price in (300.0, 150.0, 600.0, 1e6)] == [75, 150, 38, 1]


@pytest.mark.parametrize("name", ["trials", "top"])
@pytest.mark.parametrize("value", [0, -3])
def test_a_count_below_one_is_refused(name: str, value: int) -> None:
    with pytest.raises(QnasError, match=f"^`{name}` is at least 1, got {value}; leave it out for the default"):
        replace(USUAL, **{name: value})


def test_the_edges_of_all_networks_are_as_wide_as_the_settings_say() -> None:
    space = find_space("tiny")
    genes = {name: choices[0] for name, choices in gene_choices(space).items()}
    assert USUAL.decode(space, genes) == decode(space, genes, USUAL.bits)
    assert replace(USUAL, edges=8).decode(space, genes) == decode(space, genes, USUAL.bits).with_edges(8)
    with pytest.raises(QnasError, match="`edges` is 2 to 8 bits, got 1; give 8, or leave it out"):
        replace(USUAL, edges=1)


@pytest.mark.parametrize("value", [0, -3])
def test_a_search_of_no_training_steps_is_refused(value: int) -> None:
    with pytest.raises(QnasError, match=f"^`steps` is at least 1, got {value}; leave it out for 900"):
        replace(USUAL, recipe=Recipe(steps=value))


def test_the_identity_holds_every_setting_as_plain_values() -> None:
    identity = replace(USUAL, threads=2).identity()
    names = {"calibration" if item.name == "labels" else item.name for item in fields(SearchSettings)}
    assert identity.keys() == names | {"steps", "way"}
    assert json.loads(json.dumps(identity)) == identity
    assert identity["bits"] == "w4a4"
    assert (identity["calibration"], identity["steps"]) == (USUAL.labels, USUAL.recipe.steps)
    assert identity["recipe"] == USUAL.recipe.ingredients


@pytest.mark.parametrize(
    "changed",
    [
        replace(USUAL, bits=Bits(4, 8)),
        replace(USUAL, limits=Limits(macs=5)),
        *(replace(USUAL, **{key: "other"}) for key in ("data", "space", "ghn", "sampler")),
        replace(USUAL, mixed=True),
        replace(USUAL, pareto=("macs",)),
        *(replace(USUAL, **{key: 7}) for key in ("trials", "labels", "survivors", "top", "seed")),
        replace(USUAL, threads=2),
        *(replace(USUAL, recipe=replace(USUAL.recipe, **{key: 7})) for key in ("steps", "batch", "clip")),
    ],
)
def test_any_other_setting_is_another_run(changed: SearchSettings) -> None:
    assert changed.identity() != USUAL.identity()


@pytest.mark.parametrize(
    ("bits", "widths"),
    [
        ("w4a4", ["w2a2", "w4a4"]),
        ("w4a8", ["w2a2", "w4a4", "w4a8"]),
        ("w8a8", ["w2a2", "w4a4", "w4a8", "w8a8"]),
        ("w8a4", ["w2a2", "w4a4"]),
        ("w5a7", ["w2a2", "w4a4"]),
    ],
)
def test_mixed_widths_are_those_up_to_the_bits_narrowest_first(bits: str, widths: list[str]) -> None:
    settings = SearchSettings(Bits.parse(bits), mixed=True)
    assert [str(one) for one in settings.layer_choices] == widths
    assert settings.narrowest == Bits(2, 2)


@pytest.mark.parametrize("bits", ["fp32", "w2a2", "w8a8"])
def test_without_mixed_there_is_one_width(bits: str) -> None:
    settings = SearchSettings(Bits.parse(bits))
    assert settings.layer_choices == ()
    assert settings.narrowest == Bits.parse(bits)


@pytest.mark.parametrize("bits", ["w2a2", "w3a3", "w2a8", "w8a2", "fp32"])
def test_mixed_with_nothing_to_choose_from_is_refused(bits: str) -> None:
    with pytest.raises(QnasError) as error:
        SearchSettings(Bits.parse(bits), mixed=True)
    assert str(error.value) == (
        f"`mixed` chooses among w2a2, w4a4, w4a8, w8a8 up to `bits`, got {bits}; give w4a4 or more."
    )


def test_accuracy_is_to_be_high_and_every_cost_low() -> None:
    assert USUAL.directions == ("maximize",)
    assert replace(USUAL, pareto=("macs", "latency")).directions == ("maximize", "minimize", "minimize")


def test_every_cost_can_count() -> None:
    assert set(COSTS) == {
        "params",
        "macs",
        "weight_bytes",
        "activation_bytes",
        "latency",
        "instructions",
        "flash",
        "ram",
    }
    assert len(replace(USUAL, pareto=COSTS).directions) == 1 + len(COSTS)


@pytest.mark.parametrize(("cost", "close"), [("latncy", "latency"), ("weight_byte", "weight_bytes"), ("mac", "macs")])
def test_an_unknown_cost_is_refused_with_a_suggestion(cost: str, close: str) -> None:
    with pytest.raises(QnasError) as error:
        replace(USUAL, pareto=("params", cost))
    assert str(error.value) == f"No cost is called {cost!r}; did you mean {close!r}?"


def test_networks_are_timed_just_where_their_latency_counts() -> None:
    assert not USUAL.needs_latency
    assert not replace(USUAL, pareto=("macs",), limits=Limits(macs=5)).needs_latency
    assert replace(USUAL, pareto=("macs", "latency")).needs_latency
    assert replace(USUAL, limits=Limits(latency=0.5)).needs_latency


def test_the_identity_of_a_mixed_search_for_a_front_is_plain_too() -> None:
    identity = replace(USUAL, mixed=True, pareto=("weight_bytes", "macs")).identity()
    assert json.loads(json.dumps(identity)) == identity
    assert (identity["mixed"], identity["pareto"]) == (True, ["weight_bytes", "macs"])
    assert (USUAL.identity()["mixed"], USUAL.identity()["pareto"]) == (False, [])
