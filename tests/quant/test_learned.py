"""A trained step held against torch's fake_quantize and against LSQ written out in autograd (Esser et al., 2020)."""

import pytest
import torch
from torch import Tensor

from qnas.quant.learned import learned_quant

BITS = range(2, 9)


def values_around(step: float, bits: int) -> Tensor:
    """Values from 0 to far above the range, and every tie between two integers."""
    top = (2**bits - 1) * step
    return torch.cat([torch.empty(500).uniform_(0, 1.5 * top), torch.arange(2 * 2**bits + 3) * step / 2])


def lsq(x: Tensor, step: Tensor, bits: int) -> Tensor:
    """The paper's listing: a scaled gradient to the step, clamp, and rounding that lets the gradient through."""
    highest = 2**bits - 1
    share = 1 / (x.numel() * highest) ** 0.5
    scaled_step = (step - step * share).detach() + step * share
    scaled = torch.clamp(x / scaled_step, 0, highest)
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
    x, step = values_around(value, bits).requires_grad_(), torch.tensor(value, requires_grad=True)
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
