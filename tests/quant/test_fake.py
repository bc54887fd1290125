"""SimQuant held against PyTorch's fake_quantize and Brevitas, NoiseQuant against the uniform distribution it states."""

import warnings

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from qnas.quant.fake import noise_quant, sim_quant
from qnas.quant.grid import Grid

BITS = range(2, 9)
reals = st.floats(-1000, 1000, width=32)
values = st.lists(reals, min_size=1, max_size=20)
bit_widths = st.integers(2, 8)


def scalar(value: float) -> Tensor:
    return torch.tensor(value)


def quantized(x: list[float], low: float, high: float, bits: int) -> Tensor:
    return sim_quant(torch.tensor(x), Grid.spanning(scalar(min(low, high)), scalar(max(low, high)), bits))


def ends(step: float, zero_point: int, bits: int) -> tuple[Tensor, Tensor]:
    """The range whose grid has this step and zero point."""
    return scalar(-zero_point * step), scalar((2**bits - 1 - zero_point) * step)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_forward_and_backward_equal_fake_quantize_of_torch(bits: int, share: float) -> None:
    step, zero_point = 0.125, round(share * (2**bits - 1))
    low, high = ends(step, zero_point, bits)
    x = torch.empty(4, 5, 6).uniform_(low.item() - 3 * step, high.item() + 3 * step)
    gradient = torch.randn_like(x)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    result = sim_quant(ours, Grid.spanning(low, high, bits))
    expected = torch.fake_quantize_per_tensor_affine(theirs, step, zero_point, 0, 2**bits - 1)
    result.backward(gradient)
    expected.backward(gradient)
    assert torch.equal(result, expected)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("bits", BITS)
def test_any_range_equals_fake_quantize_of_torch_away_from_ties(bits: int) -> None:
    low, high = -0.73, 1.91
    step = (high - low) / (2**bits - 1)
    x = torch.randn(2000)
    x = x[((x / step).remainder(1) - 0.5).abs() > 1e-3]
    result = sim_quant(x, Grid.spanning(scalar(low), scalar(high), bits))
    expected = torch.fake_quantize_per_tensor_affine(x, step, round(-low / step), 0, 2**bits - 1)
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("axis", [0, 1])
def test_forward_and_backward_equal_fake_quantize_of_torch_a_channel(bits: int, axis: int) -> None:
    x = torch.randn(4, 5, 6)
    count = x.shape[axis]
    scale = 2.0 ** torch.arange(-4, count - 4)
    zero_point = torch.arange(count).float() % 2**bits
    gradient = torch.randn_like(x)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    result = sim_quant(ours, Grid(scale, zero_point, bits, axis))
    expected = torch.fake_quantize_per_channel_affine(theirs, scale, zero_point.int(), axis, 0, 2**bits - 1)
    result.backward(gradient)
    expected.backward(gradient)
    assert torch.equal(result, expected)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("zero_point", range(4))
def test_ties_go_to_the_even_integer(zero_point: int) -> None:
    low, high = ends(0.5, zero_point, 2)
    ties = torch.arange(-9, 10, 2) * 0.25
    even = torch.tensor([-4, -4, -2, -2, 0, 0, 2, 2, 4, 4]) * 0.5
    assert torch.equal(sim_quant(ties, Grid.spanning(low, high, 2)), even.clamp(low, high))


def test_ties_equal_fake_quantize_of_torch() -> None:
    low, high = ends(0.5, 3, 3)
    ties = torch.arange(-21, 22, 2) * 0.25
    expected = torch.fake_quantize_per_tensor_affine(ties, 0.5, 3, 0, 7)
    assert torch.equal(sim_quant(ties, Grid.spanning(low, high, 3)), expected)


@pytest.mark.parametrize("bits", BITS)
def test_random_tensors_equal_brevitas(bits: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quant = pytest.importorskip("brevitas.core.quant")
    step, zero_point = 0.37, (2**bits - 1) // 3
    low, high = ends(step, zero_point, bits)
    x = torch.randn(2000) * high
    oracle = quant.IntQuant(narrow_range=False, signed=False, input_view_impl=torch.nn.Identity())
    expected = oracle(scalar(step), scalar(float(zero_point)), scalar(float(bits)), x)
    torch.testing.assert_close(sim_quant(x, Grid.spanning(low, high, bits)), expected, rtol=1e-5, atol=1e-5)


@given(values, reals, reals, bit_widths)
def test_quantizing_twice_changes_nothing(x: list[float], low: float, high: float, bits: int) -> None:
    once = quantized(x, low, high, bits)
    assert torch.equal(quantized(once.tolist(), low, high, bits), once)


@given(values, reals, reals, bit_widths)
def test_results_lie_in_the_range_widened_by_half_a_step(x: list[float], low: float, high: float, bits: int) -> None:
    below, above = min(low, high, 0), max(low, high, 0)
    assume(above - below > 1e-3)
    half = (above - below) / (2**bits - 1) / 2 + 1e-6 * (1 + above - below)
    result = quantized(x, low, high, bits)
    assert result.min() >= below - half
    assert result.max() <= above + half


@given(values, reals, reals, bit_widths)
def test_results_take_at_most_two_to_the_n_values(x: list[float], low: float, high: float, bits: int) -> None:
    dense = torch.linspace(min(low, high) - 1, max(low, high) + 1, 3000).tolist() + x
    assert len(quantized(dense, low, high, bits).unique()) <= 2**bits


@given(values, reals, reals, bit_widths)
def test_order_is_kept(x: list[float], low: float, high: float, bits: int) -> None:
    result = quantized(sorted(x), low, high, bits)
    assert torch.equal(result, result.sort().values)


@given(bit_widths, st.integers(0, 255), st.integers(-8, 8))
def test_values_on_the_grid_stay(bits: int, place: int, exponent: int) -> None:
    largest = 2**bits - 1
    step, zero_point = 2.0**exponent, place % (largest + 1)
    numbers = (torch.arange(largest + 1) - zero_point) * step
    grid = Grid.spanning(*ends(step, zero_point, bits), bits)
    assert torch.equal(sim_quant(numbers, grid), numbers)


@given(reals, reals, bit_widths)
def test_zero_stays_zero(low: float, high: float, bits: int) -> None:
    assert quantized([0.0], low, high, bits).item() == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), reals, reals, bit_widths)
