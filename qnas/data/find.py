"""From what a user calls a data set to the data: ``auto``, ``digits``, ``cifar10``, or a path."""

import os
from pathlib import Path

from qnas.data.cifar10 import FOLDER, cifar10, holds_cifar10
from qnas.data.digits import digits
from qnas.data.folder import image_folder
from qnas.data.images import DataSet
from qnas.errors import QnasError

VARIABLE = "QNAS_DATA"
SPACES = {"digits": "tiny", "cifar10": "mobile-small"}
"""The search space of a data set where none is named, that of its shipped checkpoint; ``mobile`` for all others."""


def default_space(data: str) -> str:
    """The search space that suits a data set."""
    return SPACES.get("cifar10" if is_cifar10(data) else data, "mobile")


def is_cifar10(data: str) -> bool:
    """Whether a name or path stands for CIFAR-10."""
    return data == "cifar10" or holds_cifar10(Path(data)) or holds_cifar10(Path(data) / FOLDER)


def cifar10_folder() -> Path | None:
    """Where CIFAR-10 lies on this machine: below ``QNAS_DATA``, or in ``~/.cache/qnas``; nothing if nowhere."""
    places = [Path(os.environ[VARIABLE])] if VARIABLE in os.environ else []
    places.append(Path.home() / ".cache" / "qnas")
    return next((path for place in places for path in (place, place / FOLDER) if holds_cifar10(path)), None)


def find_data(name: str) -> DataSet:
    """Load a data set.

    Args:
        name: ``digits``, ``cifar10``, a folder that holds CIFAR-10's binary files, or one with class folders.

    Raises:
        QnasError: there is no such data, or it cannot be used.
    """
    check_data(name)
    if name == "digits":
        return digits()
    if name == "cifar10":
        return cifar10(cifar10_folder() or Path())
    folder = Path(name)
    for candidate in (folder, folder / FOLDER):
        if holds_cifar10(candidate):
            return cifar10(candidate)
    return image_folder(folder)


def check_data(name: str) -> None:
    """Check, without reading the images, that there is such data.

    Raises:
        QnasError: the name is unknown, or nothing lies there.
    """
    if name == "cifar10":
        if cifar10_folder() is None:
            raise QnasError(
                f"CIFAR-10 is not on this machine (looked below ${VARIABLE} and in ~/.cache/qnas); unpack "
                f"cifar-10-binary.tar.gz into ~/.cache/qnas, or give its folder with --data PATH."
            )
    elif name != "digits" and not Path(name).is_dir():
        raise QnasError(f"A data set is digits, cifar10 or a folder of images, got {name!r}; name one of them.")
