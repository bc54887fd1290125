"""A folder of images, of class folders, parts or a table (``qnas.data.listing``), as a data set."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qnas.data.images import DataSet, split_data
from qnas.data.listing import list_images
from qnas.data.pixels import read_images

SIZE = (32, 32)
"""Height and width, unless others are asked for."""
SHIFT_SHARE = 8
"""Images may be shifted by their shorter side over this."""
PREPARE = "first frame, upright, alpha over white, resized to {} x {} pixels (Pillow, bicubic with antialiasing); then "
HELD = 0.2
"""Share of the images that is kept for testing, and of the rest for scoring, where the folder has no such parts."""
Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def image_folder(folder: Path, size: tuple[int, int] = SIZE) -> DataSet:
    """Read all images at one size (height, width): grey if all of them are, else in colour.

    Parts that the folder lacks are taken from the training images, a fifth of each class, always the same.

    Raises:
        QnasError: the folder cannot be listed, or a file is no image.
    """
    found = list_images(folder)
    entries = [entry for part in found.parts.values() for entry in part]
    pixels, labels = read_images([path for path, _ in entries], size), np.array([label for _, label in entries])
    ends = np.cumsum([len(part) for part in found.parts.values()])[:-1]
    parts: dict[str, Part] = dict(
        zip(found.parts, zip(np.split(pixels, ends), np.split(labels, ends), strict=True), strict=True)
    )
    for part in ("test", "validation"):
        if part not in parts:
            parts["train"], parts[part] = _held_out(parts["train"])
    joined = (
        np.concatenate([parts["train"][0], parts["validation"][0]]),
        np.concatenate([parts["train"][1], parts["validation"][1]]),
    )
    last = len(parts["validation"][1])
    return split_data(
        folder.resolve().name, found.classes, joined, parts["test"], last, shift=min(size) // SHIFT_SHARE, mirror=True,
        remarks=tuple(found.remarks()), prepare=PREPARE.format(size[1], size[0]),
    )  # fmt: skip


def _held_out(part: Part) -> tuple[Part, Part]:
    """A part without a fifth of each class, and that fifth."""
    from sklearn.model_selection import train_test_split  # which no embedded or known data set needs

    pixels, labels = part
    kept, held = train_test_split(np.arange(len(labels)), test_size=HELD, stratify=labels, random_state=0)
    return (pixels[kept], labels[kept]), (pixels[held], labels[held])
