"""The IDX layout: made files are read back as they were written; damaged ones are refused."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from qnas.data.idx import FILES, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, read_idx
from qnas.data.registry import find_data
from qnas.errors import QnasError

COUNT = 40


def idx(values: NDArray[np.uint8]) -> bytes:
    """Zero, zero, 8 for unsigned bytes, the number of dimensions, sizes of four bytes each, values."""
    sizes = b"".join(int(size).to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


def images(count: int, side: int = 28) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, side, side), dtype=np.uint8)


def labels(count: int) -> NDArray[np.uint8]:
    return (np.arange(count) % 3).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    parts = (images(COUNT), labels(COUNT), images(10), labels(10))
    for name, values in zip(FILES, parts, strict=True):
        (tmp_path / name).write_bytes(idx(values))
    return tmp_path


def test_a_folder_is_read_as_it_was_written(folder: Path) -> None:
    data = find_data(str(folder))
    assert (data.name, data.task.image, data.task.classes, data.is_mirrored(1e9)) == (
        folder.name,
        (1, 28, 28),
        3,
        False,
    )
    assert np.array_equal(data.train.pixels[:, 0], images(COUNT)[:36])
    assert np.array_equal(data.validation.pixels[:, 0], images(COUNT)[36:])
    assert np.array_equal(data.test.pixels[:, 0], images(10))
    assert np.array_equal(data.validation.labels, labels(COUNT)[36:])


def test_a_size_is_refused(folder: Path) -> None:
    with pytest.raises(QnasError, match="are as large as they are, got a size of 14x14; leave `image` out"):
        find_data(f"{folder}@14")


def test_gzipped_files_give_the_same(folder: Path) -> None:
    plain = find_data(str(folder))
    for name in (TRAIN_IMAGES, TEST_LABELS):
        path = folder / name
        path.with_name(f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    zipped = find_data(str(folder))
    assert np.array_equal(zipped.train.pixels, plain.train.pixels)
    assert np.array_equal(zipped.test.labels, plain.test.labels)


@given(arrays(np.uint8, st.tuples(*[st.integers(1, 4)] * 3)))
def test_values_survive_writing_and_reading(values: NDArray[np.uint8]) -> None:
    assert np.array_equal(read_idx(idx(values), 3, "made"), values)


@given(arrays(np.uint8, st.tuples(*[st.integers(1, 4)] * 3)), st.data())
def test_no_file_cut_short_is_read(values: NDArray[np.uint8], data: st.DataObject) -> None:
    content = idx(values)
    with pytest.raises(QnasError, match="made"):
        read_idx(content[: data.draw(st.integers(0, len(content) - 1))], 3, "made")


Change = Callable[[Path], object]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda at: (at / TEST_LABELS).unlink(), "lacks t10k-labels-idx1-ubyte; put them there"),
        (lambda at: (at / TRAIN_IMAGES).write_bytes(idx(images(COUNT))[:-1]), "has 31359; fetch it again"),
        (lambda at: (at / TRAIN_IMAGES).write_bytes(b""), "with nothing; fetch it again"),
        (lambda at: (at / TRAIN_IMAGES).write_bytes(idx(labels(5))), "of 3 dimensions .* with 00 00 08 01; fetch"),
        (lambda at: (at / TRAIN_LABELS).write_bytes(idx(labels(COUNT - 1))), "got 39 labels for 40 images"),
        (lambda at: (at / TEST_IMAGES).write_bytes(idx(images(10, 27))), r"got \(28, 28\) and \(27, 27\)"),
        (lambda at: (at / TEST_IMAGES).write_bytes(idx(images(10)[:0])), "fetch it again"),
        (lambda at: (at / TEST_IMAGES).rename(at / f"{TEST_IMAGES}.gz"), "cannot be read as an IDX file"),
        (lambda at: (at / TRAIN_LABELS).write_bytes(idx(labels(COUNT) // 3 + 7)), "got only class 7 in .*; add some"),
        (lambda at: (at / TRAIN_LABELS).write_bytes(idx(labels(COUNT) * 40)), "got 36 and labels up to 80 in"),
        (
            lambda at: (at / TRAIN_LABELS).write_bytes(idx(np.sort(labels(COUNT)))),
            "class 0 is not in .*; put the images",
        ),
    ],
    ids=[
        "missing",
        "cut",
        "empty",
        "labels for images",
        "labels short",
        "another size",
        "no images",
        "no gzip",
        "one class",
        "more classes than images",
        "sorted",
    ],
)
def test_unusable_files_are_refused(folder: Path, change: Change, sentence: str) -> None:
    change(folder)
    with pytest.raises(QnasError, match=sentence):
        find_data(str(folder))
