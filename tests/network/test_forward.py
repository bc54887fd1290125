"""The quantized forward pass held against a network written out with torch's own fake_quantize and batch norm.

The float forward pass is held against plain torch modules in test_reference.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.network.arithmetic import DynamicArithmetic, arithmetic_for
from qnas.network.build import build_plan
from qnas.network.forward import forward
from qnas.network.plan import Builder, Plan
from qnas.quant.fold import EPSILON
from qnas.quant.scheme import PAPER_BITS, Bits
from qnas.space.genotype import Genotype
from qnas.task import Task

QUANTIZED = pytest.mark.parametrize("bits", PAPER_BITS[1:], ids=str)
EITHER = pytest.mark.parametrize("batch_norm", [True, False], ids=["batch norm", "bias"])


def small_plan(bits: Bits, batch_norm: bool) -> Plan:
    """Dense, depthwise and dilated layers, both pools, two sums that meet in a concatenation."""
    builder = Builder(Task((3, 8, 8), 4), batch_norm, bits)
    a = builder.conv("a", 0, 6, 3)
    b = builder.conv("b", a, 6, 3, stride=2, groups=6)
    c = builder.pool("c", "max_pool", a, 3, 2)
    d = builder.sum("d", b, c)
    e = builder.pool("e", "avg_pool", d, 3, 1)
    f = builder.conv("f", d, 6, 3, dilation=2, groups=6)
    g = builder.sum("g", e, f)
    return builder.classifier(builder.concat("h", [d, g]))


def grid(x: Tensor, bits: int) -> tuple[float, int]:
    """Step and zero point of the absolute range, or at 2 bits of numpy's 1st to 99th percentile."""
    numbers = x.detach().numpy()
    ends = np.percentile(numbers, [1, 99], method="nearest") if bits == 2 else [numbers.min(), numbers.max()]
    low, high = min(0.0, float(ends[0])), max(0.0, float(ends[1]))
    step = (high - low) / (2**bits - 1)
    return step, round(-low / step)


def rounded(x: Tensor, bits: int) -> Tensor:
    """Fake quantization by torch."""
    return torch.fake_quantize_per_tensor_affine(x, *grid(x, bits), 0, 2**bits - 1)


def marked(x: Tensor, bits: int) -> Tensor:
    """Something without ties in the place of rounding, which shows where it is done and at which width."""
    return x + 0.01 * bits


Round = Callable[[Tensor, int], Tensor]


def layer(x: Tensor, values: dict[str, Tensor], name: str, bits: Bits, q: Round, **how: int) -> Tensor:
    """A folded convolution with rounded weights and real bias, its ReLU and its rounded output."""
    weight = values[f"{name}/weight"]
    bias = values.get(f"{name}/bias")
    if bias is None:
        variance, mean = torch.var_mean(F.conv2d(x, weight, None, **how), dim=(0, 2, 3), correction=0)
        ratio = values[f"{name}/norm_weight"] / torch.sqrt(variance + EPSILON)
        weight, bias = weight * ratio[:, None, None, None], values[f"{name}/norm_bias"] - mean * ratio
    output = F.conv2d(x, q(weight, bits.weights), bias, **how)
    return q(torch.relu(output), bits.activations)


def written_out(values: dict[str, Tensor], images: Tensor, bits: Bits, q: Round) -> Tensor:
    """The logits of ``small_plan``, where ``q`` rounds."""
    width = bits.activations
    a = layer(q(images, 8), values, "a", bits, q, padding=1)
    b = layer(a, values, "b", bits, q, padding=1, stride=2, groups=6)
    d = b + F.max_pool2d(a, 3, 2, 1)
    e = q(F.avg_pool2d(q(d, width), 3, 1, 1, count_include_pad=False), width)
    g = e + layer(q(d, width), values, "f", bits, q, padding=2, dilation=2, groups=6)
    pooled = q(q(torch.cat([d, g], 1), width).mean((2, 3)), width)
    return F.linear(pooled, q(values["classifier/weight"], bits.weights), values["classifier/bias"])


def random_values(plan: Plan) -> dict[str, Tensor]:
    return {slot.name: torch.randn(slot.shape).requires_grad_() for slot in plan.slots}


@EITHER
@pytest.mark.parametrize("bits", [Bits(8, 8), Bits(4, 8)], ids=str)
def test_a_quantized_network_equals_one_written_out_with_torch(bits: Bits, batch_norm: bool) -> None:
    plan = small_plan(bits, batch_norm)
    values, images = random_values(plan), torch.randn(6, 3, 8, 8)
    found, expected = forward(plan, values, images, DynamicArithmetic()), written_out(values, images, bits, rounded)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.01 * expected.abs().max().item())


class Marking(DynamicArithmetic):
    """Marks what would be rounded."""

    def quantized(self, x: Tensor, bits: int, from_zero: bool = False) -> Tensor:
        return marked(x, bits)


class Recording(DynamicArithmetic):
    """Keeps what is rounded, to which width, and what comes of it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, int, Tensor]] = []

    def quantized(self, x: Tensor, bits: int, from_zero: bool = False) -> Tensor:
        result = super().quantized(x, bits, from_zero)
        self.calls.append((x.detach(), bits, result.detach()))
        return result


@EITHER
@QUANTIZED
def test_the_right_values_are_rounded_at_the_right_width(bits: Bits, batch_norm: bool) -> None:
    plan = small_plan(bits, batch_norm)
    values, images = random_values(plan), torch.randn(6, 3, 8, 8)
    found, expected = forward(plan, values, images, Marking()), written_out(values, images, bits, marked)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@QUANTIZED
def test_every_rounding_equals_that_of_torch_but_for_ties(bits: Bits) -> None:
    plan, recording = small_plan(bits, True), Recording()
    forward(plan, random_values(plan), torch.randn(6, 3, 8, 8), recording)
    assert len(recording.calls) == 4 + 9  # weights, and activations with the image
    for x, width, found in recording.calls:
        step, _ = grid(x, width)
        error = (found - rounded(x, width)).abs() / step
        tie = ((x / step).remainder(1) - 0.5).abs() < 1e-3
        assert error.max() < 1.001
        assert error[~tie].max() < 1e-3


@EITHER
def test_gradients_equal_those_of_the_network_written_out(batch_norm: bool) -> None:
    bits = Bits(8, 8)
    plan = small_plan(bits, batch_norm)
    values, images, weights = random_values(plan), torch.randn(6, 3, 8, 8), torch.randn(6, 4)
    ours = (forward(plan, values, images, DynamicArithmetic()) * weights).sum()
    theirs = (written_out(values, images, bits, rounded) * weights).sum()
    expected = torch.autograd.grad(theirs, list(values.values()))
    for name, mine, yours in zip(values, torch.autograd.grad(ours, list(values.values())), expected, strict=True):
        assert (mine - yours).abs().max() <= 0.02 * yours.abs().max(), name


@pytest.mark.parametrize("bits", PAPER_BITS, ids=str)
@EITHER
def test_a_gradient_reaches_every_parameter(genotype: Genotype, bits: Bits, batch_norm: bool) -> None:
    plan = build_plan(replace(genotype, batch_norm=batch_norm, bits=bits), Task((3, 8, 8), 4))
    values = random_values(plan)
    loss = F.cross_entropy(forward(plan, values, torch.randn(8, 3, 8, 8), arithmetic_for(plan)), torch.arange(8) % 4)
    loss.backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in values.values())
    assert [name for name, value in values.items() if value.grad is None or not value.grad.any()] == []
