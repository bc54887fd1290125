"""A folder of class folders of images, or one with such folders called ``train`` and ``test``."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from qnas.data.images import DataSet, split_data
from qnas.errors import QnasError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm")
SIDE = 32
GREY = ("1", "L", "I;16", "I;16B")
FEWEST = 10
"""Images a class needs, so that each part of the data gets some."""


def image_folder(folder: Path, side: int = SIDE) -> DataSet:
    """Read all images at ``side`` x ``side`` pixels: grey if all of them are, else in colour.

    Without ``train`` and ``test`` folders, one image in five is kept for testing; of the training images one in five
    is set aside for scoring. Both splits are stratified by class and always the same.

    Raises:
        QnasError: fewer than two classes, too few images of one, or a file that is no image.
    """
    from sklearn.model_selection import train_test_split  # which no embedded or known data set needs

    divided = (folder / "train").is_dir() and (folder / "test").is_dir()
    names = _class_names(folder / "train" if divided else folder)
    files, labels = _list(folder / "train" if divided else folder, names)
    grey = all(_open(path).mode in GREY for path in files)
    pixels = _read(files, side, grey)
    if divided:
        test_files, test_labels = _list(folder / "test", names)
        train, test = (pixels, labels), (_read(test_files, side, grey), test_labels)
    else:
        kept, held = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
        train, test = (pixels[kept], labels[kept]), (pixels[held], labels[held])
    first, last = train_test_split(np.arange(len(train[1])), test_size=0.2, stratify=train[1], random_state=0)
    order = np.concatenate([first, last])
    return split_data(
        folder.name, names, (train[0][order], train[1][order]), test, len(last), shift=side // 8, mirror=True
    )


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))
    if len(names) < 2:
        raise QnasError(
            f"An image folder needs one folder for each of at least two classes, got {len(names)} in {folder}; "
            "sort the images into folders named after their classes."
        )
    return names


def _list(folder: Path, names: tuple[str, ...]) -> tuple[list[Path], NDArray[np.int64]]:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in ENDINGS)
        if len(found) < FEWEST:
            raise QnasError(
                f"Each class needs at least {FEWEST} images ({', '.join(ENDINGS)}), got {len(found)} in "
                f"{folder / name}; add some, or remove the class."
            )
        files += found
        labels += [label] * len(found)
    return files, np.array(labels)


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return image.copy()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise QnasError(
            f"Every image file must be readable, but {path} is not ({error}); mend or remove it."
        ) from error


def _read(files: list[Path], side: int, grey: bool) -> NDArray[np.uint8]:
    images = [np.asarray(_eight_bit(_open(path), grey).resize((side, side))).reshape(side, side, -1) for path in files]
    return np.stack(images).transpose(0, 3, 1, 2)


def _eight_bit(image: Image.Image, grey: bool) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    return image.convert("L" if grey else "RGB")
