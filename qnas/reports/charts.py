"""Plain figures of a page, in pixels: marks and one staircase on two axes.

What is computed here is drawn by the page's template.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from matplotlib.ticker import EngFormatter, MaxNLocator

LEFT, RIGHT, TOP, BOTTOM = 54, 420, 10, 236
"""Where the axes are, of 440 x 280 pixels."""
TICKS, STEPS = 5, (1, 2, 2.5, 5, 10)
"""Distances of ticks at most, and what they may be, times a power of ten: such that no axis of per cent passes 100."""

Point = tuple[float, float]


class Mark(NamedTuple):
    """A point in the units of its figure: what hovering over it says, its kind (0, 1 or 2), and where it leads."""

    x: float
    y: float
    text: str
    kind: int
    link: str


class Tick(NamedTuple):
    """A place on an axis in pixels, and what stands there."""

    place: float
    text: str


@dataclass(frozen=True)
class Axis:
    """One axis: its ticks' values, and the pixels of its two ends."""

    values: Sequence[float]
    start: float
    end: float

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float) -> "Axis":
        """An axis that holds all values."""
        low, high = min(values), max(values)
        apart = low < high
        ticks = MaxNLocator(TICKS, steps=STEPS)
        return cls(ticks.tick_values(low if apart else low - 1, high if apart else low + 1), start, end)

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        first, last = self.values[0], self.values[-1]
        return round(float(self.start + (value - first) / (last - first) * (self.end - self.start)), 1)

    @property
    def ticks(self) -> list[Tick]:
        """All ticks."""
        write = EngFormatter(sep="")
        return [Tick(self(value), write(value)) for value in self.values]


@dataclass(frozen=True)
class Chart:
    """A figure: its name, what its axes are, their ticks, marks in pixels, a line, and what both are."""

    name: str
    axes: tuple[str, str]
    xticks: list[Tick]
    yticks: list[Tick]
    marks: list[Mark]
    kinds: dict[int, str]
    path: str
    line: str


def chart(
    name: str,
    axes: tuple[str, str],
    marks: Sequence[Mark],
    kinds: dict[int, str],
    stairs: Sequence[Point] = (),
    line: str = "",
) -> Chart:
    """A figure.

    Args:
        name: of the figure.
        axes: what stands along x and y.
        marks: one or more, in the units of the axes.
        kinds: what the kinds of marks are.
        stairs: points of a line that holds each y until the next x.
        line: what that is.
    """
    points = [*((mark.x, mark.y) for mark in marks), *stairs]
    x, y = Axis.of([point[0] for point in points], LEFT, RIGHT), Axis.of([point[1] for point in points], BOTTOM, TOP)
    corners = [f"H{x(place)}V{y(value)}" for place, value in stairs[1:]]
    path = "".join([f"M{x(stairs[0][0])} {y(stairs[0][1])}", *corners]) if stairs else ""
    placed = [mark._replace(x=x(mark.x), y=y(mark.y)) for mark in marks]
    return Chart(name, axes, x.ticks, y.ticks, placed, kinds, path, line)


def records(points: Iterable[Point]) -> list[Point]:
    """Those of points, in order of x, that are higher than all before them, and the last x again."""
    best: list[Point] = []
    place = 0.0
    for place, value in points:
        if not best or value > best[-1][1]:
            best.append((place, value))
    return [*best, (place, best[-1][1])] if best else []
