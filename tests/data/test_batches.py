"""Batches: reproducible, every image once a pass, augmented only as the data set allows."""

from itertools import islice
from math import inf

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from qnas.data.batches import (
    AREA,
    Augmentation,
    augmented,
    evaluation_batches,
    random_batch,
    training_batches,
    warped,
)
from qnas.data.images import DataSet, Images, split_data

COUNT = 10


def numbered(shift: int = 0, mirror_from: float = inf) -> DataSet:
    """Ten training images whose label is their number."""
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 1, 4, 4), dtype=np.uint8)
    parts = (pixels, np.arange(COUNT))
    return split_data("numbered", ("a",), parts, parts, 0, shift=shift, mirror_from=mirror_from)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shifted(x: Tensor, down: int, right: int) -> Tensor:
    """The images moved by whole pixels, zeros moving in."""
    result = torch.zeros_like(x)
    height, width = x.shape[2:]
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                result[:, :, row, column] = x[:, :, row - down, column - right]
    return result


def test_a_random_batch_has_distinct_images_with_their_labels() -> None:
    data = numbered()
    x, labels = random_batch(data, 6, seeded(0))
    assert len(set(labels.tolist())) == 6
    assert torch.equal(x, data.train.batch(labels)[0])


def test_a_random_batch_is_at_most_all_images() -> None:
    _, labels = random_batch(numbered(), 99, seeded(0))
    assert sorted(labels.tolist()) == list(range(COUNT))


def test_random_batches_are_reproducible_from_their_generator() -> None:
    data = numbered(shift=1, mirror_from=0)
    first, second, other = (random_batch(data, 6, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], second[0])
    assert first[1].tolist() == second[1].tolist() != other[1].tolist()


def test_training_batches_are_full_and_meet_every_image_once_a_pass() -> None:
    batches = [labels.tolist() for _, labels in islice(training_batches(numbered(), 5, 0), 6)]
    assert [len(batch) for batch in batches] == [5] * 6
    for first, second in zip(batches[::2], batches[1::2], strict=True):
        assert sorted(first + second) == list(range(COUNT))


def test_a_rest_that_fills_no_batch_waits_for_the_next_pass() -> None:
    batches = [labels.tolist() for _, labels in islice(training_batches(numbered(), 4, 0), 6)]
    assert all(len(set(first + second)) == 8 for first, second in zip(batches[::2], batches[1::2], strict=True))


def test_every_pass_has_another_order() -> None:
    batches = [labels.tolist() for _, labels in islice(training_batches(numbered(), COUNT, 0), 3)]
    assert batches[0] != batches[1] != batches[2]


def test_training_batches_are_at_most_all_images() -> None:
    _, labels = next(training_batches(numbered(), 99, 0))
    assert sorted(labels.tolist()) == list(range(COUNT))


def test_training_batches_are_reproducible_from_their_seed() -> None:
    data = numbered(shift=1, mirror_from=0)
    first, second, other = ([*islice(training_batches(data, 4, seed), 5)] for seed in (3, 3, 4))
    assert all(torch.equal(x, y) for (x, _), (y, _) in zip(first, second, strict=True))
    assert any(a.tolist() != b.tolist() for (_, a), (_, b) in zip(first, other, strict=True))


@pytest.mark.parametrize(("size", "sizes"), [(4, [4, 4, 2]), (5, [5, 5]), (64, [10])])
def test_evaluation_meets_all_images_in_order(size: int, sizes: list[int]) -> None:
    images = numbered(shift=1, mirror_from=0).train
    batches = list(evaluation_batches(images, size))
    assert [len(labels) for _, labels in batches] == sizes
    assert torch.equal(torch.cat([x for x, _ in batches]), images.batch(slice(None))[0])


def of(pixels: NDArray[np.uint8]) -> Images:
    """Images that are handed out as they are, labelled by their number."""
    return Images(torch.from_numpy(pixels), torch.arange(len(pixels)), torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))


