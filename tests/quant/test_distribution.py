"""Range, precision, mismatch and kurtosis held against closed forms, numpy and scipy."""

import numpy as np
import pytest
import torch
from scipy.stats import kurtosis as scipy_kurtosis

from qnas.quant.distribution import Distribution, distribution

CHANNELS = torch.tensor([[0.0, 1.0, 0.5], [-1.0, 1.0, 0.0], [-1.0, 3.0, 2.0]])
"""Of the ranges 1, 2 and 4, which is the tensor's."""


def test_channels_of_known_ranges() -> None:
    found = distribution(CHANNELS)
    assert found.range == 4
    assert found.precision == pytest.approx((1 / 4 + 2 / 4 + 4 / 4) / 3)
    assert found.mismatch == 1  # the median channel spans half of the whole


def test_ranges_are_widened_to_contain_0() -> None:
    found = distribution(torch.tensor([[2.0, 3.0], [-5.0, -4.0], [1.0, 2.0]]))
    assert found.range == 3 + 5
    assert found.precision == pytest.approx((3 + 5 + 2) / 3 / 8)
    assert found.mismatch == pytest.approx(np.log2(8 / 3))


def test_channels_of_one_range_use_the_whole_grid() -> None:
    found = distribution(torch.tensor([[-1.0, 2.0], [2.0, -1.0]]))
    assert (found.range, found.precision, found.mismatch) == (3, 1, 0)


@pytest.mark.parametrize("factor", [0.01, 7.0])
def test_scaling_a_tensor_scales_its_range_alone(factor: float) -> None:
    x = torch.randn(9, 4, 3, 3)
    before, after = distribution(x), distribution(factor * x)
    assert after.range == pytest.approx(factor * before.range, rel=1e-6)
    for name in ("precision", "mismatch", "kurtosis"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), rel=1e-5)


def test_scaling_a_channel_halves_its_precision() -> None:
    x = torch.tensor([[-1.0, 1.0]]).repeat(5, 1)
    x[0] *= 2
    found = distribution(x)
    assert (found.range, found.mismatch) == (4, 1)
    assert found.precision == pytest.approx((1 + 4 * 0.5) / 5)


def test_a_dead_channel_lowers_precision_and_is_no_mismatch() -> None:
    dead = torch.cat([CHANNELS, torch.zeros(1, 3)])
    assert distribution(dead).precision == pytest.approx(distribution(CHANNELS).precision * 3 / 4)
    assert distribution(dead).mismatch == 1
    assert distribution(torch.zeros(3, 4)) == Distribution(0, 0, 0, 0)


def test_channels_may_lie_along_any_axis() -> None:
    x = torch.randn(5, 3, 4, 4)
    moved, there = distribution(x, axis=1), distribution(x.transpose(0, 1))
    assert (moved.range, moved.precision, moved.mismatch) == (there.range, there.precision, there.mismatch)


def test_kurtosis_is_scipys() -> None:
    x = torch.randn(8, 100).pow(3)
    assert distribution(x).kurtosis == pytest.approx(scipy_kurtosis(x.numpy(), axis=None, fisher=False), rel=1e-5)
    assert distribution(torch.linspace(-1, 1, 10_001)[None]).kurtosis == pytest.approx(1.8, abs=1e-3)


def test_a_percentile_range_leaves_out_the_outer_hundredth() -> None:
    rows = torch.arange(201.0).repeat(2, 1)  # of 201 numbers two lie beyond each end
    rows[0, -1] = 1e6
    found = distribution(rows, fit="percentile")
    assert found.range == 198  # of 402 numbers four
    assert found.precision == 1
    assert distribution(rows).range == 1e6
