"""Numbers on a grid: equations 1 to 3 of the paper, and the symmetric and power-of-two grids that devices want.

| symbol | meaning | held as |
|---|---|---|
| r | real numbers | any shape |
| Q | their integers, 0..2^N-1 | the dtype of r |
| s | scale: the distance of two neighbours | a number, or one a channel along ``axis`` |
| Z | zero point: the integer of 0 | an integer held as float, likewise |
| N | bits | |

A grid holds 0 exactly, so padding stays exact. Clamping is done on integers, so Q and Z always fit an N-bit unsigned
type; rounding is half to even, as in ONNX.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import frexp, isfinite, nan
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from qnas.devices import sent_to
from qnas.quant.choices import Kind
from qnas.quant.ranges import Ends, Fit, normal_ends, normal_range, range_of, usual_fit

SMALLEST_SCALE = torch.finfo(torch.float32).eps
FARTHEST = torch.finfo(torch.float32).max / 4
"""How far from 0 a range reaches at most, so that no difference and no multiple of its scale overflows."""
HALVES_UP = 2.0**-14
"""What is added to values, in steps, where many lie halfway between two integers and are all to go up: no other value
is so near to a half. Sums and averages of multiples of powers of two are such values, which one runtime would round up
and another to the next even number."""
SHRINKING = tuple(step / 40 for step in range(40, 7, -1))
"""Shares of the absolute range among which a least-square range is looked for."""

Sharing = Literal["tensor", "channel"]
"""What shares a step: all of a layer's weights, on the paper's asymmetric grid, rounded after folding; or those of an
output channel, on a symmetric grid, rounded before."""
Number = Tensor | float


def levels(bits: int) -> int:
    """The largest integer of an N-bit grid, 2^N - 1."""
    return (1 << bits) - 1


@dataclass(frozen=True, slots=True)
class Grid:
    """Scale and zero point of a tensor, or of each of its channels.

    Args:
        scale: s, positive.
        zero_point: Z, 0 to 2^N - 1.
        bits: N.
        axis: the dimension along which each entry has a scale of its own; none: all share one.
        clips: whether values may lie outside; a grid that was fitted to hold all of a tensor need not clamp it.
        tie_break: share of a step that is added before rounding, ``HALVES_UP`` or 0.
    """

    scale: Number
    zero_point: Number
    bits: int
    axis: int | None = None
    clips: bool = True
    tie_break: float = 0.0

    @classmethod
    def spanning(
        cls,
        low: Tensor,
        high: Tensor,
        bits: int,
        kind: Kind = "asymmetric",
        axis: int | None = None,
        clips: bool = True,
    ) -> "Grid":
        """The grid of a range, which is widened to contain 0.

        Args:
            low: start of the range, a scalar, or (channels,) where there is an ``axis``.
            high: its end, likewise.
            bits: N.
            kind: ``asymmetric``: the paper's, both ends are on the grid to within half a step; ``symmetric``: Z is
                2^(N-1), or 0 where the range begins at 0, as integers with a sign have it; ``power_of_two``: symmetric,
                and the scale is the next power of two.
            axis: the dimension of the tensor that the range's entries belong to.
            clips: see the class.
        """
        scale: Number
        zero_point: Number
        if kind == "asymmetric":
            in_memory = low.dim() == 0 and not low.is_cuda
            scale, zero_point = (in_numbers if in_memory else asymmetric)(low, high, bits)
        else:
            scale, zero_point = symmetric(low, high, bits)
        if kind == "power_of_two":
            scale = next_power_of_two(scale)
        return cls(scale, zero_point, bits, axis, clips)

    @classmethod
    def of(
        cls,
        x: Tensor,
        bits: int,
        *,
        from_zero: bool = False,
        fit: Fit | None = None,
        kind: Kind = "asymmetric",
        axis: int | None = None,
        signed: bool = False,
    ) -> "Grid":
        """The grid of a tensor's own range.

        Args:
            x: real tensor, any shape.
            bits: N.
            from_zero: promise that no value is negative.
            fit: how its range is found; without it by ``usual_fit``. ``normal`` is for symmetric grids.
            kind: see ``spanning``.
            axis: the dimension along which each entry gets a scale of its own.
            signed: whether a symmetric grid has a sign also where no value is negative.
        """
        fit = fit or usual_fit(bits)
        if from_zero and x.is_cuda and kind == "asymmetric" and axis is None:  # a third of the operations
            high = _bounded(range_of(x, fit, from_zero)[1])
            return cls((high / levels(bits)).clamp(min=SMALLEST_SCALE), 0.0, bits, clips=fit != "absolute")
        low, high = normal_range(x, bits, axis) if fit == "normal" else range_of(x, fit, from_zero, axis)
        low = with_sign(low) if signed else low
        if fit == "least_squares":
            low, high = least_squares_range(x, low, high, bits, kind, axis)
        return cls.spanning(low, high, bits, kind, axis, clips=fit != "absolute")

    def integers(self, x: Tensor) -> Tensor:
        """Q of real numbers (equation 1), held in their dtype."""
        steps = x / self.along(self.scale, x) + self.tie_break if self.tie_break else x / self.along(self.scale, x)
        return (steps.round() + self.along(self.zero_point, x)).clamp(0, levels(self.bits))

    def dequantize(self, integers: Tensor) -> Tensor:
        """The real numbers that integers stand for: (Q - Z) s."""
        return (integers - self.along(self.zero_point, integers)) * self.along(self.scale, integers)

    def round(self, x: Tensor, in_place: bool = False) -> Tensor:
        """The nearest number of the grid, for each of ``x``: equation 1 and back, in one go."""
        scale = self.along(self.scale, x)
        result = x.div_(scale) if in_place else x / scale
        if self.tie_break:
            result.add_(self.tie_break)
        result.round_()
        lowest, highest = self.ends(x)
        if self.clips or not (isinstance(lowest, float) and lowest == 0):  # the rounding of Z can leave a step too many
            result.clamp_(lowest, highest)  # type: ignore[arg-type]  # both are numbers, or both tensors
        return result.mul_(scale)

    def ends(self, x: Tensor) -> tuple[Number, Number]:
        """The smallest and the largest number of the grid, in steps, as they broadcast against ``x``."""
        zero_point = self.along(self.zero_point, x)
        return -zero_point, levels(self.bits) - zero_point

    def along(self, value: Number, x: Tensor) -> Number:
        """The grid's scale or zero point, as it broadcasts against ``x``."""
        if self.axis is None or not isinstance(value, Tensor):
            return value
        return value.view([-1 if place == self.axis % x.dim() else 1 for place in range(x.dim())])


