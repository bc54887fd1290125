"""Quantization inside a float network: SimQuant (straight-through rounding) and NoiseQuant (equations 5 and 6).

Both take a tensor and its range (scalars, treated as constants) and return a tensor of the same shape, so that a
gradient passes from a quantized network to whatever made its weights.
"""

from typing import Any

import torch
from torch import Tensor

from qnas.quant.affine import grid_in_numbers, levels, step_and_zero_point

Number = Tensor | float


class _SimQuant(torch.autograd.Function):
    """Round to the grid; the gradient is the identity where the value was not clamped and zero where it was."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Number, lowest: Number, highest: Number, inside: bool) -> Tensor:
        ctx.inside = inside
        if inside:
            return rounded(x, step, lowest, highest, inside)
        before = torch.div(x, step).round_()
        after = before.clamp(lowest, highest)  # type: ignore[arg-type]  # both are numbers, or both tensors
        ctx.save_for_backward(before == after)
        return after.mul_(step)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        passed = gradient if ctx.inside else gradient * ctx.saved_tensors[0]
        return passed, None, None, None, None


def rounded(x: Tensor, step: Number, lowest: Number, highest: Number, inside: bool) -> Tensor:
    """The nearest multiples of ``step`` from ``lowest`` to ``highest`` steps.

    Values inside a range that begins at 0 round to no more than its steps. Where it begins below, the rounding of the
    zero point can leave one step too many at an end.
    """
    result = torch.div(x, step).round_()
    if not (inside and isinstance(lowest, float) and lowest == 0):
        result.clamp_(lowest, highest)  # type: ignore[arg-type]  # both are numbers, or both tensors
    return result.mul_(step)


def sim_quant(x: Tensor, low: Tensor, high: Tensor, bits: int, *, inside: bool = False) -> Tensor:
    """SimQuant: equation 1 and back, with straight-through gradients to ``x``.

    Args:
        x: real tensor, any shape.
        low: scalar, start of the range.
        high: scalar, end of the range.
        bits: width N.
        inside: promise that all of ``x`` lies within the range, which spares the gradient's mask.
    """
    step, zero_point = (step_and_zero_point if x.is_cuda else grid_in_numbers)(low.detach(), high.detach(), bits)
    numbers = (step, -zero_point, levels(bits) - zero_point)
    if not torch.is_grad_enabled():
        return rounded(x, *numbers, inside)
    result: Tensor = _SimQuant.apply(x, *numbers, inside)  # type: ignore[no-untyped-call]
    return result


def noise_quant(x: Tensor, low: Tensor, high: Tensor, bits: int, generator: torch.Generator | None = None) -> Tensor:
    """NoiseQuant: clamp, then uniform noise of one step's width (equation 5, drawn as in equation 6).

    Args:
        x: real tensor, any shape.
        low: scalar a, start of the range.
        high: scalar b, end of the range.
        bits: width N, which gives the step Δ of equation 2.
        generator: source of the noise.
    """
    low, high = low.detach().clamp(max=0), high.detach().clamp(min=0)
    step, _ = step_and_zero_point(low, high, bits)
    unit = torch.empty_like(x).uniform_(-1, 1, generator=generator)
    return x.clamp(low, high) + unit * (step / 2)
