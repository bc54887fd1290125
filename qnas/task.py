"""A task: what is to be learned from a data set's images. Knows no tensor."""

from dataclasses import dataclass
from math import prod

from qnas.errors import QnasError, shown

Shape = tuple[int, int, int]
"""(channels, height, width)."""
MOST_VALUES, MOST_CLASSES = 1 << 24, 1 << 16
"""Values of an image, and classes, that networks are built for."""


@dataclass(frozen=True)
class Task:
    """What networks are built for.

    Args:
        image: (channels, height, width) of an image.
        classes: how many.
        data: name of the data set; empty where none is meant.
        names: of the classes, in the order of the labels; empty where they have none.
        mean: of each channel over the training images, in 8-bit steps; an image is (pixel - mean) / deviation.
        deviation: standard deviation, likewise.
        highest: what white is, in 8-bit steps.

    Raises:
        QnasError: a size is out of range, or there are not as many names as classes.
    """

    image: Shape
    classes: int
    data: str = ""
    names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    highest: int = 255

    def __post_init__(self) -> None:
        if not all(type(size) is int for size in (*self.image, self.classes)):
            raise QnasError(
                f"The sizes of a task are whole numbers, got {shown(self.image)}, {shown(self.classes)}; correct them."
            )
        if len(self.image) != 3 or min(*self.image, self.classes) < 1:
            raise QnasError(
                f"A task has images of (channels, height, width) and classes, each 1 or more, got {shown(self.image)} "
                f"and {self.classes}; correct them."
            )
        if prod(self.image) > MOST_VALUES or self.classes > MOST_CLASSES:
            raise QnasError(
                f"A task has images of {MOST_VALUES:,} values and {MOST_CLASSES:,} classes at most, got "
                f"{shown(self.image)} and {self.classes}; make them smaller."
            )
        if self.names and len(self.names) != self.classes:
            raise QnasError(f"Every class has one name, got {len(self.names)} for {self.classes}; correct them.")
