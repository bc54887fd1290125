"""The range of a tensor, or of each of its channels: absolute, with the outer 1 % clipped at each end, or by its size.

Clipping pays at 2 bits and hurts the weights at 4, so ``usual_fit`` clips only from ``CLIP_AT`` bits downward.
"""

from math import gcd
from typing import Literal

import torch
from torch import Tensor

CLIPPED = 0.01
CLIP_AT = 2
SAMPLE = 8192
"""Percentiles of a larger tensor come from an evenly spaced sample of about this many values."""
Fit = Literal["absolute", "percentile", "least_squares", "normal"]
Ends = tuple[Tensor, Tensor]
"""Start and end of a range: two scalars, or two tensors (channels,)."""


def absolute_range(x: Tensor, from_zero: bool = False, axis: int | None = None) -> Ends:
    """Smallest and largest value of ``x``, or of each of its entries along ``axis``.

    ``from_zero`` promises that no value is negative, which spares the search for the smallest: a range holds 0 anyway.
    """
    if axis is None:  # each several times faster on a CPU than aminmax
        return x.new_zeros(()) if from_zero else x.amin(), x.amax()
    others = [place for place in range(x.dim()) if place != axis % x.dim()]
    high = x.amax(others)
    return torch.zeros_like(high) if from_zero else x.amin(others), high


def percentile_range(
    x: Tensor, clipped: float = CLIPPED, axis: int | None = None, sample: int = SAMPLE, from_zero: bool = False
) -> Ends:
    """The values below and above which a ``clipped`` share of ``x``, or of each entry, lies (nearest rank).

    Without an axis they come from at most about ``sample`` values; ``from_zero`` as in ``absolute_range``.
    """
    if axis is not None:
        rows = x.movedim(axis, 0).flatten(1)
        outer = 1 + round(clipped * (rows.shape[1] - 1))
        return rows.topk(outer, largest=False).values[:, -1], rows.topk(outer).values[:, -1]
    flat = sampled(x, sample)
    outer = 1 + round(clipped * (flat.numel() - 1))
    if x.is_cuda:  # half the time of the largest or smallest ones
        low = x.new_zeros(()) if from_zero else flat.kthvalue(outer).values
        return low, flat.kthvalue(flat.numel() - outer + 1).values
    low = x.new_zeros(()) if from_zero else flat.topk(outer, largest=False).values[-1]
    return low, flat.topk(outer).values[-1]


def sampled(x: Tensor, count: int) -> Tensor:
    """About ``count`` evenly spaced values of ``x`` that meet every channel, or all if there are fewer: (values,)."""
    channels_last = x.permute(0, 2, 3, 1) if x.dim() == 4 else x
    flat = channels_last.reshape(-1)
    if flat.numel() <= count:
        return flat
    stride = flat.numel() // count
    while gcd(stride, channels_last.shape[-1]) > 1:  # so that the sample meets every channel
        stride += 1
    return flat[::stride]


NORMAL_STEPS = {2: 1.0484, 3: 0.6018, 4: 0.3386, 5: 0.1888, 6: 0.1042, 7: 0.0569, 8: 0.0308}
"""By bits: the step on which integers with a sign round normal numbers of deviation 1 with the least squared error."""


def normal_range(x: Tensor, bits: int, axis: int | None = None) -> Ends:
    """The range that suits normal numbers around 0 as large as ``x``, or each of its entries, on integers with a sign.

    Cheap, and smooth in ``x``, unlike a range that its largest value decides.
    """
    others = [place for place in range(x.dim()) if axis is None or place != axis % x.dim()]
    return normal_ends(x.double().square().mean(others).sqrt(), bits, x.dtype)  # in single precision squares overflow


def normal_ends(sizes: Tensor, bits: int, dtype: torch.dtype) -> Ends:
    """The ranges of ``normal_range`` from root mean squares in double precision, elementwise."""
    step = NORMAL_STEPS[bits] * sizes
    step = torch.where(step.isfinite(), step.clamp(max=torch.finfo(dtype).max / (1 << (bits - 1))), step).to(dtype)
    return -(1 << (bits - 1)) * step, ((1 << (bits - 1)) - 1) * step


def usual_fit(bits: int) -> Fit:
    """How the range is found where nobody says: percentile at ``CLIP_AT`` bits and less, else absolute."""
    return "percentile" if bits <= CLIP_AT else "absolute"


def range_of(x: Tensor, fit: Fit, from_zero: bool = False, axis: int | None = None) -> Ends:
    """The range of ``x`` by ``percentile``, else the absolute one."""
    return (
        percentile_range(x, axis=axis, from_zero=from_zero)
        if fit == "percentile"
        else absolute_range(x, from_zero, axis)
    )
