"""Quantization with a trained step size, for weights and activations (LSQ: Esser et al., 2020)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.quant.grid import levels, nearest_power_of_two

MARGIN = 1e-6
"""How far beyond the ends, as a share of the highest, gradients still pass: many values lie at the ends themselves."""


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lowest: int, highest: int) -> Tensor:
        ctx.save_for_backward(x)
        margin = MARGIN * highest
        ctx.ends = lowest - margin, highest + margin
        return F.hardtanh(x, lowest, highest).round_()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        if x.dim() == 4:  # the gradient of a global average is laid out otherwise, and so would all before it be
            gradient = gradient.contiguous(memory_format=torch.channels_last)
        return torch.ops.aten.hardtanh_backward(gradient, x, *ctx.ends), None, None


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor | float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


class _PowerOfTwo(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, step: Tensor) -> Tensor:
        result = nearest_power_of_two(step)
        ctx.save_for_backward(result / step)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        factor: Tensor = ctx.saved_tensors[0]
        return gradient * factor


def rounded(x: Tensor, lowest: int, highest: int) -> Tensor:
    """Whole numbers within ``lowest..highest``; the gradient is the identity inside and 0 outside."""
    result: Tensor = _Rounded.apply(x, lowest, highest)  # type: ignore[no-untyped-call]
    return result


def scaled_gradient(step: Tensor, factor: Tensor | float) -> Tensor:
    """Trained steps as they are, whose gradients are scaled by 1 / √(count · highest), as the authors advise.

    ``count`` is of all values that a step rounds, those of every image of the batch.
    """
    result: Tensor = _ScaledGradient.apply(step, factor)  # type: ignore[no-untyped-call]
    return result


def power_of_two(step: Tensor) -> Tensor:
    """Trained steps rounded to powers of two; gradients go straight through the rounding of their exponents."""
    result: Tensor = _PowerOfTwo.apply(step)  # type: ignore[no-untyped-call]
    return result


def integer_ends(bits: int, signed: bool) -> tuple[int, int]:
    """The smallest and the largest multiple of a trained step: 0..2^N-1, or -2^(N-1)..2^(N-1)-1 with a sign."""
    return (-(1 << bits - 1), levels(bits - 1)) if signed else (0, levels(bits))


def learned_quant(x: Tensor, step: Tensor, bits: int, signed: bool = False) -> Tensor:
    """Round ``x`` to multiples of a trained step, from ``integer_ends``.

    Inside the range the gradient to ``x`` is the identity and the gradient to the step is Q - x / s; outside, they are
    0 and the end that is passed; the latter is scaled by 1 / √(count · highest), count being the values of a step.

    Args:
        x: any shape; what is negative becomes 0 unless ``signed``.
        step: s, positive: a scalar, or of a shape that broadcasts against ``x``.
        bits: N.
        signed: whether multiples may be negative.
    """
    lowest, highest = integer_ends(bits, signed)
    scale = scaled_gradient(step, (x.numel() // step.numel() * highest) ** -0.5)
    return rounded(x / scale, lowest, highest) * scale
