"""Predicted backbones with classifiers in closed form: any classes, the deployed bits, whole tensors or tiles."""

from dataclasses import replace
from statistics import fmean

import pytest
import torch
from torch import Tensor

from qnas.checkpoints.store import Checkpoint, load_checkpoint
from qnas.data.images import DataSet, Images
from qnas.network.arithmetic import static_on
from qnas.network.build import build_plan
from qnas.network.forward import forward
from qnas.network.plan import Plan
from qnas.quant.choices import GRIDS, GridChoice
from qnas.quant.scheme import Bits
from qnas.sampling.generator import stream
from qnas.scores.accuracy import accuracy
from qnas.scores.closed_form import ClosedForm, predictor_for, with_classes
from qnas.space.space import find_space


@pytest.fixture(scope="module")
def digits_checkpoint() -> Checkpoint:
    return load_checkpoint("digits")


def paired(data: DataSet) -> DataSet:
    """The same images in five classes of two digits each."""

    def halved(part: Images) -> Images:
        return replace(part, labels=part.labels // 2)

    task = replace(data.task, classes=5, data="pairs", names=())
    return DataSet(task, halved(data.train), halved(data.validation), halved(data.test))


def plans(data: DataSet, bits: str, count: int = 4, space: str = "tiny") -> list[Plan]:
    networks = stream(find_space(space), 0, bits=Bits.parse(bits))
    return [build_plan(next(networks), data.task) for _ in range(count)]


def top1(plan: Plan, parameters: dict[str, Tensor], data: DataSet, grid: GridChoice = GRIDS["asymmetric"]) -> float:
    arithmetic = static_on(plan, parameters, data.train.batch(slice(0, 64))[0], grid)
    return accuracy(lambda x: forward(plan, parameters, x, arithmetic), data.validation).top1


def test_a_hypernetwork_at_home_predicts_alone(digits_checkpoint: Checkpoint, digits_data: DataSet) -> None:
    assert predictor_for(digits_checkpoint, digits_data) is digits_checkpoint.ghn
    assert isinstance(predictor_for(digits_checkpoint, paired(digits_data)), ClosedForm)


def test_other_classes_under_the_same_name_are_no_home(digits_checkpoint: Checkpoint, digits_data: DataSet) -> None:
    known = replace(digits_checkpoint, task=digits_data.task)
    fruit = replace(digits_data, task=replace(digits_data.task, names=tuple("abcdefghij")))
    assert predictor_for(known, digits_data) is digits_checkpoint.ghn
    assert isinstance(predictor_for(known, fruit), ClosedForm)


@pytest.mark.parametrize(("bits", "least"), [("fp32", 94), ("w4a4", 89), ("w2a2", 60)])
def test_other_classes_are_told_apart_without_a_training_step(
    digits_checkpoint: Checkpoint, digits_data: DataSet, bits: str, least: float
) -> None:
    data = paired(digits_data)
    closed, found = ClosedForm(digits_checkpoint.ghn, data.train), []
    for plan in plans(data, bits, 6):
        (parameters,) = closed([plan])
        shapes = {name: tuple(value.shape) for name, value in parameters.items()}
        assert shapes == {slot.name: slot.shape for slot in plan.slots}
        found.append(top1(plan, dict(parameters), data))
    assert fmean(found) > least


def test_classifiers_are_fitted_on_the_grid_that_counts(digits_checkpoint: Checkpoint, digits_data: DataSet) -> None:
    data, grid = paired(digits_data), GRIDS["power-of-two"]
    usual, fitted = (ClosedForm(digits_checkpoint.ghn, data.train, one) for one in (None, grid))
    found: dict[bool, list[float]] = {False: [], True: []}
    for plan in plans(data, "w2a2", 6):
        for closed in (usual, fitted):
            (parameters,) = closed([plan])
            found[closed is fitted].append(top1(plan, dict(parameters), data, grid))
    assert fmean(found[True]) > fmean(found[False]) + 5


def test_first_tiles_give_the_logits_of_whole_tensors(digits_checkpoint: Checkpoint, digits_data: DataSet) -> None:
    data, images = paired(digits_data), digits_data.validation.batch(slice(0, 32))[0]
    closed = ClosedForm(digits_checkpoint.ghn, data.train)
    space, repeated = find_space("tiny"), 0
    wide = replace(space, channels=[48, 80], max_params=10**6, overrides={})
    networks = stream(wide, 0, bits=Bits(32, 32))
    for plan in (build_plan(next(networks), data.task) for _ in range(6)):
        (whole,), (tiles,) = closed([plan]), closed([plan], whole=False)
        repeated += tiles["classifier/weight"].shape[1] < whole["classifier/weight"].shape[1]
        expected, found = (forward(plan, one, images, static_on(plan, one, images)) for one in (whole, tiles))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert repeated


def test_a_plan_of_other_classes_differs_in_its_classifier_alone(digits_data: DataSet) -> None:
    (plan,) = plans(digits_data, "w4a4", 1)
    other = with_classes(plan, 3)
    assert (other.classes, other.nodes[:-1]) == (3, plan.nodes[:-1])
    assert [slot.shape for slot in other.slots[-2:]] == [(3, plan.slots[-2].shape[1]), (3,)]
    assert with_classes(other, plan.classes) == plan
