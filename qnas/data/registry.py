"""The data sets that qnas knows, and from what a user calls one to the data.

A new data set is a file beside this one and a row in ``SOURCES``.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qnas.data.cifar10 import cifar10, find_cifar10
from qnas.data.digits import digits
from qnas.data.fashion import fashion
from qnas.data.folder import image_folder
from qnas.data.idx import holds_idx, idx_folder
from qnas.data.images import DataSet
from qnas.data.table import TABLES
from qnas.errors import UNPRINTABLE, QnasError, shown
from qnas.resources import CACHE, cache

VARIABLE = "QNAS_DATA"
SIZED, SMALLEST, LARGEST = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?"), 4, 1024
"""How a size is written, in one number or two, and what its numbers may be."""
Size = str | int | tuple[int, int]
"""Height and width of images, such as ``48x64`` or (48, 64), or one number for both; empty for the usual ones."""


@dataclass(frozen=True)
class Source:
    """One row.

    Args:
        name: what users call it.
        space: the search space that suits it, which is that of its shipped checkpoint.
        load: reads it from the place that ``find`` gave.
        find: where it lies in a folder, if it does; nothing for a data set that ships with the package.
        remedy: how a user gets it.
    """

    name: str
    space: str
    load: Callable[[Path], DataSet]
    find: Callable[[Path], Path | None] | None = None
    remedy: str = ""

    @property
    def place(self) -> Path | None:
        """Where it lies on this machine: here if it ships, else below ``QNAS_DATA`` or in ``~/.cache/qnas``."""
        if self.find is None:
            return Path()
        return next((found for folder in _usual_folders() if (found := self.find(folder))), None)


SOURCES = {
    row.name: row
    for row in (
        Source("digits", "tiny", lambda place: digits()),
        Source("fashion", "fashion", lambda place: fashion()),
        Source("cifar10", "cifar", cifar10, find_cifar10, f"unpack cifar-10-binary.tar.gz into {CACHE}"),
    )
}
OTHER_SPACE = "cifar"
"""The search space of folders of images."""


def _usual_folders() -> Iterator[Path]:
    if VARIABLE in os.environ:
        yield Path(os.environ[VARIABLE])
    if (home := cache()) is not None:
        yield home


def known_as(data: str) -> str:
    """The name of the data set that a name or path stands for; the path itself if it is none of ``SOURCES``."""
    if data in SOURCES:
        return data
    return next((row.name for row in SOURCES.values() if row.find and row.find(Path(data))), data)


def default_space(data: str) -> str:
    """The search space that suits a data set."""
    name = known_as(data)
    return SOURCES[name].space if name in SOURCES else OTHER_SPACE


def find_data(data: str) -> DataSet:
    """Load a data set.

    Args:
        data: a name of ``SOURCES``, a folder that holds such a data set or IDX files, or one of images, with their
            size (``with_size``), else they get their usual one (``qnas.data.folder.usual_size``).

    Raises:
        QnasError: there is no such data, or it cannot be used.
    """
    check_data(data)
    source = SOURCES.get(known_as(data))
    if source is None:
        place, size = sized(data)
        return image_folder(place, size) if is_image_folder(data) else idx_folder(place)
    given = source.find(Path(data)) if source.find and data != source.name else source.place
    return source.load(given or Path())


def find_again(data: str, fingerprint: Mapping[str, Any]) -> DataSet:
    """The data set that a run was of.

    Args:
        data: as the run's settings have it.
        fingerprint: of the images (``DataSet.fingerprint``), likewise; empty in runs of before there was one.

    Raises:
        QnasError: the images lie elsewhere now, cannot be read, or have changed.
    """
    try:
        found = find_data(data)
    except QnasError as error:
        raise QnasError(
            f"The images of a run lie where it says, got none that can be read in {shown(data)} ({error}); if they lie "
            "elsewhere now, the command that began the run, given that place as `data`, notes it."
        ) from error
    seen = found.fingerprint if fingerprint else {}
    changed = [name for name, value in fingerprint.items() if seen[name] != value]
    if changed:
        raise QnasError(
            f"The images have changed since the run began, got other {', '.join(changed)} in {shown(data)}; put them "
            "back, or begin another run."
        )
    return found


def is_image_folder(data: str) -> bool:
    """Whether data are a folder of images: neither known by a name nor IDX files."""
    return known_as(data) not in SOURCES and not holds_idx(sized(data)[0])


def with_size(data: str, image: Size) -> str:
    """What a folder is called whose images get a size: after it @, width x height, as settings of runs have it.

    Raises:
        QnasError: the size is none, or the folder has one already.
    """
    text = "x".join(map(str, image)) if isinstance(image, tuple) else str(image)
    if not text:
        return data
    asked = SIZED.fullmatch(text)
    if not asked:
        raise _no_size(text)
    place, size = sized(data)
    if size:
        raise QnasError(f"Images get one size, got {said(size)} in {data!r} and `image={text!r}`; leave one out.")
    height, width = asked[1], asked[2] or asked[1]
    named = f"{place}@{width}x{height}"
    if Path(named).exists():
        raise QnasError(
            f"A folder that is called {named!r} stands for one of its own; rename it, or leave `image` out."
        )
    return named


def sized(data: str) -> tuple[Path, tuple[int, int] | None]:
    """The folder that a text names, and the height and width that its images get, where it says so (``with_size``)."""
    place, _, tail = data.rpartition("@")
    asked = SIZED.fullmatch(tail)
    if not asked or not place or Path(data).exists():
        return Path(data), None
    return Path(place), (int(asked[2] or asked[1]), int(asked[1]))


def said(size: tuple[int, int]) -> str:
    """Height and width as a user gives them."""
    return f"{size[0]}x{size[1]}"


def arguments(data: str) -> str:
    """How a call gives data whose images may have a size of their own (``with_size``)."""
    place, size = sized(data)
    return f"data={str(place)!r}" + (f", image={said(size)!r}" if size else "")


def _meant(place: Path) -> str:
    """What a name may have meant that is no data set and no folder."""
    beside = [str(path) for path in place.parent.iterdir() if path.is_dir()] if place.parent.is_dir() else []
    close = difflib.get_close_matches(str(place), [*SOURCES, *beside], n=1)
    return f"did you mean {close[0]!r}?" if close else "there is no such folder; give one of them as `data`."


def _no_size(text: str) -> QnasError:
    return QnasError(
        f"Images are {SMALLEST} to {LARGEST} pixels high and wide, got {shown(text)}; give `image=64`, or height and "
        "width, `image='48x64'`."
    )


def check_data(data: str) -> None:
    """Check, without reading the images, that there is such data.

    Raises:
        QnasError: the name is unknown, nothing lies there, or its images cannot get the size.
    """
    source, (place, size) = SOURCES.get(data), sized(data)
    if size and (known_as(str(place)) in SOURCES or holds_idx(place)):
        raise QnasError(
            f"Images of {place} are as large as they are, got a size of {said(size)}; leave `image` out, or give a "
            "folder of image files as `data`."
        )
    if source is not None and source.place is None:
        raise QnasError(
            f"The data set {data} is not on this machine (looked below ${VARIABLE} and in {CACHE}); {source.remedy}, "
            "or give its folder as `data`."
        )
    if source is None and not place.is_dir():
        table = place.suffix.lower() in TABLES and place.is_file()
        remedy = f"give the folder that holds it, {str(place.parent)!r}, as `data`." if table else _meant(place)
        raise QnasError(f"A data set is {', '.join(SOURCES)} or a folder of images, got {data!r}; {remedy}")
    if size and not SMALLEST <= min(size) <= max(size) <= LARGEST:
        raise _no_size(said(size))
    if source is None and UNPRINTABLE.search(str(Path(data).resolve())):
        raise QnasError(
            f"Data lie where a terminal can show it, got {shown(Path(data).resolve().name)}; rename the folder."
        )
