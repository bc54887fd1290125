"""A folder of images, of class folders, parts or a table (``qnas.data.listing``), as a data set."""

import logging
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qnas.data.images import DataSet, split_data
from qnas.data.kept import kept
from qnas.data.listing import list_images
from qnas.data.pixels import read_images, upright_size

log = logging.getLogger("qnas")
LONGEST_SIDE, SHORTEST_SIDE = 64, 8
"""Pixels of the longer side of an image, unless others are asked for, and of its shorter one."""
KEPT_FROM = 32_000_000
"""Bytes of files from which on their pixels are kept, so that they are decoded once."""
SHIFT_SHARE = 8
"""Images may be shifted by their shorter side over this."""
HELD = 0.2
"""Share of the images that is kept for testing, and of the rest for scoring, where the folder has no such parts."""
Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def image_folder(folder: Path, size: tuple[int, int] | None = None) -> DataSet:
    """Read all images at one size (height, width), by default ``usual_size``: grey if all of them are, else in colour.

    Parts that the folder lacks are taken from the training images, a fifth of each class, always the same.

    Raises:
        QnasError: the folder cannot be listed, or a file is no image.
    """
    found = list_images(folder)
    entries = [entry for part in found.parts.values() for entry in part]
    files, labels = [path for path, _ in entries], np.array([label for _, label in entries])
    size = size or usual_size(files)
    pixels = _decoded(files, size, folder)
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
        remarks=tuple(found.remarks()),
    )  # fmt: skip


def usual_size(files: Sequence[Path]) -> tuple[int, int]:
    """Height and width for image files: their medians, of both sides in proportion no more than ``LONGEST_SIDE``."""
    sizes = [size for path in files if (size := upright_size(path))] or [(LONGEST_SIDE, LONGEST_SIDE)]
    width, height = np.median(sizes, axis=0)
    scale = min(1.0, LONGEST_SIDE / max(width, height))
    return max(SHORTEST_SIDE, round(height * scale)), max(SHORTEST_SIDE, round(width * scale))


def _decoded(files: Sequence[Path], size: tuple[int, int], folder: Path) -> NDArray[np.uint8]:
    """The pixels of all files; of many bytes they are kept, by the files' content."""
    total = sum(path.stat().st_size for path in files)
    if total < KEPT_FROM:
        return read_images(files, size)
    content = blake2b(repr(size).encode(), digest_size=8)
    for path in files:
        content.update(blake2b(path.read_bytes()).digest())

    def decode() -> NDArray[np.uint8]:
        log.info("Decoding %d images (%d MB) of %s, once.", len(files), total // 10**6, folder)
        return read_images(files, size)

    return kept(f"images-{content.hexdigest()}", decode)


def _held_out(part: Part) -> tuple[Part, Part]:
    """A part without a fifth of each class, and that fifth."""
    from sklearn.model_selection import train_test_split  # which no embedded or known data set needs

    pixels, labels = part
    kept, held = train_test_split(np.arange(len(labels)), test_size=HELD, stratify=labels, random_state=0)
    return (pixels[kept], labels[kept]), (pixels[held], labels[held])
