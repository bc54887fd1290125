"""Quantization with a trained step size, for activations that are never negative (LSQ: Esser et al., 2020)."""

from typing import Any

import torch
from torch import Tensor

from qnas.quant.affine import levels


class _LearnedQuant(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, highest: int) -> Tensor:
        scaled = x / step
        rounded = scaled.round().clamp_(max=highest)
        ctx.save_for_backward(scaled, rounded)
        ctx.highest = highest
        return rounded * step

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        scaled, rounded = ctx.saved_tensors
        inside = gradient.masked_fill(scaled > ctx.highest, 0)
        slope = _dot(gradient, rounded) - _dot(inside, scaled)
        return inside, slope / (gradient.numel() * ctx.highest) ** 0.5, None


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Σ a b, in one pass where both lie in channels-last memory."""
    if a.dim() == 4:
        a, b = a.permute(0, 2, 3, 1), b.permute(0, 2, 3, 1)
    return torch.dot(a.reshape(-1), b.reshape(-1))


def learned_quant(x: Tensor, step: Tensor, bits: int) -> Tensor:
    """Round ``x`` to multiples 0..2^N-1 of a trained step.

    Inside the range the gradient to ``x`` is the identity and the gradient to the step is Q - x / s; above, they are 0
    and 2^N - 1. The step's gradient is scaled by 1 / √(size · (2^N - 1)), as its authors advise.

    Args:
        x: any shape, not negative.
        step: positive scalar, s.
        bits: width N.
    """
    result: Tensor = _LearnedQuant.apply(x, step, levels(bits))  # type: ignore[no-untyped-call]
    return result