def random_pixels(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(1, 256, shape, dtype=np.uint8)


def result_of(pixels: NDArray[np.uint8], how: Augmentation, seed: int = 0) -> Tensor:
    x, labels = augmented(of(pixels), torch.arange(len(pixels)), how, seeded(seed))
    assert labels.tolist() == list(range(len(pixels)))
    return x


def test_a_later_batch_is_reached_at_once() -> None:
    data = numbered(shift=1, mirror_from=0)
    for start in (1, 2, 5):
        late, all_of_them = training_batches(data, 4, 3, start=start), training_batches(data, 4, 3)
        for (x, labels), (y, expected) in zip(islice(late, 4), islice(all_of_them, start, start + 4), strict=True):
            assert torch.equal(x, y)
            assert labels.tolist() == expected.tolist()


def test_without_augmentation_images_stay() -> None:
    pixels = random_pixels(5, 2, 4, 3)
    assert torch.equal(result_of(pixels, Augmentation()), torch.from_numpy(pixels).float())


def test_images_are_normalised() -> None:
    images = numbered().train
    x, _ = augmented(images, torch.tensor([3, 1]), Augmentation(), seeded(0))
    assert torch.equal(x, images.batch(torch.tensor([3, 1]))[0])


def test_each_image_is_shifted_on_its_own_by_up_to_the_given_pixels_each_way() -> None:
    pixels = random_pixels(300, 2, 5, 6)
    x = torch.from_numpy(pixels).float()
    moves = {(down, right): shifted(x, down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)}
    result = result_of(pixels, Augmentation(shift=1))
    hits = torch.stack([(result == expected).flatten(1).all(1) for expected in moves.values()])
    assert (hits.sum(0) == 1).all()
    assert (hits.sum(1) > 10).all()  # all nine moves, about as often


def test_a_half_of_the_images_is_mirrored_and_the_rest_stays() -> None:
    pixels = random_pixels(400, 2, 3, 4)
    x = torch.from_numpy(pixels).float()
    result = result_of(pixels, Augmentation(mirror=True))
    stayed, mirrored = (result == x).flatten(1).all(1), (result == x.flip(3)).flatten(1).all(1)
    assert (stayed ^ mirrored).all()
    assert 150 < mirrored.sum() < 250


def test_a_share_of_the_images_loses_one_rectangle() -> None:
    pixels = random_pixels(500, 1, 20, 16)
    lost = result_of(pixels, Augmentation(erase=0.4))[:, 0] == 0
    some = lost.flatten(1).any(1)
    assert 150 < some.sum() < 250
    for one in lost[some]:
        rows, columns = one.any(1), one.any(0)
        assert torch.equal(one, rows[:, None] & columns)  # a rectangle
        assert one.float().mean() <= AREA[1] + 0.05
    assert lost[some].float().mean() > AREA[0]


def test_augmentation_leaves_the_images_it_was_given_alone() -> None:
    pixels = random_pixels(8, 1, 4, 4)
    before = pixels.copy()
    result_of(pixels, Augmentation(2, True, 1.0))
    assert np.array_equal(pixels, before)


def test_images_are_turned_upside_down_turned_and_zoomed() -> None:
    pixels = torch.rand(400, 2, 6, 6)
    flipped = warped(pixels, Augmentation(flip=True), seeded(0))
    upside_down = (flipped - pixels.flip(2)).abs().amax((1, 2, 3)) < 1e-5
    same = (flipped - pixels).abs().amax((1, 2, 3)) < 1e-5
    assert torch.equal(upside_down, ~same)
    assert 150 < upside_down.sum() < 250
    ramp = torch.arange(9.0).view(1, 1, 1, 9).expand(500, 1, 9, 9).contiguous()
    turned = warped(ramp, Augmentation(turn=90.0), seeded(0))
    slopes = turned[:, 0, 4, 5] - turned[:, 0, 4, 3], turned[:, 0, 5, 4] - turned[:, 0, 3, 4]
    torch.testing.assert_close(slopes[0].square() + slopes[1].square(), torch.full((500,), 4.0), rtol=1e-3, atol=1e-3)
    assert slopes[0].min() < 0.2
    zoomed = warped(ramp, Augmentation(zoom=0.2), seeded(0))
    scales = (zoomed[:, 0, 4, 5] - zoomed[:, 0, 4, 3]) / 2
    assert (0.8 <= scales.min() < 0.82, 1.18 < scales.max() <= 1.2) == (True, True)


def test_a_wide_image_is_turned_without_being_stretched() -> None:
    image = torch.zeros(60, 1, 9, 17)
    image[:, :, 4, 8:14] = 1  # a line from the middle to the right
    turned = warped(image, Augmentation(turn=40.0), seeded(0))
    rows, columns = torch.meshgrid(torch.arange(9.0) - 4, torch.arange(17.0) - 8, indexing="ij")
    reach = (turned[:, 0] * (rows.square() + columns.square()).sqrt()).sum((1, 2)) / turned.sum((1, 2, 3))
    torch.testing.assert_close(reach, torch.full_like(reach, 2.5), rtol=0.06, atol=0)


def test_augmentation_passes_warps_on() -> None:
    data = numbered()
    plain, warps = (next(training_batches(data, COUNT, 0, how))[0] for how in (Augmentation(), Augmentation(turn=30.0)))
    assert plain.shape == warps.shape
    assert not torch.equal(plain, warps)