def joint_grid(weights: Sequence[Tensor], bits: int) -> Grid:
    """The symmetric grids of the first dimension of several tensors, by the size of their values, as one grid.

    Args:
        weights: (channels, ...) each.
        bits: N.

    Returns:
        The grid of all values, flat and one tensor after another, whose scale is given for each of them: (values,).
        It is what ``Grid.of`` gives of every single tensor with ``fit="normal"``, in a dozen operations for all.
    """
    rows = [weight.detach().flatten(1) for weight in weights]
    lengths = torch.tensor([row.shape[1] for row in rows for _ in range(len(row))])
    norms = torch.cat([torch.linalg.vector_norm(row, dim=1, dtype=torch.float64) for row in rows])
    lengths = sent_to(lengths, norms.device)
    low, high = normal_ends(norms / lengths.sqrt(), bits, weights[0].dtype)
    scale = symmetric_scale(_bounded(low), _bounded(high), bits).clamp(min=SMALLEST_SCALE)
    each = scale.repeat_interleave(lengths, output_size=sum(row.numel() for row in rows))
    return Grid(each, float(1 << (bits - 1)), bits)


def asymmetric(low: Tensor, high: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Scale s (equation 2) and zero point Z (equation 3) of the range ``low..high``, elementwise."""
    low, high = _bounded(low).clamp(max=0), _bounded(high).clamp(min=0)
    scale = ((high - low) / levels(bits)).clamp(min=SMALLEST_SCALE)
    return scale, (-low / scale).round().clamp(max=levels(bits))


def _bounded(end: Tensor) -> Tensor:
    """Ends of ranges within ``FARTHEST``; those that are not finite become no numbers, for the caller to see."""
    return end.clamp(-FARTHEST, FARTHEST).add(end, alpha=0)


def in_numbers(low: Tensor, high: Tensor, bits: int) -> tuple[float, float]:
    """``asymmetric`` of two scalars in the processor's memory, as numbers: the same bits, much sooner.

    An operation on two single-precision numbers gives the same bits when it is done in double precision and rounded.
    Ends that are not finite give what is no number, not an error: a network that diverged is for the caller to see.
    """
    kind = float if low.dtype == torch.float64 else np.float32
    first, last = (min(max(end, -FARTHEST), FARTHEST) if isfinite(end) else nan for end in (low.item(), high.item()))
    first, last = min(first, 0.0), max(last, 0.0)
    scale = max(float(kind(float(kind(last - first)) / levels(bits))), SMALLEST_SCALE)
    return scale, min(float(np.rint(kind(-first / scale))), float(levels(bits)))


def symmetric(low: Tensor, high: Tensor, bits: int) -> tuple[Number, Number]:
    """Scale and zero point of integers with a sign, or of those without where the range begins at 0, elementwise."""
    scale = symmetric_scale(_bounded(low), _bounded(high), bits).clamp(min=SMALLEST_SCALE)
    zero_point = torch.where(low < 0, float(1 << (bits - 1)), torch.zeros_like(low))
    return (scale, zero_point) if low.dim() or low.is_cuda else (scale.item(), zero_point.item())


def symmetric_scale(low: Tensor, high: Tensor, bits: int) -> Tensor:
    """The scale with which integers -2^(N-1)..2^(N-1)-1, or 0..2^N-1 where ``low`` is not negative, span a range."""
    below = low.clamp(max=0) / -(1 << (bits - 1))
    steps = torch.where(low < 0, float(levels(bits - 1)), torch.full_like(low, float(levels(bits))))
    return torch.maximum(below, high.clamp(min=0) / steps)


def with_sign(low: Tensor) -> Tensor:
    """The starts of ranges whose integers have a sign, also where no value is negative."""
    return low.clamp(max=-SMALLEST_SCALE)


def next_power_of_two(value: Number) -> Number:
    """The smallest power of two that is not below ``value``, exact."""
    if isinstance(value, Tensor):
        part, exponent = torch.frexp(value)
        return torch.ldexp(torch.ones_like(value), exponent - (part == 0.5).int())
    part_of_one, power = frexp(value)
    return 2.0 ** (power - (part_of_one == 0.5))


def nearest_power_of_two(value: Tensor) -> Tensor:
    """The power of two whose exponent is nearest to the logarithm of each of ``value``, which is positive; exact."""
    part, _ = torch.frexp(value)
    return value / part * torch.where(part < 0.5**0.5, 0.5, 1.0)


def least_squares_range(
    x: Tensor, low: Tensor, high: Tensor, bits: int, kind: Kind = "asymmetric", axis: int | None = None
) -> Ends:
    """The share of the range ``low..high`` of ``x`` whose grid rounds it with the smallest squared error.

    Outliers are clamped where that makes the others' steps finer (Banner et al., 2019, look for such a range in closed
    form; here shares of ``SHRINKING`` are tried).
    """
    others = [place for place in range(x.dim()) if axis is None or place != axis % x.dim()]
    errors = []
    for share in SHRINKING:
        error = (Grid.spanning(low * share, high * share, bits, kind, axis).round(x) - x).square()
        errors.append(error.sum(others))
    best = torch.tensor(SHRINKING, dtype=x.dtype, device=x.device)[torch.stack(errors).argmin(0)]
    return low * best, high * best
