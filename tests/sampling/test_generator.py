"""Drawing networks: what must hold in every split of every shipped space, and the limits to the last parameter."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import pytest

from qnas.errors import QnasError
from qnas.network.build import build_plan
from qnas.network.costs import count_parameters, macs, parameters
from qnas.quant.scheme import FP32, Bits
from qnas.sampling.generator import HELD_OUT_SHARE, draw, is_held_out, stream
from qnas.space.genotype import Genotype
from qnas.space.operations import OPERATIONS, learning
from qnas.space.space import SearchSpace, find_space, space_names

SPLITS = [(name, split) for name in space_names() for split in ("id", *find_space(name).overrides)]
EVERY_SPLIT = pytest.mark.parametrize(("name", "split"), SPLITS)
COUNT = 12
Sample = Callable[[str, str, int], list[Genotype]]


def space_of(name: str, split: str) -> SearchSpace:
    return find_space(name).of_split(split)


def learns(genotype: Genotype) -> bool:
    cells = [genotype.cell(position) for position in range(genotype.cells)]
    return all(any(branch.operation in learning() for step in cell for branch in step) for cell in cells)


@EVERY_SPLIT
def test_every_network_keeps_the_limits(name: str, split: str, sample: Sample) -> None:
    space = space_of(name, split)
    for genotype in sample(name, split, COUNT):
        plan = build_plan(genotype, space.task)
        assert parameters(plan) <= space.max_params
        assert space.max_macs == 0 or macs(plan) <= space.max_macs


@EVERY_SPLIT
def test_every_network_is_one_of_the_space(name: str, split: str, sample: Sample) -> None:
    space = space_of(name, split)
    for genotype in sample(name, split, COUNT):
        space.check(genotype)
        assert space.batch_norm not in (0, 1) or genotype.batch_norm == bool(space.batch_norm)
        branches = [branch for cell in (genotype.normal, genotype.reduction) for step in cell for branch in step]
        assert all(b.kernel in space.kernels for b in branches if OPERATIONS[b.operation].kernel is None)
        assert {b.kernel for b in branches if b.operation in ("max_pool", "avg_pool")} <= {3}
        assert {b.kernel for b in branches if b.operation == "skip"} <= {1}
        used = [genotype.cell(position) for position in range(genotype.cells)]
        assert all(space.steps[0] <= len(cell) <= space.steps[1] for cell in used)


@EVERY_SPLIT
def test_every_cell_has_something_to_learn(name: str, split: str, sample: Sample) -> None:
    assert all(learns(genotype) for genotype in sample(name, split, COUNT))


@EVERY_SPLIT
def test_no_network_comes_twice(name: str, split: str, sample: Sample) -> None:
    drawn = sample(name, split, COUNT)
    assert len({genotype.architecture for genotype in drawn}) == COUNT


@EVERY_SPLIT
def test_networks_come_in_canonical_form(name: str, split: str, sample: Sample) -> None:
    assert all(genotype == genotype.canonical() for genotype in sample(name, split, COUNT))


@EVERY_SPLIT
def test_the_same_seed_gives_the_same_networks(name: str, split: str, sample: Sample) -> None:
    assert list(islice(stream(space_of(name, split), 0), 4)) == sample(name, split, COUNT)[:4]


@EVERY_SPLIT
def test_counting_without_a_plan_equals_the_plan(name: str, split: str, sample: Sample) -> None:
    space = space_of(name, split)
    for genotype in sample(name, split, COUNT):
        assert count_parameters(genotype, space.task) == parameters(build_plan(genotype, space.task))


@EVERY_SPLIT
def test_training_and_held_out_networks_never_meet(name: str, split: str) -> None:
    space = space_of(name, split)
    train = list(islice(stream(space, 0, "train"), 8))
    held_out = list(islice(stream(space, 0, "held_out"), 4))
    assert not any(is_held_out(genotype) for genotype in train)
    assert all(is_held_out(genotype) for genotype in held_out)
    assert not {genotype.architecture for genotype in train} & {genotype.architecture for genotype in held_out}


def test_no_network_comes_twice_in_a_space_that_is_nearly_used_up() -> None:
    space = replace(
        find_space("tiny"), operations=("conv", "skip"), kernels=(3,), cells=(2, 2), steps=(1, 1), channels=(8,),
        stem_kernels=(3,), batch_norm=1.0,
    )  # fmt: skip
    networks = stream(space, 0, most_rejections=3000)
    drawn = [genotype.architecture for genotype in islice(networks, 5)]
    with pytest.raises(QnasError, match="in 3000 draws after 5 found"):
        next(networks)
    # One step of two branches: conv or skip of state 0 or 1. With a conv and a reader of state 1 there are these pairs:
    # conv 0 conv 1, conv 0 skip 1, conv 1 conv 1, conv 1 skip 0, conv 1 skip 1.
    assert len(set(drawn)) == 5


def test_another_seed_gives_other_networks() -> None:
    space = find_space("tiny")
    first, second = ({g.architecture for g in islice(stream(space, seed), 10)} for seed in (0, 1))
    assert len(first & second) < 3


def test_whether_a_network_is_held_out_does_not_depend_on_its_bits(sample: Sample) -> None:
    for genotype in sample("tiny", "id", COUNT):
        assert is_held_out(genotype) == is_held_out(genotype.with_bits(Bits(2, 2)))


def test_one_network_in_four_is_held_out() -> None:
    held_out = [is_held_out(genotype) for genotype in islice(stream(find_space("tiny"), 0), 400)]
    assert HELD_OUT_SHARE == 4
    assert sum(held_out) / 400 == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize("bits", [FP32, Bits(4, 8)], ids=str)
def test_every_network_carries_the_bits_asked_for(bits: Bits) -> None:
    drawn = list(islice(stream(find_space("tiny"), 0, bits=bits), 5))
    assert [genotype.bits for genotype in drawn] == [bits] * 5
    assert drawn == [genotype.with_bits(bits) for genotype in islice(stream(find_space("tiny"), 0), 5)]


def test_the_limit_of_parameters_is_exact() -> None:
    space = find_space("tiny")
    for seed in range(COUNT):
        genotype = next(stream(space, seed))
        exact = parameters(build_plan(genotype, space.task))
        assert next(stream(replace(space, max_params=exact), seed)) == genotype
        assert next(stream(replace(space, max_params=exact - 1), seed)) != genotype


def test_the_limit_of_macs_is_exact() -> None:
    space = find_space("tiny")
    for seed in range(COUNT):
        genotype = next(stream(space, seed))
        exact = macs(build_plan(genotype, space.task))
        assert next(stream(replace(space, max_macs=exact), seed)) == genotype
        assert next(stream(replace(space, max_macs=exact - 1), seed)) != genotype


def test_no_macs_are_no_limit() -> None:
    space = find_space("tiny")
    drawn = islice(stream(replace(space, max_macs=0), 0), 50)
    assert max(macs(build_plan(genotype, space.task)) for genotype in drawn) > space.max_macs


def test_limits_are_counted_for_the_data_at_hand() -> None:
    space = find_space("tiny")
    genotype = next(stream(space, 0))
    exact = parameters(build_plan(genotype, space.task))
    tight = replace(space, max_params=exact)
    assert next(stream(tight.for_task(replace(space.task, classes=space.task.classes - 1)), 0)) == genotype
    assert next(stream(tight.for_task(replace(space.task, classes=space.task.classes + 1)), 0)) != genotype


def test_batch_norms_come_as_often_as_the_space_says() -> None:
    drawn = islice(stream(replace(find_space("tiny"), batch_norm=0.3), 0), 300)
    assert sum(genotype.batch_norm for genotype in drawn) / 300 == pytest.approx(0.3, abs=0.08)


def test_every_choice_of_the_space_is_drawn() -> None:
    space, rng = find_space("tiny"), random.Random(0)
    drawn = [draw(space, rng) for _ in range(300)]
    branches = [branch for genotype in drawn for step in genotype.reduction for branch in step]
    assert {genotype.channels for genotype in drawn} == set(space.channels)
    assert {genotype.cells for genotype in drawn} == set(range(space.cells[0], space.cells[1] + 1))
    assert {genotype.stem_kernel for genotype in drawn} == set(space.stem_kernels)
    assert {len(genotype.reduction) for genotype in drawn} == set(range(space.steps[0], space.steps[1] + 1))
    assert {branch.operation for branch in branches} == set(space.operations)
    assert {branch.kernel for branch in branches if branch.operation in learning()} == set(space.kernels)


@pytest.mark.parametrize(("operation", "kernels"), [("conv", {3, 5, 7}), ("skip", {1}), ("max_pool", {3})])
def test_kernels_suit_their_operation(operation: str, kernels: set[int]) -> None:
    space, rng = find_space("tiny"), random.Random(0)
    cells = [draw(space, rng).reduction for _ in range(100)]
    branches = [branch for cell in cells for step in cell for branch in step]
    assert {branch.kernel for branch in branches if branch.operation == operation} == kernels


def test_limits_that_nothing_keeps_are_named() -> None:
    with pytest.raises(QnasError) as error:
        next(stream(replace(find_space("tiny"), max_params=1), 0, most_rejections=20))
    assert str(error.value) == (
        "Space 'tiny', split 'id': no new network within its limits (max_params 1, max_macs 1200000) in 20 draws "
        "after 0 found; raise the limits or widen the choices."
    )
