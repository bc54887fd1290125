"""CIFAR-10 in its official binary layout (Krizhevsky, 2009): records of one label byte and 3,072 pixel bytes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qnas.data.images import DataSet, split_data
from qnas.errors import QnasError
from qnas.runs.reading import check_file

FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE, NAMES_FILE = "test_batch.bin", "batches.meta.txt"
IMAGE = (3, 32, 32)
RECORD = 1 + 3072
MOST_BYTES = 1 << 28
VALIDATION_SHARE = 10
ABOUT = "CIFAR-10: small colour photographs (Krizhevsky, 2009), 32 x 32 pixels; its makers name no licence."


def holds_cifar10(folder: Path) -> bool:
    """Whether all binary files lie in ``folder``."""
    return all((folder / name).is_file() for name in (*TRAIN_FILES, TEST_FILE, NAMES_FILE))


def find_cifar10(folder: Path) -> Path | None:
    """Where the binary files lie: in ``folder``, or in the folder inside it that the archive unpacks to."""
    return next((path for path in (folder, folder / FOLDER) if holds_cifar10(path)), None)


def cifar10(folder: Path) -> DataSet:
    """Read CIFAR-10; the last tenth of the training images, 5,000, is set aside for scoring.

    Raises:
        QnasError: a file is missing, cut off or holds no such records.
    """
    if not holds_cifar10(folder):
        raise QnasError(
            f"CIFAR-10 in its binary layout has the files {', '.join((*TRAIN_FILES, TEST_FILE, NAMES_FILE))}, not all "
            f"of which lie in {folder}; unpack cifar-10-binary.tar.gz there, or give its folder as `data`."
        )
    parts = [_read(folder / name) for name in TRAIN_FILES]
    train = (np.concatenate([pixels for pixels, _ in parts]), np.concatenate([labels for _, labels in parts]))
    names = tuple((folder / NAMES_FILE).read_text(encoding="utf-8").split())
    return split_data(
        "cifar10", names, train, _read(folder / TEST_FILE), len(train[1]) // VALIDATION_SHARE, shift=4, mirror_from=0,
        about=ABOUT,
    )  # fmt: skip


def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        check_file(path, MOST_BYTES)
    except ValueError as error:
        raise QnasError(f"A CIFAR-10 file is one of records, but {path} is not ({error}); fetch it again.") from error
    content = np.fromfile(path, np.uint8)
    if content.size == 0 or content.size % RECORD or content.reshape(-1, RECORD)[:, 0].max() > 9:
        raise QnasError(
            f"A CIFAR-10 file is made of records of {RECORD} bytes that begin with a label 0 to 9, but {path} "
            f"({content.size} bytes) is not; fetch it again."
        )
    records = content.reshape(-1, RECORD)
    return records[:, 1:].reshape(-1, *IMAGE), records[:, 0].astype(np.int64)
