"""Ranges held against numpy: exact for small tensors, within a tolerance for those that are sampled."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qnas.quant.grid import asymmetric
from qnas.quant.ranges import absolute_range, percentile_range, range_of, usual_fit


@given(st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=50))
def test_the_absolute_range_is_minimum_and_maximum(values: list[float]) -> None:
    low, high = absolute_range(torch.tensor(values))
    assert (low.item(), high.item()) == (min(values), max(values))


@pytest.mark.parametrize("count", [1, 2, 10, 37, 100, 101, 130, 1000, 8191, 8192])
def test_small_tensors_have_the_exact_percentiles(count: int) -> None:
    x = torch.randn(count)
    expected = np.percentile(x.numpy(), [1, 99], method="nearest")
    assert [end.item() for end in percentile_range(x)] == expected.tolist()


@pytest.mark.parametrize("clipped", [0.0, 0.05, 0.2])
def test_another_share_can_be_clipped(clipped: float) -> None:
    x = torch.randn(777)
    expected = np.percentile(x.numpy(), [100 * clipped, 100 * (1 - clipped)], method="nearest")
    assert [end.item() for end in percentile_range(x, clipped)] == expected.tolist()


def test_the_percentiles_of_a_tensor_do_not_depend_on_its_shape() -> None:
    x = torch.randn(2, 4, 5, 6)
    expected = np.percentile(x.numpy(), [1, 99], method="nearest")
    assert [end.item() for end in percentile_range(x)] == expected.tolist()


@pytest.mark.parametrize("shape", [(200_000,), (64, 32, 16, 16), (33, 24, 13, 11), (512, 256, 3, 3)])
def test_large_tensors_have_nearly_the_percentiles_of_all_their_values(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    ranks = [(x < end).float().mean().item() for end in percentile_range(x)]
    assert ranks == pytest.approx([0.01, 0.99], abs=0.005)


@pytest.mark.parametrize("channels", [8, 48, 64, 96])
def test_the_sample_of_a_large_tensor_meets_every_channel(channels: int) -> None:
    x = torch.zeros(16, channels, 32, 32)
    x[:, :: channels // 8] = torch.randn(16, 8, 32, 32) + 5
    expected = np.percentile(x.numpy(), [1, 99], method="nearest")
    assert [end.item() for end in percentile_range(x)] == pytest.approx(expected.tolist(), abs=0.3)


def test_two_bits_are_clipped_and_three_are_not() -> None:
    x = torch.cat([torch.linspace(-1, 1, 999), torch.tensor([50.0])])
    inner = tuple(np.percentile(x.numpy(), [1, 99], method="nearest"))
    assert tuple(end.item() for end in range_of(x, usual_fit(2))) == inner
    assert all(tuple(end.item() for end in range_of(x, usual_fit(bits))) == (-1, 50) for bits in range(3, 9))


@pytest.mark.parametrize(
    ("shape", "stride"), [((32, 12, 8, 8), 3), ((64, 24, 4, 4), 3), ((64, 40, 4, 4), 5), ((64, 56, 4, 4), 7)], ids=str
)
def test_the_sample_meets_every_channel_whatever_their_number(shape: tuple[int, ...], stride: int) -> None:
    x = torch.rand(shape) + 5
    x[:, ::stride] = 0
    expected = np.percentile(x.numpy(), [1, 99], method="nearest")
    assert [end.item() for end in percentile_range(x)] == pytest.approx(expected.tolist(), abs=0.3)


@given(st.lists(st.floats(0, 1000, width=32), min_size=1, max_size=50), st.integers(3, 8))
def test_a_range_from_zero_gives_the_same_grid(values: list[float], bits: int) -> None:
    x = torch.tensor(values)
    low, high = range_of(x, usual_fit(bits), from_zero=True)
    assert (low, high) == (0, x.max())
    assert [step.item() for step in asymmetric(low, high, bits)] == [
        step.item() for step in asymmetric(*range_of(x, usual_fit(bits)), bits)
    ]


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("clipped", [0.01, 0.1])
def test_ranges_along_an_axis_are_those_of_its_entries(axis: int, clipped: float) -> None:
    x = torch.randn(5, 40, 30)
    entries = x.unbind(axis)
    for found, alone in (
        (absolute_range(x, axis=axis), [absolute_range(entry) for entry in entries]),
        (percentile_range(x, clipped, axis), [percentile_range(entry, clipped) for entry in entries]),
    ):
        assert torch.equal(torch.stack(found), torch.stack([torch.stack(ends) for ends in alone], 1))


def test_percentiles_may_come_from_all_values() -> None:
    values = torch.randn(50_000, generator=torch.Generator().manual_seed(0))
    low, high = percentile_range(values, sample=len(values))
    assert [low.item(), high.item()] == np.quantile(values.numpy(), [0.01, 0.99], method="nearest").tolist()
