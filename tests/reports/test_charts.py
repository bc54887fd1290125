"""Figures in pixels: what is drawn lies within its axes, in the right order."""

import re
from itertools import pairwise

import pytest

from qnas.network.plan import Builder
from qnas.quant.scheme import FP32
from qnas.reports.charts import BOTTOM, LEFT, RIGHT, TOP, Axis, Mark, chart, drawing, records
from qnas.task import Task


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


def test_arcs_that_meet_have_lanes_of_their_own() -> None:
    builder = Builder(Task((3, 4, 4), 3), True, FP32)
    a = builder.conv("a", 0, 4, 3)
    b = builder.conv("b", a, 4, 3)
    c = builder.sum("c", a, builder.conv("d", b, 4, 3))
    plan = builder.classifier(builder.sum("e", b, c))
    found = drawing(plan)
    assert found.height == len(plan.nodes) == 8
    edges = {(source, place) for place, node in enumerate(plan.nodes) for source in node.inputs}
    ends = {(float(re.findall(r"[\d.]+", path)[1]), float(re.findall(r"[\d.]+", path)[-1])) for path in found.paths}
    assert ends == {(first + 0.5, last + 0.5) for first, last in edges}
    arcs = [re.match(r"M0 [\d.]+Q(-[\d.]+) ", path) for path in found.paths if "Q" in path]
    assert sorted(float(arc[1]) for arc in arcs if arc) == [-1.2, -0.6]
    assert found.width == pytest.approx(1.8)