def test_inside_the_range_the_error_is_at_most_half_a_step(
    shares: list[float], low: float, high: float, bits: int
) -> None:
    below, above = min(low, high, 0.0), max(low, high, 0.0)
    x = [below + share * (above - below) for share in shares]
    half = (above - below) / (2**bits - 1) / 2
    error = quantized(x, low, high, bits) - torch.tensor(x)
    assert error.abs().max() <= half + 1e-6 * (1 + above - below)


def test_the_gradient_is_one_inside_and_zero_where_clamped() -> None:
    x = torch.tensor([-9.0, -1.0, 0.3, 2.0, 9.0], requires_grad=True)
    sim_quant(x, Grid.spanning(scalar(-1.0), scalar(2.0), 2)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_no_gradient_reaches_the_range() -> None:
    low, high = scalar(-1.0).requires_grad_(), scalar(2.0).requires_grad_()
    assert not sim_quant(torch.randn(5), Grid.spanning(low, high, 4)).requires_grad
    channels = Grid.spanning(low.repeat(5), high.repeat(5), 4, axis=0)
    assert not sim_quant(torch.randn(5, 3), channels).requires_grad


def test_the_promise_of_being_inside_changes_no_value_and_passes_the_whole_gradient() -> None:
    x = torch.randn(500, requires_grad=True)
    low, high = x.detach().min(), x.detach().max()
    promised = sim_quant(x, Grid.spanning(low, high, 4, clips=False))
    promised.sum().backward()
    assert torch.equal(promised, sim_quant(x, Grid.spanning(low, high, 4)))
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones(500))


def test_the_input_is_left_alone() -> None:
    x = torch.randn(50)
    before = x.clone()
    sim_quant(x, Grid.spanning(x.min(), x.max(), 2))
    noise_quant(x, x.min(), x.max(), 2)
    assert torch.equal(x, before)


@pytest.mark.parametrize("bits", BITS)
def test_noise_stays_within_half_a_step(bits: int) -> None:
    low, high = -0.5, 1.5
    x = torch.empty(10_000).uniform_(low, high)
    half = (high - low) / (2**bits - 1) / 2
    noise = noise_quant(x, scalar(low), scalar(high), bits) - x
    assert noise.abs().max() <= half + 1e-6


@pytest.mark.parametrize("bits", BITS)
def test_noise_has_the_mean_and_variance_of_rounding(bits: int) -> None:
    step = 2.0 / (2**bits - 1)
    noise = noise_quant(torch.zeros(200_000).double(), scalar(-0.5), scalar(1.5), bits)
    assert abs(noise.mean().item()) < 0.01 * step
    assert noise.var().item() == pytest.approx(step**2 / 12, rel=0.01)


def test_noise_is_uniform() -> None:
    noise = noise_quant(torch.zeros(100_000), scalar(-0.5), scalar(1.0), 2) / 0.5
    counts = torch.histc(noise, 10, -0.5, 0.5)
    assert counts.sum() == 100_000
    assert (counts / 10_000 - 1).abs().max() < 0.05


def test_noise_clamps_before_it_is_added() -> None:
    result = noise_quant(torch.tensor([-50.0] * 1000 + [50.0] * 1000), scalar(-1.0), scalar(2.0), 2)
    assert (result[:1000] + 1).abs().max() <= 0.5
    assert (result[1000:] - 2).abs().max() <= 0.5


def test_the_gradient_of_noise_is_one_inside_and_zero_where_clamped() -> None:
    x = torch.tensor([-9.0, -0.9, 0.3, 1.9, 9.0], requires_grad=True)
    noise_quant(x, scalar(-1.0), scalar(2.0), 2).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_noise_widens_its_range_to_zero() -> None:
    result = noise_quant(torch.zeros(1000), scalar(2.0), scalar(3.0), 2)
    assert result.abs().max() <= 0.5


def test_noise_is_reproducible_from_its_generator() -> None:
    x = torch.randn(100)
    first, second, other = (
        noise_quant(x, x.min(), x.max(), 4, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@given(st.lists(st.floats(0, 1000, width=32), min_size=1, max_size=50), st.integers(2, 8), st.booleans())
def test_a_range_from_zero_needs_no_clamping(values: list[float], bits: int, grad: bool) -> None:
    x = torch.tensor(values)
    with torch.set_grad_enabled(grad):
        found, expected = (
            sim_quant(x, Grid.spanning(x.new_zeros(()), x.max(), bits, clips=clips)) for clips in (False, True)
        )
    assert torch.equal(found, expected)
