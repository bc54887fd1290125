"""Batch-norm folding: equation 4 of the paper. A folded layer is a convolution with a bias, as it is deployed."""

from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-2
"""ε of every batch norm, larger than the usual 1e-5: a channel that rounding has all but silenced would be amplified up
to 300-fold by the fold and take the whole range of its tensor. Costs nothing in float, decides at 2 bits."""


class _Moments(torch.autograd.Function):
    """Mean and biased variance of each channel; one pass over channels-last memory, unlike ``torch.var_mean``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, ...]:
        mean, variance = torch.batch_norm_update_stats(x, None, None, 0.0)
        ctx.save_for_backward(x, mean)
        return mean, variance

    @staticmethod
    def backward(ctx: Any, d_mean: Tensor, d_variance: Tensor) -> Tensor:
        x, mean = ctx.saved_tensors
        rows = x.permute(0, 2, 3, 1)
        count = rows.shape[:3].numel()
        slope = d_variance * (2 / count)
        return torch.addcmul(d_mean / count - slope * mean, rows, slope).permute(0, 3, 1, 2)


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of (batch, channels, height, width), differentiable."""
    if not torch.is_grad_enabled():
        return torch.batch_norm_update_stats(x, None, None, 0.0)
    mean, variance = _Moments.apply(x)  # type: ignore[no-untyped-call]
    return mean, variance


def fold(weight: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Fold a batch norm into the convolution before it.

    Args:
        weight: (Cout, Cin / groups, kh, kw).
        scale: γ, (Cout,).
        shift: β, (Cout,).
        mean: of the convolution's output over batch and space, or its moving average, (Cout,).
        variance: σ², biased, likewise.

    Returns:
        γ w / √(σ² + ε) and β - γ μ / √(σ² + ε).
    """
    ratio, bias = ratio_and_bias(scale, shift, mean, variance)
    return weight * ratio[:, None, None, None], bias


def ratio_and_bias(scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """What folding multiplies weights by, γ / √(σ² + ε), and the bias: (channels,) each, arguments as in ``fold``."""
    ratio = scale * (variance + EPSILON).rsqrt()
    return ratio, shift - mean * ratio
