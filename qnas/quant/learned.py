"""Quantization with a trained step size, for activations that are never negative (LSQ: Esser et al., 2020)."""

from typing import Any

import torch
from torch import Tensor

from qnas.quant.affine import levels


class _LearnedQuant(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, highest: int) -> Tensor:
        scaled = x / step
        rounded = scaled.round().clamp_(0, highest)
        ctx.save_for_backward(scaled, rounded)
        ctx.highest = highest
        return rounded * step

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        scaled, rounded = ctx.saved_tensors
        inside = (scaled >= 0) & (scaled <= ctx.highest)
        slope = rounded - scaled * inside
        scale = 1 / (gradient.numel() * ctx.highest) ** 0.5
        return gradient * inside, (gradient * slope).sum() * scale, None


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
