"""The nearest entry of a vocabulary, held against a search through all of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnas.graph.vocabulary import (
    BIT_WIDTH_INDEX,
    BIT_WIDTHS,
    CHANNELS,
    KERNELS,
    PRIMITIVE_INDEX,
    PRIMITIVES,
    SIDE_INDEX,
    SIDES,
    nearest,
    shape_code,
)
from qnas.space.operations import OPERATIONS

entries = st.sets(st.integers(0, 100), min_size=1, max_size=10).map(lambda numbers: tuple(sorted(numbers)))


@given(st.integers(-10, 120), entries)
def test_no_entry_is_nearer(value: int, words: tuple[int, ...]) -> None:
    assert nearest(value, words) == min(range(len(words)), key=lambda index: (abs(words[index] - value), index))


def test_of_two_equally_near_entries_the_smaller_is_taken() -> None:
    assert [nearest(value, (2, 6, 10)) for value in (4, 8)] == [0, 1]


@given(entries)
def test_an_entry_is_its_own_nearest(words: tuple[int, ...]) -> None:
    assert [nearest(word, words) for word in words] == list(range(len(words)))


@given(st.integers(0, 20_000), st.integers(0, 20_000), st.integers(0, 40))
def test_a_shape_code_names_the_nearest_words(channels_out: int, channels_in: int, kernel: int) -> None:
    out, into, height, width = shape_code(channels_out, channels_in, kernel)
    assert abs(CHANNELS[out] - channels_out) == min(abs(word - channels_out) for word in CHANNELS)
    assert abs(CHANNELS[into] - channels_in) == min(abs(word - channels_in) for word in CHANNELS)
    assert abs(KERNELS[height] - kernel) == min(abs(word - kernel) for word in KERNELS)
    assert height == width


def test_channels_are_those_of_ghn_2() -> None:
    assert CHANNELS[:9] == (1, 3, 8, 10, 16, 24, 32, 40, 48)
    assert CHANNELS[9:] == (56, *range(64, 4081, 16), *range(4096, 8193, 32))


def test_kernels_are_those_of_ghn_2() -> None:
    assert KERNELS == (1, 3, 5, 7, 9, 11, 14, 16)


@pytest.mark.parametrize("table", [PRIMITIVE_INDEX, BIT_WIDTH_INDEX], ids=["primitives", "widths"])
def test_an_index_finds_its_word(table: dict[object, int]) -> None:
    words = PRIMITIVES if table is PRIMITIVE_INDEX else BIT_WIDTHS
    assert all(words[index] == word for word, index in table.items())
    assert len(table) == len(words)


def test_every_width_of_a_scheme_has_a_word() -> None:
    assert set(BIT_WIDTHS) == {*range(2, 9), 32}


def test_sides_are_powers_of_two_and_between_them() -> None:
    assert SIDES[1::2] == (2, 4, 8, 16, 32, 64, 128, 256)
    assert list(SIDES) == sorted(set(SIDES))
    assert [SIDES[SIDE_INDEX[side]] for side in (1, 7, 14, 28, 100, 256)] == [1, 6, 16, 32, 91, 256]


def test_pools_of_the_operations_have_words() -> None:
    assert {name for name in OPERATIONS if "pool" in name} <= set(PRIMITIVES)
