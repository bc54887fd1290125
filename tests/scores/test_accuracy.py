"""Accuracy held against scikit-learn's."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, top_k_accuracy_score
from torch import Tensor

from qnas.data.images import DataSet, Images, split_data
from qnas.ghn.config import GHNConfig
from qnas.ghn.model import GHN
from qnas.network.arithmetic import DynamicArithmetic
from qnas.network.build import build_plan
from qnas.network.forward import forward
from qnas.network.plan import Plan
from qnas.quant.scheme import Bits
from qnas.scores.accuracy import EVALUATION_BATCH, accuracy, by_class, confusion, predicted_accuracy
from qnas.space.genotype import Genotype
from qnas.task import Task


def made(count: int, classes: int) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 1, 4, 4), dtype=np.uint8)
    parts = (pixels, np.random.default_rng(1).integers(0, classes, count))
    return split_data("made", ("a",) * classes, parts, parts, 0).test


@pytest.mark.parametrize("batch", [7, 64, 1000])
def test_accuracy_equals_that_of_scikit_learn(batch: int) -> None:
    images, weight = made(150, 10), torch.randn(16, 10)
    scores = (images.batch(slice(None))[0].flatten(1) @ weight).numpy()
    found = accuracy(lambda x: x.flatten(1) @ weight, images, batch)
    labels = images.labels.numpy()
    assert found.top1 == pytest.approx(100 * accuracy_score(labels, scores.argmax(1)))
    assert found.top5 == pytest.approx(100 * top_k_accuracy_score(labels, scores, k=5, labels=range(10)))


def test_with_fewer_than_five_classes_the_first_five_are_all() -> None:
    images, weight = made(40, 3), torch.randn(16, 3)
    assert accuracy(lambda x: x.flatten(1) @ weight, images).top5 == 100


def test_batches_have_at_most_sixty_four_images_in_order() -> None:
    images, seen = made(150, 10), []

    def network(x: Tensor) -> Tensor:
        seen.append(x)
        return torch.zeros(len(x), 10)

    accuracy(network, images)
    assert EVALUATION_BATCH == 64
    assert [len(x) for x in seen] == [64, 64, 22]
    assert torch.equal(torch.cat(seen), images.batch(slice(None))[0])


def test_measuring_records_no_gradient() -> None:
    weight = torch.randn(16, 10, requires_grad=True)
    records: list[bool] = []

    def network(x: Tensor) -> Tensor:
        logits = x.flatten(1) @ weight
        records.append(logits.requires_grad)
        return logits

    accuracy(network, made(10, 10))
    assert records == [False]


@torch.no_grad()
def test_predicted_parameters_are_scored_with_the_statistics_of_each_batch(
    draw: Callable[..., list[Plan]], digits_data: DataSet
) -> None:
    plan = draw("tiny", "id", 1, bits=Bits(4, 4))[0]
    parameters = GHN(GHNConfig(hidden=8, channels=8, kernel=7, decoder=(8, 8)))([plan])[0]
    images = digits_data.validation.first(100)
    x, labels = images.batch(slice(None))
    logits = torch.cat([forward(plan, parameters, part, DynamicArithmetic()) for part in (x[:64], x[64:])])
    expected = 100 * accuracy_score(labels.numpy(), logits.argmax(1).numpy())
    assert predicted_accuracy(plan, parameters, images).top1 == pytest.approx(expected)


def test_a_single_image_left_over_is_scored_even_where_maps_are_one_pixel(genotype: Genotype) -> None:
    plan = build_plan(replace(genotype, stem_stride=2), Task((1, 8, 8), 10))
    parameters = {slot.name: torch.randn(slot.shape) for slot in plan.slots}
    pixels = np.random.default_rng(0).integers(0, 256, (65, 1, 8, 8), dtype=np.uint8)
    parts = (pixels, np.arange(65) % 10)
    images = split_data("made", ("a",) * 10, parts, parts, 0).test
    assert 0 <= predicted_accuracy(plan, parameters, images).top1 <= 100


def test_confusion_and_what_it_tells_equal_those_of_scikit_learn() -> None:
    images, weight = made(150, 4), torch.randn(16, 4)
    guesses = (images.batch(slice(None))[0].flatten(1) @ weight).argmax(1).numpy()
    table = confusion(lambda x: x.flatten(1) @ weight, images, 4, 64)
    labels = images.labels.numpy()
    assert table == confusion_matrix(labels, guesses).tolist()
    told = by_class(table)
    assert told["balanced"] == pytest.approx(100 * balanced_accuracy_score(labels, guesses))
    assert told["majority"] == pytest.approx(100 * max(np.bincount(labels)) / 150)


def test_a_class_without_images_has_no_recall() -> None:
    told = by_class([[8, 2, 0], [0, 0, 0], [1, 0, 9]])
    assert told == {"recall": [80.0, None, 90.0], "balanced": 85.0, "majority": 50.0, "at_chance": False}


@pytest.mark.parametrize(("right", "at_chance"), [(50, True), (58, True), (62, False)])
def test_who_is_right_little_more_often_than_a_coin_guesses(right: int, at_chance: bool) -> None:
    """Of 100 images 50 are of either class: two standard errors are 10."""
    told = by_class([[right - 25, 50 - (right - 25)], [25, 25]])
    assert told["at_chance"] == at_chance


@pytest.mark.parametrize(
    ("table", "at_chance"),
    [
        ([[90, 0], [10, 0]], True),  # always the commonest
        ([[63, 27], [7, 3]], True),  # a coin, right for 66
        ([[60, 30], [1, 9]], False),  # right for 69, fewer than the commonest class has, and yet it sees
        ([[26, 0], [0, 2]], False),  # all right, of few
    ],
    ids=str,
)
def test_who_guesses_on_imbalanced_classes_does_not_look_at_images(table: list[list[int]], at_chance: bool) -> None:
    assert by_class(table)["at_chance"] == at_chance
