"""Images and labels in the IDX layout of MNIST (LeCun, 1998): a magic number, the sizes, then one byte a value."""

from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qnas.data.images import DataSet, split_data
from qnas.errors import QnasError
from qnas.runs.reading import read_bytes, reading, unzipped

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
UNSIGNED_BYTES = 8
"""The type of values, the third byte of the magic number; the fourth is the number of dimensions."""
VALIDATION_SHARE = 10
MOST_BYTES = 1 << 32
SHIFT_SHARE = 14
"""Images may be shifted by their side over this."""


def holds_idx(folder: Path) -> bool:
    """Whether ``folder`` is meant as a data set in this layout: one of the files lies in it."""
    return any(_find(folder, name) for name in FILES)


def idx_folder(folder: Path) -> DataSet:
    """Read the four files of a data set, plain or gzipped; the last tenth of the training images is for scoring.

    Raises:
        QnasError: a file is missing, cut off, of another layout, or has no label for each image; or there are fewer
            than two classes, or fewer training images than classes.
    """
    missing = [name for name in FILES if not _find(folder, name)]
    if missing:
        raise QnasError(
            f"A data set in the IDX layout has the files {', '.join(FILES)}, plain or with .gz, and {folder} lacks "
            f"{', '.join(missing)}; put them there."
        )
    train, test = _part(folder, TRAIN_IMAGES, TRAIN_LABELS), _part(folder, TEST_IMAGES, TEST_LABELS)
    if train[0].shape[1:] != test[0].shape[1:]:
        raise QnasError(
            f"Training and test images have one size, got {train[0].shape[2:]} and {test[0].shape[2:]} in {folder}; "
            "take files that belong together."
        )
    validation = len(train[1]) // VALIDATION_SHARE
    known, many = np.unique(train[1][: len(train[1]) - validation]), int(max(train[1].max(), test[1].max())) + 1
    if lacking := set(train[1].tolist()) - set(train[1][len(train[1]) - validation :].tolist()):
        raise QnasError(
            f"The last tenth of the training images is for scoring, so all classes are in it, but class {min(lacking)} "
            f"is not in {folder}; put the images into random order."
        )
    if len(known) < 2:
        raise QnasError(
            f"Training images are of two classes at least, got only class {known[0]} in {folder}; add some."
        )
    if many > len(train[1]) - validation:
        raise QnasError(
            f"There are as many training images as classes at least, got {len(train[1]) - validation} and labels up to "
            f"{many - 1} in {folder}; take files that belong together."
        )
    classes = tuple(str(label) for label in range(many))
    shift = min(train[0].shape[2:]) // SHIFT_SHARE
    return split_data(folder.name, classes, train, test, validation, shift=shift)


def read_idx(content: bytes, dimensions: int, source: str) -> NDArray[np.uint8]:
    """The values of an IDX file of unsigned bytes.

    Args:
        content: of the file, not compressed.
        dimensions: that it should have: 3 for images, 1 for labels.
        source: what to call it in an error.

    Raises:
        QnasError: the magic number is another, or there are not as many values as its sizes say.
    """
    magic, begin = bytes((0, 0, UNSIGNED_BYTES, dimensions)), 4 + 4 * dimensions
    if content[:4] != magic or len(content) < begin:
        raise QnasError(
            f"An IDX file of {dimensions} dimensions begins with {magic.hex(' ')} and its sizes, but {source} with "
            f"{content[:4].hex(' ') or 'nothing'}; fetch it again."
        )
    shape = [int.from_bytes(content[place : place + 4], "big") for place in range(4, begin, 4)]
    if prod(shape) == 0 or len(content) - begin != prod(shape):
        raise QnasError(
            f"An IDX file has one byte for each of the values that its sizes {shape} promise, but {source} has "
            f"{len(content) - begin}; fetch it again."
        )
    return np.frombuffer(bytearray(content), np.uint8, offset=begin).reshape(shape)  # a copy that may be written


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _part(folder: Path, images: str, labels: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    pixels, numbers = _read(folder, images, 3), _read(folder, labels, 1)
    if len(pixels) != len(numbers):
        raise QnasError(
            f"There is one label for each image, got {len(numbers)} labels for {len(pixels)} images in {images} of "
            f"{folder}; take files that belong together."
        )
    return pixels[:, None], numbers.astype(np.int64)


def _read(folder: Path, name: str, dimensions: int) -> NDArray[np.uint8]:
    path = _find(folder, name)
    assert path, name
    with reading(path, "an IDX file", "fetch it again"):
        content = unzipped(path, MOST_BYTES) if path.suffix == ".gz" else read_bytes(path, MOST_BYTES)
        return read_idx(content, dimensions, str(path))
