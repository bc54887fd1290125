"""The training of one network in a folder: stopped and continued it is the unbroken one, and it fits into its time."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.network.build import build_plan
from qnas.network.handmade import HandMade
from qnas.network.plan import Plan
from qnas.quant.scheme import Bits
from qnas.training.qat import train_network
from qnas.training.recipe import Recipe
from qnas.training.run import STATE, seconds_a_step, steps_within, train_in

RECIPE = Recipe(8, batch=32, calibration=1)


class StoppedError(Exception):
    """In place of a kill."""


@pytest.fixture
def plan(digits_data: DataSet) -> Plan:
    return build_plan(HandMade("resnet8", 4, Bits(2, 4)), digits_data.task)


def silent(share: float, remark: str) -> None:
    assert 0 < share <= 1


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        replace(RECIPE, optimizer="sgd", averaging=0.9, reestimation=2),
        replace(RECIPE, optimizer="muon"),
        replace(RECIPE, descent=0.8, damping=0.01, erase=0.5),
        replace(RECIPE, distillation=0.5, grid="asymmetric"),
    ],
    ids=["usual", "sgd and averages", "muon", "bits that go down", "distilled"],
)
@pytest.mark.parametrize("after", [1, 4, 5])
def test_stopped_and_continued_it_is_the_unbroken_one(
    plan: Plan, digits_data: DataSet, recipe: Recipe, after: int, tmp_path: Path
) -> None:
    expected = train_network(plan, digits_data, recipe, 3).state_dict()
    reports = list[float]()

    def stop(share: float, remark: str) -> None:
        reports.append(share)
        if len(reports) == after:
            raise StoppedError

    with pytest.raises(StoppedError):
        train_in(tmp_path, plan, digits_data, recipe, 3, None, stop, save_every=0.0)
    assert (tmp_path / STATE).is_file()
    shares = list[float]()
    found = train_in(tmp_path, plan, digits_data, recipe, 3, None, lambda share, _: shares.append(share)).state_dict()
    assert (shares[0], shares[-1]) == (reports[-1], 1.0)  # where it was stopped, and at its end
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_damaged_state_is_one_sentence(plan: Plan, digits_data: DataSet, tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes(b"none")
    with pytest.raises(QnasError, match=r"cannot be read as the state of a training run .*; delete it to train"):
        train_in(tmp_path, plan, digits_data, RECIPE, 0, None, silent)


def test_twice_the_time_holds_about_twice_the_steps(plan: Plan, digits_data: DataSet) -> None:
    one, two = (steps_within(minutes, plan, digits_data, RECIPE, None) for minutes in (2.0, 4.0))
    assert 1.3 * one < two < 4 * one  # steps are timed twice, and others work on the machine
    step = seconds_a_step(plan, digits_data, RECIPE, None)
    assert 0.5 * 110 < one * step < 2 * 120


def test_too_short_a_time_is_refused_with_the_least(plan: Plan, digits_data: DataSet) -> None:
    with pytest.raises(QnasError, match=r"takes about [\d.]+ minutes here, got `minutes=0.01`; give at least that"):
        steps_within(0.01, plan, digits_data, RECIPE, None)


def test_measuring_takes_a_few_seconds(plan: Plan, digits_data: DataSet) -> None:
    started = time.perf_counter()
    seconds_a_step(plan, digits_data, RECIPE, None)
    assert time.perf_counter() - started < 20
