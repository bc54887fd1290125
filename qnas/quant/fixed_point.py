"""From one step to another in integers alone: a 32-bit multiplier, a shift and a 32-bit bias, rounded once.

| symbol | meaning | range |
|---|---|---|
| a | accumulator: a sum of products of integers | int32 |
| M | multiplier | 0 to 2^31 - 1 |
| p | shift | 0 to 62 |
| B | bias, the output's zero point and the half that rounds, in 2^-q of an output step | int32 |
| q | point | 0 to 24, one a layer |

An output is ((a M >> p) + B) >> q, where >> is a floor: of the product in 64 bits, of the sum in 32. Both floors
together round a M 2^-p-q + B 2^-q once, for B is whole. The multiplier is that of Jacob et al. (2018), equations 5
and 6. Halves go up, not away from 0: that is one addition for either sign, as TFLite and CMSIS-NN do it where they
round once; and real networks meet halves rarely. The bias lies after the multiplication instead of at the accumulator's
step, which is too coarse for it where activations have few bits, and so fine where a channel is all but switched off
that the bias would overflow.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST = 2**31 - 1
"""Of an accumulator, a multiplier, a bias."""
HEADROOM = 30
"""No sum before the last shift takes more bits than this, beside its sign."""
FINEST, COARSEST = 24, 0
"""Points that are used. Few bits behind the point do no harm: they are left where sums span millions of output steps,
as of a layer that is all but switched off, and there next to none lies between the ends of the output's grid."""
LONGEST_SHIFT = 62
Reals = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Rescaling:
    """Multipliers M, shifts p (n,), biases B (n,) or (1,), and the point q, as in the module's table."""

    multiplier: Integers
    shift: Integers
    bias: Integers
    point: int

    @classmethod
    def of(cls, ratio: Reals, offset: Reals, point: int) -> "Rescaling":
        """The closest rescaling with 31 bits of every ratio.

        Args:
            ratio: (n,), output steps that one step of an accumulator is; not negative.
            offset: (n,), or (1,), what is added, in output steps.
            point: q, for which ``room`` was made.
        """
        exponent = np.frexp(ratio)[1]
        shift = np.clip(31 - exponent - point, 0, LONGEST_SHIFT)
        multiplier = np.rint(np.ldexp(ratio, shift + point)).astype(np.int64)
        carried = multiplier > LARGEST  # a fraction that rounds to 1
        shift = shift - carried
        multiplier = np.where(carried, np.rint(np.ldexp(ratio, shift + point)).astype(np.int64), multiplier)
        return cls(multiplier, shift.astype(np.int64), _biases(offset, point), point)

    @classmethod
    def unshifted(cls, ratio: Reals, offset: Reals, point: int) -> "Rescaling":
        """A rescaling of small integers, whose products with multipliers of ``point`` bits fit 32: without shifts."""
        multiplier = np.rint(np.ldexp(ratio, point)).astype(np.int64)
        return cls(multiplier, np.zeros_like(multiplier), _biases(offset, point), point)

    def scaled(self, accumulators: Integers) -> Integers:
        """Accumulators (..., n) times M, shifted by p."""
        return accumulators * self.multiplier >> self.shift

    def finished(self, scaled: Integers) -> Integers:
        """What the scaled accumulators (..., n), or a sum of several, become: whole output steps."""
        return scaled + self.bias >> self.point

    def __call__(self, accumulators: Integers) -> Integers:
        """Output integers of accumulators (..., n), not yet within the ends of a grid."""
        return self.finished(self.scaled(accumulators))


def _biases(offset: Reals, point: int) -> Integers:
    half = 1 << point >> 1
    return np.rint(np.ldexp(offset, point)).astype(np.int64) + half


def within_ends(offset: Reals, span: Reals, highest: int) -> Reals:
    """Offsets that are no larger than what already puts every output on one end of its grid: the outputs are the same.

    Args:
        offset: in output steps.
        span: the most that accumulators add to it, either way, likewise.
        highest: integer of the grid.
    """
    return np.clip(offset, -span - 2, span + highest + 2)


def room(span: Reals, offset: Reals) -> int | None:
    """The largest point with which no sum overflows, or nothing where that is below ``COARSEST``.

    Args:
        span: the most that accumulators are, either way, in output steps.
        offset: what is added to them, likewise.
    """
    most = float(np.max(span + np.abs(offset))) + 2
    point = min(FINEST, HEADROOM - int(np.ceil(np.log2(most))))
    return point if point >= COARSEST else None
