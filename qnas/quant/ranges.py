"""Quantization ranges of a tensor: absolute, or with the outer 1 % clipped at each end.

Clipping pays at 2 bits and hurts the weights at 4, so ``range_of`` clips only from ``CLIP_AT`` bits downward.
"""

from math import gcd

from torch import Tensor

CLIPPED = 0.01
CLIP_AT = 2
SAMPLE = 8192
"""Percentiles of a larger tensor come from an evenly spaced sample of about this many values."""


def absolute_range(x: Tensor, from_zero: bool = False) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of ``x``, as two scalars; 0 and the largest if ``from_zero``."""
    return x.new_zeros(()) if from_zero else x.amin(), x.amax()  # each several times faster on a CPU than aminmax


def percentile_range(x: Tensor, clipped: float = CLIPPED) -> tuple[Tensor, Tensor]:
    """The values below and above which a ``clipped`` share of ``x`` lies (nearest rank), as two scalars."""
    channels_last = x.permute(0, 2, 3, 1) if x.dim() == 4 else x
    flat = channels_last.reshape(-1)
    if flat.numel() > SAMPLE:
        stride = flat.numel() // SAMPLE
        while gcd(stride, channels_last.shape[-1]) > 1:  # so that the sample meets every channel
            stride += 1
        flat = flat[::stride]
    outer = 1 + round(clipped * (flat.numel() - 1))
    return flat.topk(outer, largest=False).values[-1], flat.topk(outer).values[-1]


def range_of(x: Tensor, bits: int, from_zero: bool = False) -> tuple[Tensor, Tensor]:
    """The range in which ``x`` is quantized at this width: percentile at ``CLIP_AT`` bits and less, else absolute.

    ``from_zero`` promises that no value is negative, which spares the search for the smallest: a range holds 0 anyway.
    """
    return percentile_range(x) if bits <= CLIP_AT else absolute_range(x, from_zero)
