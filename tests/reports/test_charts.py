"""Figures in pixels: what is drawn lies within its axes, in the right order."""

from itertools import pairwise

import pytest

from qnas.reports.charts import BOTTOM, LEFT, RIGHT, TOP, Axis, Mark, chart, records


@pytest.mark.parametrize("values", [[97.2], [0.0, 100.0], [35.2, 98.3], [99.1, 99.9], [7170, 48370], [5, 5, 5]])
def test_an_axis_holds_its_values_between_its_ticks(values: list[float]) -> None:
    axis = Axis.of(values, LEFT, RIGHT)
    assert all(LEFT <= axis(value) <= RIGHT for value in values)
    places = [tick.place for tick in axis.ticks]
    assert (places[0], places[-1]) == (LEFT, RIGHT)
    assert all(one < other for one, other in pairwise(places))
    assert max(axis.values) <= 100 or max(values) > 99.5 or len(set(values)) == 1 or max(values) > 100


def test_ticks_are_short() -> None:
    assert [tick.text for tick in Axis.of([0, 1_590_976], 0, 1).ticks] == ["0", "500k", "1M", "1.5M", "2M"]


def test_marks_and_stairs_stand_where_their_values_are() -> None:
    marks = [Mark(0, 0, "low", 0, "a"), Mark(100, 50, "high", 2, "b")]
    found = chart("some", ("x", "y"), marks, {0: "dot", 2: "pick"}, [(0, 0), (50, 25), (100, 50)], "best")
    assert [(mark.x, mark.y) for mark in found.marks] == [(LEFT, BOTTOM), (RIGHT, TOP)]
    middle = ((LEFT + RIGHT) / 2, (BOTTOM + TOP) / 2)
    assert found.path == f"M{LEFT:.1f} {BOTTOM:.1f}H{middle[0]}V{middle[1]}H{RIGHT:.1f}V{TOP:.1f}"
    assert chart("some", ("x", "y"), marks, {}).path == ""


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], []),
        ([(1, 5.0)], [(1, 5.0), (1, 5.0)]),
        ([(1, 5.0), (2, 4.0), (3, 5.0), (4, 7.0), (5, 6.0)], [(1, 5.0), (4, 7.0), (5, 7.0)]),
    ],
)
def test_records_are_what_beats_all_before(
    points: list[tuple[float, float]], expected: list[tuple[float, float]]
) -> None:
    assert records(points) == expected
