"""The embedded data set held against scikit-learn's own arrays."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from qnas.data.digits import digits
from qnas.data.images import DataSet, Images

PARTS = ("train", "validation", "test")


def test_the_parts_have_their_sizes(digits_data: DataSet) -> None:
    assert [len(getattr(digits_data, part)) for part in PARTS] == [1077, 360, 360]


def test_images_are_eight_by_eight_of_ten_classes(digits_data: DataSet) -> None:
    assert (digits_data.task.image, digits_data.task.classes, digits_data.name) == ((1, 8, 8), 10, "digits")


def test_the_parts_are_disjoint_and_together_are_all_images(digits_data: DataSet) -> None:
    pixels, labels = load_digits(return_X_y=True)
    parts: list[Images] = [getattr(digits_data, part) for part in PARTS]
    found = np.concatenate([np.column_stack([part.labels, part.pixels.flatten(1)]) for part in parts])
    expected = np.column_stack([labels, pixels])
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, expected.tolist()))


@pytest.mark.parametrize("part", PARTS)
def test_every_class_has_its_share_of_every_part(digits_data: DataSet, part: str) -> None:
    _, labels = load_digits(return_X_y=True)
    images: Images = getattr(digits_data, part)
    expected = np.bincount(labels) * len(images) / len(labels)
    assert np.abs(np.bincount(images.labels) - expected).max() <= 1


def test_training_images_are_normalised(digits_data: DataSet) -> None:
    x, _ = digits_data.train.batch(slice(None))
    assert x.mean().item() == pytest.approx(0, abs=1e-5)
    assert x.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_all_parts_are_normalised_by_the_training_images(digits_data: DataSet) -> None:
    values = digits_data.train.pixels.double()
    for images in (digits_data.validation, digits_data.test):
        x, _ = images.batch(slice(None))
        expected = (images.pixels.double() - values.mean()) / values.std(correction=0)
        torch.testing.assert_close(x.double(), expected, rtol=1e-5, atol=1e-5)


def test_the_split_is_always_the_same(digits_data: DataSet) -> None:
    again = digits()
    assert all(torch.equal(getattr(again, part).pixels, getattr(digits_data, part).pixels) for part in PARTS)
