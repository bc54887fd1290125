"""The guard: what counts as lost, and a training that is made to collapse."""

import logging
from math import log, nan

import pytest
import torch
from torch import Tensor

from qnas.data.images import DataSet
from qnas.network.build import build_plan
from qnas.quant.scheme import Bits
from qnas.space.cells import Branch
from qnas.space.genotype import Genotype
from qnas.training.guard import LEAST, Guard
from qnas.training.qat import SLOWER, Training, begun, deployed_accuracy, train_network
from qnas.training.recipe import Recipe

SMALL = Genotype(3, 1, 6, 2, True, (), ((Branch(0, "conv", 3), Branch(1, "skip", 1)),), Bits(4, 4))
STEPS = 3 * LEAST


def told(guard: Guard, loss: float, count: int = 300) -> Guard:
    for _ in range(count):
        guard.note(torch.tensor(loss))
    return guard


def test_a_run_that_has_not_learned_yet_is_not_lost() -> None:
    assert not told(Guard(1000, 10), log(10)).is_lost()
    assert not told(Guard(1000, 10), 5.0).is_lost()


def test_a_run_is_lost_once_it_guesses_again() -> None:
    guard = told(Guard(1000, 10), 0.5)
    assert not guard.is_lost()
    assert not told(guard, 2.0).is_lost()
    assert told(guard, 2.4).is_lost()


@pytest.mark.parametrize("loss", [nan, float("inf")])
def test_a_loss_that_is_no_number_is_lost_at_once(loss: float) -> None:
    assert told(Guard(1000, 10), loss, 1).is_lost()


def test_a_guard_goes_on_as_it_was() -> None:
    guard = told(Guard(1000, 10), 0.5)
    guard.is_lost()
    guard.keep({"some": torch.arange(3)})
    other = Guard(1000, 10)
    other.load_state(guard.state())
    assert (other.loss, other.has_learned, other.was_lost) == (guard.loss, True, False)
    assert torch.equal(other.good["some"], torch.arange(3))


def training(data: DataSet) -> Training:
    return begun(build_plan(SMALL, data.task), data, Recipe(STEPS), 0)


def run(one: Training, until: int, broken: int = 0) -> Training:
    """Train to a step; before one of them, the first time, the weights are lost."""
    while one.done < until:
        if broken and one.done == broken and not one.guard.was_lost:
            for name, value in one.network.slots.items():
                if name.endswith("/weight"):
                    value.data.fill_(nan)
        one.step()
    return one


def states(one: Training) -> dict[str, Tensor]:
    return dict(one.finish().state_dict())


def test_a_collapse_is_noticed_and_the_run_goes_on_slower_from_the_last_good_state(
    digits_data: DataSet, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="qnas"):
        one = run(training(digits_data), STEPS, broken=LEAST + 10)
    before, after = 2 * LEAST, LEAST
    assert caplog.messages == [
        f"Training collapsed before step {before}; it goes on from step {after} at a rate {1 / SLOWER:g} times lower."
    ]
    assert one.done == STEPS
    healthy = deployed_accuracy(train_network(SMALL, digits_data, Recipe(STEPS), 0), digits_data.validation).top1
    assert deployed_accuracy(one.finish(), digits_data.validation).top1 > 0.7 * healthy > 50


def test_a_run_that_collapses_twice_is_left_alone(digits_data: DataSet) -> None:
    one = training(digits_data)
    one.guard.was_lost = True
    run(one, LEAST)
    one.network.slots["classifier/weight"].data.fill_(nan)
    assert run(one, STEPS).done == STEPS


@pytest.mark.parametrize("stopped", [LEAST + 5, 2 * LEAST + 5])
def test_stopped_before_or_after_a_collapse_it_ends_the_same(digits_data: DataSet, stopped: int) -> None:
    whole = states(run(training(digits_data), STEPS, broken=LEAST + 10))
    first, second = run(training(digits_data), stopped, broken=LEAST + 10), training(digits_data)
    second.load_state({name: value.clone() for name, value in first.state().items()})
    again = states(run(second, STEPS, broken=LEAST + 10))
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
