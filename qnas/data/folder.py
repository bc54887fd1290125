"""A folder of images, of class folders, parts or a table (``qnas.data.listing``), as a data set."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from qnas.data.images import DataSet, split_data
from qnas.data.kept import kept
from qnas.data.listing import list_images
from qnas.data.pixels import PREPARED, read_images, upright_size
from qnas.errors import QnasError, printable
from qnas.runs.progress import counted

log = logging.getLogger("qnas")
LONGEST_SIDE, SHORTEST_SIDE = 64, 8
"""Pixels of the longer side of an image, unless others are asked for, and of its shorter one."""
KEPT_FROM = 32_000_000
"""Bytes of files from which on their pixels are kept, so that they are decoded once."""
LARGEST_FILE = 1 << 28
"""Bytes of an image file."""
MANY = 2_000
"""Images whose reading takes long enough to be said."""
STRETCHED = 2.0
"""From how many times their proportions on stretched images are remarked upon."""
SHIFT_SHARE = 8
"""Images may be shifted by their shorter side over this."""
HELD = 0.2
"""Share of the images that is kept for testing, and of the rest for scoring, where the folder has no such parts."""
Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def image_folder(folder: Path, size: tuple[int, int] | None = None) -> DataSet:
    """Read all images at one size (height, width), by default ``usual_size``: grey if all of them are, else in colour.

    Parts that the folder lacks are taken from the training images, a fifth of each class, always the same. In every
    part classes are mixed, so that its first images tell of all of them.

    Raises:
        QnasError: the folder cannot be listed, a file is no image, all images are the same, or one went meanwhile.
    """
    found = list_images(folder)
    entries = [entry for part in found.parts.values() for entry in part]
    files, labels = [path for path, _ in entries], np.array([label for _, label in entries])
    if len(files) >= MANY:
        log.info("Reading %d images of %s.", len(files), folder)
    sizes = list(counted(map(upright_size, files), len(files), "Looked at"))
    size = size or usual_size(sizes)
    pixels = _decoded(files, size, folder)
    if all(np.array_equal(one, pixels[0]) for one in pixels):
        raise QnasError(
            f"Images differ from each other, got {len(pixels)} that are all the same in {folder}; mend them."
        )
    ends = np.cumsum([len(part) for part in found.parts.values()])[:-1]
    parts: dict[str, Part] = dict(
        zip(found.parts, zip(np.split(pixels, ends), np.split(labels, ends), strict=True), strict=True)
    )
    lacking = [part for part in ("test", "validation") if part not in parts]
    for part in lacking:
        parts["train"], parts[part] = _held_out(parts["train"])  # which mixes both
    for part in found.parts if not lacking else found.parts.keys() - {"train"}:
        parts[part] = _mixed(parts[part])
    joined = (
        np.concatenate([parts["train"][0], parts["validation"][0]]),
        np.concatenate([parts["train"][1], parts["validation"][1]]),
    )
    last = len(parts["validation"][1])
    data = split_data(
        folder.resolve().name, found.classes, joined, parts["test"], last,
        shift=min(size) // SHIFT_SHARE, mirror_from=0, remarks=(*found.remarks(), *_resized(sizes, size)),
    )  # fmt: skip
    return replace(data, left_out=found.names_left_out())


def usual_size(sizes: Sequence[tuple[int, int] | None]) -> tuple[int, int]:
    """Height and width for images of these widths and heights, where they are known.

    The medians, if these are no more than ``LONGEST_SIDE``; else in proportion, to whole ``SHORTEST_SIDE``, which
    networks can halve three times.
    """
    width, height = np.median([size for size in sizes if size] or [(LONGEST_SIDE, LONGEST_SIDE)], axis=0)
    whole, scale = (
        (1, 1.0) if max(width, height) <= LONGEST_SIDE else (SHORTEST_SIDE, LONGEST_SIDE / max(width, height))
    )
    high, wide = (max(SHORTEST_SIDE, whole * round(side * scale / whole)) for side in (height, width))
    return high, wide


def _resized(sizes: Sequence[tuple[int, int] | None], size: tuple[int, int]) -> list[str]:
    """Sentences on images of these widths and heights that change much where all get one height and width."""
    known = [size for size in sizes if size]
    small = [one for one in known if min(one) < SHORTEST_SIDE]
    stretches = [one[0] / one[1] * size[0] / size[1] for one in known]
    stretched = sum(max(stretch, 1 / stretch) >= STRETCHED for stretch in stretches)
    told = []
    if small:
        width, height = min(small)
        told.append(
            f"{len(small)} of {len(known)} images have fewer than {SHORTEST_SIDE} pixels on a side (one has {height} x "
            f"{width}): there is little to see."
        )
    if stretched:
        told.append(
            f"{stretched} of {len(known)} images lose their proportions, by {STRETCHED:g} times or more, as all get "
            f"{size[0]} x {size[1]} pixels (height x width)."
        )
    return told


def _decoded(files: Sequence[Path], size: tuple[int, int], folder: Path) -> NDArray[np.uint8]:
    """The pixels of all files; of many bytes they are kept, by the files' content.

    Raises:
        QnasError: a file is no image, or one went or changed meanwhile.
    """
    with _staying():
        stamps = [_stamp(path) for path in files]
        total = sum(length for length, _ in stamps)
        keeps = total >= KEPT_FROM
        content = blake2b(repr((size, PREPARED, PIL.__version__)).encode(), digest_size=8)
        for path, (length, _) in zip(files, stamps, strict=True) if keeps else ():
            if length > LARGEST_FILE:
                raise QnasError(
                    f"The file of an image has at most {LARGEST_FILE:,} bytes, but {printable(str(path))} has "
                    f"{length:,}; make the image smaller."
                )
            content.update(blake2b(path.read_bytes()).digest())

    def decode() -> NDArray[np.uint8]:
        if keeps:
            log.info("Decoding %d images (%d MB) of %s, once.", len(files), total // 10**6, folder)
        pixels = read_images(files, size)
        with _staying():
            changed = [path for path, stamp in zip(files, stamps, strict=True) if _stamp(path) != stamp]
        if changed:
            raise QnasError(
                f"Images stay as they are while they are read, but {printable(str(changed[0]))} changed; the same "
                "command reads the folder again."
            )
        return pixels

    return kept(f"images-{content.hexdigest()}", decode) if keeps else decode()


@contextmanager
def _staying() -> Iterator[None]:
    """Says of a file that cannot be read that it was there a moment ago."""
    try:
        yield
    except OSError as error:
        raise QnasError(
            f"Images stay where they are while they are read, but {error.filename} cannot be read ({error.strerror}); "
            "the same command reads the folder again."
        ) from error


def _stamp(path: Path) -> tuple[int, int]:
    """Length and time of the last change of a file, by which a change is noticed."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _mixed(part: Part) -> Part:
    """A part in random order, always the same."""
    order = np.random.default_rng(0).permutation(len(part[1]))
    return part[0][order], part[1][order]


def _held_out(part: Part) -> tuple[Part, Part]:
    """A part without a fifth of each class, and that fifth."""
    from sklearn.model_selection import train_test_split  # which no embedded or known data set needs

    pixels, labels = part
    kept, held = train_test_split(np.arange(len(labels)), test_size=HELD, stratify=labels, random_state=0)
    return (pixels[kept], labels[kept]), (pixels[held], labels[held])
