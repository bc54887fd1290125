"""Tiling and normalisation held against their definitions."""

from math import sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qnas.ghn.decoder import ConvDecoder, fan_in_factor, tile

sizes = st.integers(1, 9)


@given(sizes, sizes, sizes, sizes)
def test_a_tiled_tensor_repeats_with_the_period_of_its_source(rows: int, columns: int, out: int, into: int) -> None:
    source = torch.randn(rows, columns, 3, 3)
    tiled = tile(source, (out, into, 3, 3))
    assert tiled.shape == (out, into, 3, 3)
    for row in range(out):
        for column in range(into):
            assert torch.equal(tiled[row, column], source[row % rows, column % columns])


@given(sizes, st.integers(1, 30))
def test_a_tiled_vector_repeats_with_the_period_of_its_source(period: int, length: int) -> None:
    source = torch.randn(period)
    assert tile(source, (length,)).tolist() == [source[place % period].item() for place in range(length)]


@pytest.mark.parametrize(
    ("shape", "factor"),
    [
        ((5, 4, 3, 3), sqrt(2 / 36)),
        ((5, 1, 3, 3), sqrt(1 / 9)),
        ((5, 8, 1, 1), sqrt(2 / 8)),
        ((5, 1, 1, 1), 1.0),
        ((10, 8), sqrt(2 / 8)),
    ],
)
def test_weights_are_scaled_by_their_fan_in(shape: tuple[int, ...], factor: float) -> None:
    assert fan_in_factor(shape) == pytest.approx(factor)


@pytest.mark.parametrize(("kernel", "out", "into"), [(1, 1, 1), (3, 8, 8), (5, 3, 8), (7, 8, 2), (7, 20, 30)])
def test_a_small_tensor_is_the_corner_of_the_largest(kernel: int, out: int, into: int) -> None:
    decoder = ConvDecoder(6, 8, 7, (5, 9)).double()
    states = torch.randn(3, 6, dtype=torch.float64)
    largest = decoder(states, 8, 8, 7)
    corner = largest[:, : min(out, 8), : min(into, 8), :kernel, :kernel]
    torch.testing.assert_close(decoder(states, out, into, kernel), corner, rtol=1e-12, atol=1e-12)
