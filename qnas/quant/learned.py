"""Quantization with a trained step size, for weights and activations (LSQ: Esser et al., 2020)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.quant.grid import levels


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lowest: int, highest: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.ends = lowest, highest
        return F.hardtanh(x, lowest, highest).round_()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, x, *ctx.ends), None, None


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


def rounded(x: Tensor, lowest: int, highest: int) -> Tensor:
    """Whole numbers within ``lowest..highest``; the gradient is the identity inside and 0 outside."""
    result: Tensor = _Rounded.apply(x, lowest, highest)  # type: ignore[no-untyped-call]
    return result


def scaled_step(step: Tensor, count: int, highest: int) -> Tensor:
    """A trained step whose gradient is scaled by 1 / √(count · highest), as its authors advise.

    Args:
        step: s.
        count: how many values share it.
        highest: the largest multiple.
    """
    result: Tensor = _ScaledGradient.apply(step, (count * highest) ** -0.5)  # type: ignore[no-untyped-call]
    return result


def integer_ends(bits: int, signed: bool) -> tuple[int, int]:
    """The smallest and the largest multiple of a trained step: 0..2^N-1, or -2^(N-1)..2^(N-1)-1 with a sign."""
    return (-(1 << bits - 1), levels(bits - 1)) if signed else (0, levels(bits))


def learned_quant(x: Tensor, step: Tensor, bits: int, signed: bool = False) -> Tensor:
    """Round ``x`` to multiples of a trained step, from ``integer_ends``.

    Inside the range the gradient to ``x`` is the identity and the gradient to the step is Q - x / s; outside, they are
    0 and the end that is passed; the latter is scaled as in ``scaled_step``.

    Args:
        x: any shape; what is negative becomes 0 unless ``signed``.
        step: s, positive: a scalar, or of a shape that broadcasts against ``x``.
        bits: N.
        signed: whether multiples may be negative.
    """
    lowest, highest = integer_ends(bits, signed)
    scale = scaled_step(step, x.numel() // step.numel(), highest)
    return rounded(x / scale, lowest, highest) * scale
