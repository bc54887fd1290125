"""What a data set holds, for a look before training: counts, sizes, kinds, imbalance, repetitions, faces."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from qnas.data.images import DataSet, Images
from qnas.data.pixels import upright_size

PARTS = ("train", "validation", "test")
FACES = 12
"""Images of every class on a contact sheet."""
GAP = 2
"""Pixels between them."""
LETTERS, LINE = 24, 12
"""Letters of a class's name beside its images, and pixels of their line."""


@dataclass(frozen=True)
class Survey:
    """A data set at a glance.

    Args:
        data: its name.
        image: channels, height and width that networks see.
        classes: names.
        counts: images of each class, for each part.
        repeated: images of each part that a part before it has too (training, validation, test), pixel for pixel as
            networks see them; in the training part those that occur again.
        sizes: smallest, median and largest width and height of the files, where there are files.
        modes: how many files are of each of Pillow's modes, likewise.
        remarks: on how it was read, and how much was left out.
        left_out: names of the files that were, by the reason.
    """

    data: str
    image: tuple[int, int, int]
    classes: tuple[str, ...]
    counts: dict[str, list[int]]
    repeated: dict[str, int]
    sizes: tuple[tuple[int, ...], ...]
    modes: dict[str, int]
    remarks: tuple[str, ...]
    left_out: dict[str, tuple[str, ...]]

    @property
    def imbalance(self) -> float:
        """Images of the largest class for each of the smallest, over all training images."""
        counts = self.counts["train"]
        return max(counts) / max(1, min(counts))

    @property
    def majority(self) -> float:
        """The share of the test images, in per cent, that are of the commonest class: what guessing it always gives."""
        counts = self.counts["test"]
        return 100 * max(counts) / sum(counts)

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {**asdict(self), "imbalance": self.imbalance, "majority": self.majority}


def survey(data: DataSet, files: Sequence[Path] = ()) -> Survey:
    """Look at a data set.

    Args:
        data: as it was read.
        files: that it was read from; of embedded and known data there are none.
    """
    sizes, modes = [], Counter[str]()
    for path in files:
        with Image.open(path) as image:
            sizes.append(upright_size(path) or image.size)
            modes[image.mode] += 1
    sides = np.array(sizes)
    ends = [tuple(int(side) for side in np.quantile(sides, share, axis=0)) for share in (0, 0.5, 1) if sizes]
    known = [one.tobytes() for one in _pixels(data.train)]
    digests = {sha256(one).digest() for one in known}
    repeated = {"train": len(known) - len(digests)}
    for part in PARTS[1:]:
        own = [sha256(one.tobytes()).digest() for one in _pixels(getattr(data, part))]
        repeated[part] = sum(one in digests for one in own)
        digests.update(own)
    counts = {part: _counts(getattr(data, part), data.task.classes) for part in PARTS}
    kinds = dict(modes.most_common())
    return Survey(
        data.name, data.task.image, data.task.names, counts, repeated, tuple(ends), kinds, data.remarks,
        dict(data.left_out),
    )  # fmt: skip


def contact_sheet(data: DataSet) -> Image.Image:
    """The first training images of every class, a row each, as networks see them."""
    channels, height, width = data.task.image
    size = (FACES * (width + GAP) - GAP, data.task.classes * (height + GAP) - GAP)
    sheet = Image.new("RGB" if channels == 3 else "L", size, "white")
    pixels, labels = _pixels(data.train), data.train.labels.numpy()
    brightest = int(pixels.max())
    for label in range(data.task.classes):
        for place, one in enumerate(pixels[labels == label][:FACES]):
            sheet.paste(face(one, brightest), (place * (width + GAP), label * (height + GAP)))
    return sheet


def labelled_sheet(data: DataSet) -> Image.Image:
    """The contact sheet with number and name of each class beside it; other letters than Latin ones are `?`."""
    sheet, names = contact_sheet(data), [f"{place} {name}" for place, name in enumerate(data.task.names)]
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    legible = [name.encode("latin-1", "replace").decode("latin-1")[:LETTERS] for name in names]
    left = GAP + max(int(pen.textlength(name)) for name in legible) + GAP
    row = max(data.task.image[1] + GAP, LINE)
    found = Image.new(sheet.mode, (left + sheet.width, row * len(names)), "white")
    pen = ImageDraw.Draw(found)
    for place, name in enumerate(legible):
        top = place * (data.task.image[1] + GAP)
        found.paste(sheet.crop((0, top, sheet.width, top + data.task.image[1])), (left, place * row))
        pen.text((GAP, place * row), name, fill="black")
    return found


def face(pixels: np.ndarray[Any, np.dtype[np.uint8]], brightest: int) -> Image.Image:
    """One image (channels, height, width) for people: three channels in colour, the first of others in grey.

    Args:
        pixels: of the image.
        brightest: what white is, the highest value of the training images, which may be far below 255.
    """
    shown = np.rint(np.minimum(pixels, brightest) * (255 / max(1, brightest))).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(shown.transpose(1, 2, 0)) if len(shown) == 3 else shown[0])


def _pixels(images: Images) -> np.ndarray[Any, np.dtype[np.uint8]]:
    pixels: np.ndarray[Any, np.dtype[np.uint8]] = images.pixels.numpy()
    return pixels


def _counts(images: Images, classes: int) -> list[int]:
    counts: list[int] = images.labels.bincount(minlength=classes).tolist()
    return counts
