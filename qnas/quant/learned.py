"""Quantization with a trained step size, for activations (LSQ: Esser et al., 2020)."""

from typing import Any

import torch
from torch import Tensor

from qnas.quant.grid import levels


class _LearnedQuant(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, lowest: int, highest: int) -> Tensor:
        scaled = x / step
        rounded = scaled.round().clamp_(lowest or None, highest)  # what is never negative needs no lower end
        ctx.save_for_backward(scaled, rounded)
        ctx.ends = lowest, highest
        return rounded * step

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        scaled, rounded = ctx.saved_tensors
        lowest, highest = ctx.ends
        inside = gradient.masked_fill(scaled > highest, 0)
        if lowest:
            inside.masked_fill_(scaled < lowest, 0)
        slope = _dot(gradient, rounded) - _dot(inside, scaled)
        return inside, slope / (gradient.numel() * highest) ** 0.5, None, None


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Σ a b, in one pass where both lie in channels-last memory."""
    if a.dim() == 4:
        a, b = a.permute(0, 2, 3, 1), b.permute(0, 2, 3, 1)
    return torch.dot(a.reshape(-1), b.reshape(-1))


def integer_ends(bits: int, signed: bool) -> tuple[int, int]:
    """The smallest and the largest multiple of a trained step: 0..2^N-1, or -2^(N-1)..2^(N-1)-1 with a sign."""
    return (-(1 << bits - 1), levels(bits - 1)) if signed else (0, levels(bits))


def learned_quant(x: Tensor, step: Tensor, bits: int, signed: bool = False) -> Tensor:
    """Round ``x`` to multiples of a trained step, from ``integer_ends``.

    Inside the range the gradient to ``x`` is the identity and the gradient to the step is Q - x / s; outside, they are
    0 and the end that is passed. The step's gradient is scaled by 1 / √(size · highest), as its authors advise.

    Args:
        x: any shape; not negative unless ``signed``.
        step: positive scalar, s.
        bits: N.
        signed: whether ``x`` may be negative.
    """
    result: Tensor = _LearnedQuant.apply(x, step, *integer_ends(bits, signed))  # type: ignore[no-untyped-call]
    return result
