"""Rescaling by integers held against exact rational arithmetic."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnas.quant.fixed_point import COARSEST, FINEST, HEADROOM, LARGEST, Rescaling, room, within_ends

RATIOS = st.floats(1e-9, 100.0)
OFFSETS = st.floats(-300.0, 300.0)


def one(ratio: float, offset: float, reach: int) -> Rescaling:
    span, shift = np.array([ratio * reach]), np.array([offset])
    point = room(span, shift)
    assert point is not None
    return Rescaling.of(np.array([ratio]), shift, point)


@given(RATIOS, OFFSETS, st.integers(-20_000, 20_000))
def test_an_output_is_one_floor_of_what_the_integers_stand_for(ratio: float, offset: float, accumulator: int) -> None:
    by = one(ratio, offset, 20_000)
    multiplier, shift, bias = (int(values[0]) for values in (by.multiplier, by.shift, by.bias))
    exact = floor(Fraction(accumulator * multiplier, 2 ** (shift + by.point)) + Fraction(bias, 2**by.point))
    assert by(np.array([accumulator])) == exact


@given(RATIOS, OFFSETS, st.integers(-20_000, 20_000))
def test_it_is_the_nearest_integer_but_where_halves_are_near(ratio: float, offset: float, accumulator: int) -> None:
    by, real = one(ratio, offset, 20_000), Fraction(accumulator) * Fraction(ratio) + Fraction(offset)
    slack = Fraction(1, 2**by.point) + abs(accumulator) * Fraction(ratio) / 2**29
    found = int(by(np.array([accumulator]))[0])
    assert abs(found - real) <= Fraction(1, 2) + slack


@given(RATIOS, OFFSETS, st.integers(1, 2**24))
def test_nothing_leaves_its_type(ratio: float, offset: float, reach: int) -> None:
    span, shift = np.array([ratio * reach]), np.array([offset])
    point = room(span, shift)
    if point is None:
        assert ratio * reach + abs(offset) + 2 > 2 ** (HEADROOM - COARSEST)
        return
    by = Rescaling.of(np.array([ratio]), shift, point)
    assert COARSEST <= point <= FINEST
    assert 0 <= by.multiplier[0] <= LARGEST
    assert 0 <= by.shift[0] <= 62
    for accumulator in (-reach, reach):
        scaled = int(by.scaled(np.array([accumulator]))[0])
        assert abs(scaled) <= LARGEST
        assert abs(scaled + int(by.bias[0])) <= LARGEST


def test_halves_go_up_for_either_sign() -> None:
    by = Rescaling.of(np.array([0.5]), np.array([0.0]), 20)
    assert by(np.array([[-3], [-1], [1], [3]])).ravel().tolist() == [-1, 0, 1, 2]


def test_a_ratio_of_one_leaves_integers_as_they_are() -> None:
    by = Rescaling.unshifted(np.array([1.0]), np.array([0.0]), 20)
    assert by(np.arange(-255, 256)[:, None]).ravel().tolist() == list(range(-255, 256))


@pytest.mark.parametrize("ratio", [1 - 2.0**-40, 2.0**-60, 0.0, 1.0, 63.999999999999])
def test_multipliers_have_31_bits_where_there_is_room(ratio: float) -> None:
    by = Rescaling.of(np.array([ratio]), np.array([0.0]), 10)
    exact = int(by.multiplier[0]) / 2.0 ** (int(by.shift[0]) + 10)
    assert exact == pytest.approx(ratio, rel=2**-30, abs=2**-72)


@given(st.floats(-1e12, 1e12), st.floats(0, 1000), st.integers(0, 255))
def test_offsets_beyond_the_ends_give_the_same_outputs(offset: float, span: float, highest: int) -> None:
    kept = float(within_ends(np.array([offset]), np.array([span]), highest)[0])
    assert abs(kept) <= span + highest + 2
    for added in (-span, 0.0, span):
        ends = [min(max(round(added + value), 0), highest) for value in (offset, kept)]
        assert ends[0] == ends[1]
