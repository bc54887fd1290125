"""The embedded data set: Fashion-MNIST (Xiao, Rasul, Vollgraf 2017; MIT licence, Zalando SE), 28 x 28 grey images.

It ships as one archive: IDX files of 10,000 images each, so that they are unpacked side by side, once.
"""

import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qnas.data.idx import read_idx
from qnas.data.images import DataSet, split_data
from qnas.data.kept import kept
from qnas.digest import digest_of

ARCHIVE = Path(__file__).with_name("fashion-mnist.zip")
PARTS = tuple(f"images-{number}.idx" for number in range(7))
"""The 60,000 training images, then the 10,000 test images."""
LABELS = "labels.idx"
TRAIN, VALIDATION = 60_000, 5_000
SHIFT = 2
MIRROR_FROM = 20.0
"""Passes. In 9.3 mirrored images cost half a point, in 36 they gain one (docs/training.md)."""
ABOUT = (
    "Fashion-MNIST: articles of Zalando's shop (Xiao, Rasul and Vollgraf, 2017), 28 x 28 grey pixels, light on a black "
    "ground; the Zalando SE holds the copyright."
)
CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def fashion() -> DataSet:
    """Fashion-MNIST: 55,000 training, 5,000 validation (the last of the training part) and 10,000 test images.

    They are mirrored in long runs only: 99.7 % of sneakers, 100 % of ankle boots and 93 % of sandals are nearer to
    their class's mean image than to its mirror image, so mirrored ones are of another distribution, though shoes.
    """
    pixels, labels = _pixels(), _unpack((LABELS,), 1)[0].astype(np.int64)
    train, test = (pixels[:TRAIN], labels[:TRAIN]), (pixels[TRAIN:], labels[TRAIN:])
    return split_data(
        "fashion", CLASSES, train, test, VALIDATION, shift=SHIFT, mirror_from=MIRROR_FROM, about=ABOUT,
        licence="MIT",
    )  # fmt: skip


def _pixels() -> NDArray[np.uint8]:
    with zipfile.ZipFile(ARCHIVE) as archive:
        sums = {name: archive.getinfo(name).CRC for name in PARTS}
    return kept(f"fashion-mnist-{digest_of(sums)}", lambda: np.concatenate(_unpack(PARTS, 3))[:, None])


def _unpack(names: Sequence[str], dimensions: int) -> list[NDArray[np.uint8]]:
    def one(name: str) -> NDArray[np.uint8]:
        with zipfile.ZipFile(ARCHIVE) as archive:
            return read_idx(archive.read(name), dimensions, f"{ARCHIVE}/{name}")

    with ThreadPoolExecutor() as threads:
        return list(threads.map(one, names))
