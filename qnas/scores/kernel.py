"""How alike training runs are: the kernel of an outlook's Gaussian process (``qnas.scores.outlook``)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Kernel, Sum, WhiteKernel

from qnas.scores.surrogate import Floats

SHIFT, OWN = 16.0, 0.1
"""Variance of what accuracies on other images have in common, in variances of the table's log-odds: next to any; and
the variances of what such images favour beyond that, as shares of the table's."""
FEATURES = 256
"""Cosines of which a drawn function is made (random Fourier features: Rahimi and Recht, 2007)."""


class Own(Kernel):  # type: ignore[misc]  # which has no types
    """What runs on other images share: their last input is their level, and those of lower ones have no part.

    Args:
        level: the least that has.
        shift: variance of what all of them have in common.
        near: of what near ones share.
        length: within which they are near.
        trend: variance of the slopes of a trend in every input.
    """

    def __init__(self, level: int, shift: float, near: float, length: float, trend: float) -> None:
        self.level, self.shift, self.near, self.length, self.trend = level, shift, near, length, trend

    def __call__(self, x: Floats, y: Floats | None = None, eval_gradient: bool = False) -> Any:
        """See ``sklearn.gaussian_process.kernels.Kernel``."""
        a, b = (one[:, :-1] for one in (x, x if y is None else y))
        shared = self.shift + self.near * RBF(self.length)(a, b) + self.trend * (a @ b.T)
        shared *= np.outer(*(one[:, -1] >= self.level for one in (x, x if y is None else y)))
        return (shared, np.empty((*shared.shape, 0))) if eval_gradient else shared

    def diag(self, x: Floats) -> NDArray[np.float64]:
        """See ``sklearn.gaussian_process.kernels.Kernel``."""
        found: NDArray[np.float64] = self.shift + self.near + self.trend * (x[:, :-1] ** 2).sum(1)
        return found * (x[:, -1] >= self.level)

    def is_stationary(self) -> bool:
        """See ``sklearn.gaussian_process.kernels.Kernel``."""
        return False

    def drawn(self, x: Floats, seed: int) -> Floats:
        """A random function of such runs, all but the shift: one value for each of ``x``, (runs,)."""
        rng, inputs = np.random.default_rng(seed), x[:, :-1]
        angles = inputs @ rng.normal(0, 1 / self.length, (inputs.shape[1], FEATURES)) + rng.uniform(
            0, 2 * np.pi, FEATURES
        )
        waves = np.cos(angles) @ rng.normal(0, (2 * self.near / FEATURES) ** 0.5, FEATURES)
        total: Floats = waves + inputs @ rng.normal(0, self.trend**0.5, inputs.shape[1])
        return total


def kernel() -> Kernel:
    """How alike runs are: a trend in every input, what near ones share, what images do, and every run alone."""
    near = ConstantKernel(0.1, (1e-4, 1e2)) * RBF(2.0, (0.3, 30.0))
    trend = ConstantKernel(0.1, (1e-4, 1e2)) * DotProduct(0.0, "fixed")
    return Sum(near + trend, WhiteKernel(0.01, (1e-4, 1.0)))


def with_own(fitted: Kernel, own: float, level: int) -> Kernel:
    """A fitted ``kernel``, perhaps with what others share already, and what images of this level share beside it."""
    usual = fitted
    for _ in range(level - 1):
        usual = usual.k1
    near, trend = usual.k1.k1, usual.k1.k2
    shared = own * near.k1.constant_value, near.k2.length_scale, own * trend.k1.constant_value
    return Sum(fitted, Own(level, SHIFT, *shared))
