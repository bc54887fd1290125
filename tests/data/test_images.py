"""Splitting and normalising, on images made for it."""

import numpy as np
import pytest
import torch

from qnas.data.images import DataSet, shrunk, split_data

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 5), dtype=np.uint8)
LABELS = np.arange(20) % 4


@pytest.fixture
def made() -> DataSet:
    return split_data(
        "made", ("a", "b", "c", "d"), (PIXELS, LABELS), (PIXELS[:6], LABELS[:6]), 8, shift=2, mirror_from=0
    )


def test_the_last_training_images_become_the_validation_part(made: DataSet) -> None:
    assert torch.equal(made.train.pixels, torch.from_numpy(PIXELS[:12]))
    assert torch.equal(made.validation.pixels, torch.from_numpy(PIXELS[12:]))
    assert torch.equal(made.test.pixels, torch.from_numpy(PIXELS[:6]))
    assert made.validation.labels.tolist() == LABELS[12:].tolist()


def test_no_validation_part_leaves_all_for_training() -> None:
    data = split_data("made", ("a",), (PIXELS, LABELS), (PIXELS, LABELS), 0)
    assert (len(data.train), len(data.validation)) == (20, 0)


def test_every_channel_is_normalised_by_the_training_part_alone(made: DataSet) -> None:
    kept = PIXELS[:12].astype(np.float64)
    mean, deviation = kept.mean((0, 2, 3)), kept.std((0, 2, 3))
    expected = (PIXELS[12:] - mean[:, None, None]) / deviation[:, None, None]
    x, _ = made.validation.batch(slice(None))
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_a_channel_of_one_value_stays_finite() -> None:
    flat = np.full((5, 1, 2, 2), 7, dtype=np.uint8)
    data = split_data("flat", ("a",), (flat, LABELS[:5]), (flat, LABELS[:5]), 1)
    x, _ = data.train.batch(slice(None))
    assert x.abs().max() == 0


def test_a_batch_can_be_picked_by_numbers(made: DataSet) -> None:
    whole, _ = made.train.batch(slice(None))
    x, labels = made.train.batch(torch.tensor([7, 2]))
    assert torch.equal(x, whole[[7, 2]])
    assert labels.tolist() == [3, 2]


def test_the_first_images_keep_their_normalisation(made: DataSet) -> None:
    first = made.test.first(2)
    assert len(first) == 2
    assert torch.equal(first.batch(slice(None))[0], made.test.batch(slice(0, 2))[0])


def test_a_data_set_knows_its_image_and_augmentation(made: DataSet) -> None:
    assert (made.task.image, made.shift, made.mirror_from) == ((3, 4, 5), 2, 0)


def test_moving_a_data_set_moves_every_tensor(made: DataSet) -> None:
    moved = made.to(torch.device("meta"))
    parts = (moved.train, moved.validation, moved.test)
    assert {t.device.type for p in parts for t in (p.pixels, p.labels, p.mean, p.deviation)} == {"meta"}
    assert (moved.name, moved.task, moved.shift, moved.mirror_from) == ("made", made.task, 2, 0)


def test_a_fingerprint_changes_with_every_pixel_label_and_name(made: DataSet) -> None:
    again = split_data("elsewhere", ("a", "b", "c", "d"), (PIXELS, LABELS), (PIXELS[:6], LABELS[:6]), 8)
    assert again.fingerprint == made.fingerprint  # whatever it is called, and however it is augmented
    assert (
        made.fingerprint.items() >= {"classes": ["a", "b", "c", "d"], "train": 12, "validation": 8, "test": 6}.items()
    )
    pixels, labels = PIXELS.copy(), LABELS.copy()
    pixels[19, 2, 3, 4] ^= 1
    labels[3] = 0
    for images, numbers, names in ((pixels, LABELS, "abcd"), (PIXELS, labels, "abcd"), (PIXELS, LABELS, "abdc")):
        other = split_data("made", tuple(names), (images, numbers), (PIXELS[:6], LABELS[:6]), 8)
        assert other.fingerprint != made.fingerprint


def test_smaller_images_are_means_of_squares(made: DataSet) -> None:
    small = shrunk(made, 2)
    means = PIXELS[:, :, :, :4].reshape(20, 3, 2, 2, 2, 2).mean((3, 5))
    assert small.task.image == (3, 2, 2)
    assert np.abs(small.train.pixels.numpy() - means[:12]).max() <= 0.5
    assert torch.equal(small.test.labels, made.test.labels)
    images, _ = small.train.batch(slice(None))
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    assert (small.shift, small.mirror_from) == (1, 0)
    assert shrunk(made, 1) is made
