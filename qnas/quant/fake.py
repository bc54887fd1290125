"""Quantization inside a float network: SimQuant (straight-through rounding) and NoiseQuant (equations 5 and 6).

Both take a tensor and its grid or range (treated as constants) and return a tensor of the same shape, so that a
gradient passes from a quantized network to whatever made its weights.
"""

from typing import Any

import torch
from torch import Tensor

from qnas.quant.grid import Grid, asymmetric


class _SimQuant(torch.autograd.Function):
    """Round to the grid; the gradient is the identity where the value was not clamped and zero where it was."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: Grid) -> Tensor:
        ctx.clips = grid.clips
        if not grid.clips:
            return grid.round(x)
        scale = grid.along(grid.scale, x)
        before = torch.div(x, scale).round_()
        after = before.clamp(*grid.ends(x))  # type: ignore[arg-type]  # both are numbers, or both tensors
        ctx.save_for_backward(before == after)
        return after.mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.saved_tensors[0] if ctx.clips else gradient, None


def sim_quant(x: Tensor, grid: Grid) -> Tensor:
    """SimQuant: equation 1 and back, with straight-through gradients to ``x``."""
    if not torch.is_grad_enabled():
        return grid.round(x)
    result: Tensor = _SimQuant.apply(x, grid)  # type: ignore[no-untyped-call]
    return result


def noise_quant(x: Tensor, low: Tensor, high: Tensor, bits: int, generator: torch.Generator | None = None) -> Tensor:
    """NoiseQuant: clamp, then uniform noise of one step's width (equation 5, drawn as in equation 6).

    Args:
        x: real tensor, any shape.
        low: scalar a, start of the range.
        high: scalar b, end of the range.
        bits: N, which gives the step Δ of equation 2.
        generator: source of the noise.
    """
    low, high = low.detach().clamp(max=0), high.detach().clamp(min=0)
    step, _ = asymmetric(low, high, bits)
    unit = torch.empty_like(x).uniform_(-1, 1, generator=generator)
    return x.clamp(low, high) + unit * (step / 2)
