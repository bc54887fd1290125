"""Tensorwise asymmetric uniform quantization: equations 1 to 3 of the paper.

Notation: R real numbers, Q integers in 0..2^N-1, s step size, Z zero point (an integer held as float).
Ranges are widened to contain 0, so that 0 is exactly on the grid and padding stays exact; clamping is done on
integers, so Q and Z always fit an N-bit unsigned type; rounding is half to even, as in ONNX.
"""

import numpy as np
import torch
from torch import Tensor

SMALLEST_STEP = torch.finfo(torch.float32).eps


def levels(bits: int) -> int:
    """The largest integer of an N-bit grid, 2^N - 1."""
    return (1 << bits) - 1


def step_and_zero_point(low: Tensor, high: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Step size s (equation 2) and zero point Z (equation 3) of the range ``low..high``, elementwise."""
    low, high = low.clamp(max=0), high.clamp(min=0)
    step = ((high - low) / levels(bits)).clamp(min=SMALLEST_STEP)
    return step, (-low / step).round().clamp(max=levels(bits))


def grid_in_numbers(low: Tensor, high: Tensor, bits: int) -> tuple[float, float]:
    """``step_and_zero_point`` of two scalars in the processor's memory, as numbers: the same bits, much sooner.

    An operation on two single-precision numbers gives the same bits when it is done in double precision and rounded.
    Ends that are not finite give what is no number, not an error: a network that diverged is for the caller to see.
    """
    kind = float if low.dtype == torch.float64 else np.float32
    first, last = min(low.item(), 0.0), max(high.item(), 0.0)
    step = max(float(kind(float(kind(last - first)) / levels(bits))), SMALLEST_STEP)
    return step, min(float(np.rint(kind(-first / step))), float(levels(bits)))


def quantize(real: Tensor, step: Tensor, zero_point: Tensor, bits: int) -> Tensor:
    """Integers Q of ``real`` (equation 1), held in the dtype of ``real``."""
    return ((real / step).round() + zero_point).clamp(0, levels(bits))


def dequantize(integers: Tensor, step: Tensor, zero_point: Tensor) -> Tensor:
    """The real numbers that the integers stand for: (Q - Z) s."""
    return (integers - zero_point) * step
