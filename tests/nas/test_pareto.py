"""Fronts held against the definition of dominance, crowding against numbers by hand, and their order."""

from math import inf
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnas.nas.pareto import crowding, fronts, order

Point = tuple[int, ...]


@st.composite
def clouds(draw: st.DrawFn) -> list[Point]:
    """Small whole numbers, so that many are equal in one objective or in all."""
    objectives = draw(st.integers(1, 4))
    return draw(st.lists(st.tuples(*[st.integers(0, 4)] * objectives), min_size=1, max_size=16))


def dominates(left: Point, right: Point) -> bool:
    pairs = list(zip(left, right, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def peeled(points: list[Point]) -> list[list[int]]:
    """What nothing that is left dominates, taken away again and again."""
    left, result = list(range(len(points))), []
    while left:
        front = [one for one in left if not any(dominates(points[other], points[one]) for other in left)]
        result.append(front)
        left = [one for one in left if one not in front]
    return result


@given(clouds())
def test_fronts_are_what_nothing_that_is_left_dominates(points: list[Point]) -> None:
    assert fronts(points) == peeled(points)


def test_fronts_of_a_few_points_are_those_seen_by_eye() -> None:
    points = [(2, 2), (0, 3), (3, 0), (3, 3), (2, 2), (0, 4), (4, 4)]
    assert fronts(points) == [[0, 1, 2, 4], [3, 5], [6]]


def test_equal_points_stand_on_one_front() -> None:
    assert fronts([(1, 1)] * 3) == [[0, 1, 2]]


@given(clouds(), st.integers(1, 9))
def test_fronts_do_not_depend_on_units(points: list[Point], scale: int) -> None:
    assert fronts(np.array(points) * scale - 100.5) == fronts(points)


def test_crowding_is_the_sum_of_the_relative_gaps_between_neighbours() -> None:
    points = [(0, 10), (1, 6), (4, 5), (10, 0)]
    expected = [inf, 4 / 10 + 5 / 10, 9 / 10 + 6 / 10, inf]
    assert crowding(points).tolist() == pytest.approx(expected)


def test_crowding_follows_its_rows_wherever_they_stand() -> None:
    points = [(4, 5), (10, 0), (0, 10), (1, 6)]
    assert crowding(points).tolist() == pytest.approx([1.5, inf, inf, 0.9])


def test_crowding_is_relative_to_the_range_of_each_objective() -> None:
    points = np.array([(0, 10), (1, 6), (4, 5), (10, 0)])
    assert crowding(points * [1000, 0.001]).tolist() == pytest.approx(crowding(points).tolist())


def test_the_ends_of_any_objective_stand_apart() -> None:
    points = [(0, 4, 2), (4, 0, 2), (2, 2, 0), (2, 2, 4), (3, 1, 1)]
    found = crowding(points)
    assert np.isinf(found[:4]).all()
    assert found[4] == pytest.approx(2 / 4 + 2 / 4 + 2 / 4)


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_points_both_stand_apart(count: int) -> None:
    assert crowding([(1, 2), (2, 1)][:count]).tolist() == [inf] * count


def test_an_objective_that_is_the_same_for_all_adds_nothing_between_its_ends() -> None:
    assert crowding([(0, 3), (1, 3), (4, 3), (6, 3)]).tolist() == pytest.approx([inf, 4 / 6, 5 / 6, inf])


@given(clouds())
def test_the_order_takes_each_point_once_and_front_by_front(points: list[Point]) -> None:
    found = order(points)
    assert sorted(found) == list(range(len(points)))
    rank = {row: number for number, front in enumerate(peeled(points)) for row in front}
    assert [rank[row] for row in found] == sorted(rank.values())


@given(clouds())
def test_on_a_front_those_come_first_that_stand_apart(points: list[Point]) -> None:
    found, place = order(points), 0
    for front in peeled(points):
        distance = dict(zip(front, crowding([points[row] for row in front]).tolist(), strict=True))
        ordered = [distance[row] for row in found[place : place + len(front)]]
        assert ordered == sorted(ordered, reverse=True)
        place += len(front)


def test_the_order_of_a_few_points_is_that_found_by_hand() -> None:
    assert order([(11, 11), (1, 6), (4, 5), (10, 0), (0, 10)]) == [3, 4, 2, 1, 0]


def test_distinct_points_are_ordered_alike_however_they_are_listed() -> None:
    points = [(0, 10), (1, 6), (4, 5), (10, 0), (12, 12), (2, 13), (5, 12)]
    listed = points[:]
    Random(0).shuffle(listed)
    assert listed != points
    between = [[one[row] for row in order(one)][2:4] for one in (points, listed)]
    assert between == [[(4, 5), (1, 6)]] * 2
