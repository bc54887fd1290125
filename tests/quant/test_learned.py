"""A trained step held against torch's fake_quantize and against LSQ written out in autograd (Esser et al., 2020)."""

import pytest
import torch
from torch import Tensor

from qnas.quant.learned import integer_ends, learned_quant, power_of_two

BITS = range(2, 9)


def values_around(step: float, bits: int) -> Tensor:
    """Values from 0 to far above the range, and every tie between two integers."""
    top = (2**bits - 1) * step
    return torch.cat([torch.empty(500).uniform_(0, 1.5 * top), torch.arange(2 * 2**bits + 3) * step / 2])


def values_with_a_sign(step: float, bits: int) -> Tensor:
    """Values from far below the range to far above it, and every tie between two integers."""
    half = 2 ** (bits - 1)
    spread = torch.empty(500).uniform_(-1.5 * half * step, 1.5 * half * step)
    return torch.cat([spread, torch.arange(-2 * half - 3, 2 * half + 4) * step / 2])


def lsq(x: Tensor, step: Tensor, bits: int, signed: bool = False) -> Tensor:
    """The paper's listing: a scaled gradient to the step, clamp, and rounding that lets the gradient through."""
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    share = 1 / (x.numel() * highest) ** 0.5
    scaled_step = (step - step * share).detach() + step * share
    scaled = torch.clamp(x / scaled_step, lowest, highest)
    return ((scaled.round() - scaled).detach() + scaled) * scaled_step


def gradients(result: Tensor, x: Tensor, step: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad((result * weights).sum(), (x, step))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("exponent", [-7, -2, 0, 3])
def test_the_forward_pass_equals_fake_quantize_of_torch(bits: int, exponent: int) -> None:
    step = 2.0**exponent  # a power of two, so that dividing and multiplying by its inverse are the same
    x = values_around(step, bits)
    expected = torch.fake_quantize_per_tensor_affine(x, step, 0, 0, 2**bits - 1)
    assert torch.equal(learned_quant(x, torch.tensor(step), bits), expected)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("value", [0.25, 0.37, 1.9])
def test_gradients_equal_those_of_lsq_written_out(bits: int, value: float) -> None:
    x, top = values_around(value, bits), value * (2**bits - 1)
    x = x[(x / top - 1).abs() > 1e-5].requires_grad_()  # where the gradient ends, the last bit would decide
    step = torch.tensor(value, requires_grad=True)
    weights = torch.randn(len(x))
    ours = gradients(learned_quant(x, step, bits), x, step, weights)
    theirs = gradients(lsq(x, step, bits), x, step, weights)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", BITS)
def test_above_the_range_the_value_is_the_highest_and_only_the_step_learns(bits: int) -> None:
    step = torch.tensor(0.5, requires_grad=True)
    x = torch.full((9,), 1000.0, requires_grad=True)
    result = learned_quant(x, step, bits)
    to_x, to_step = gradients(result, x, step, torch.ones(9))
    highest = 2**bits - 1
    assert torch.equal(result, torch.full((9,), 0.5 * highest))
    assert not to_x.any()
    assert to_step.item() == pytest.approx(9 * highest / (9 * highest) ** 0.5)


def test_the_gradient_to_the_step_grows_with_the_square_root_of_the_size() -> None:
    def of_copies(copies: int) -> float:
        x, step = torch.tensor([0.3, 1.7, 9.0]).repeat(copies), torch.tensor(0.5, requires_grad=True)
        learned_quant(x, step, 2).sum().backward()
        assert step.grad is not None
        return step.grad.item()

    assert of_copies(100) == pytest.approx(10 * of_copies(1))


@pytest.mark.parametrize("bits", BITS)
def test_the_ends_of_a_grid_hold_two_to_the_n_integers(bits: int) -> None:
    for signed in (False, True):
        lowest, highest = integer_ends(bits, signed)
        assert highest - lowest + 1 == 2**bits
        assert lowest == (-(2 ** (bits - 1)) if signed else 0)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("exponent", [-7, -2, 0, 3])
def test_with_a_sign_the_forward_pass_equals_fake_quantize_of_torch(bits: int, exponent: int) -> None:
    step, half = 2.0**exponent, 2 ** (bits - 1)
    x = values_with_a_sign(step, bits)
    expected = torch.fake_quantize_per_tensor_affine(x, step, 0, -half, half - 1)
    assert torch.equal(learned_quant(x, torch.tensor(step), bits, signed=True), expected)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("value", [0.25, 0.37, 1.9])
def test_with_a_sign_values_and_gradients_equal_those_of_lsq_written_out(bits: int, value: float) -> None:
    x = values_with_a_sign(value, bits)[:500].requires_grad_()  # no ties, which the last bit of the step would decide
    step, weights = torch.tensor(value, requires_grad=True), torch.randn(len(x))
    found, expected = learned_quant(x, step, bits, signed=True), lsq(x, step, bits, signed=True)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    ours, theirs = gradients(found, x, step, weights), gradients(expected, x, step, weights)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", BITS)
def test_below_the_range_the_value_is_the_lowest_and_only_the_step_learns(bits: int) -> None:
    step = torch.tensor(0.5, requires_grad=True)
    x = torch.full((9,), -1000.0, requires_grad=True)
    result = learned_quant(x, step, bits, signed=True)
    to_x, to_step = gradients(result, x, step, torch.ones(9))
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    assert torch.equal(result, torch.full((9,), 0.5 * lowest))
    assert not to_x.any()
    assert to_step.item() == pytest.approx(9 * lowest / (9 * highest) ** 0.5)


def test_rounding_to_powers_of_two_lets_the_gradient_of_the_exponent_through() -> None:
    log = torch.tensor([-3.2, 0.1, 0.69, 4.0], requires_grad=True)
    found = power_of_two(log.exp())
    assert torch.equal(found, torch.exp2((log.detach() / torch.tensor(2.0).log()).round()))
    (gradient,) = torch.autograd.grad(found.sum(), log)  # straight through: that of exp(log), at the rounded value
    torch.testing.assert_close(gradient, found.detach())
