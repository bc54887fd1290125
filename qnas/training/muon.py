"""Muon (Jordan et al., 2024): momentum made orthogonal, for matrices and convolutions; AdamW for all else."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

MOMENTUM = 0.95
SIZE = 0.2
"""Root mean square of an update of rate 1, about that of AdamW, so that one rate and one decay suit both (Liu et al.,
2025)."""
TINY = 1e-7
COEFFICIENTS, ROUNDS = (3.4445, -4.7750, 2.0315), 5
"""Of the polynomial that takes all singular values near 1, and how often it is applied (Jordan et al., 2024)."""


class Muon(AdamW):
    """AdamW; groups with ``orthogonal`` set are updated by Muon, as matrices (Cout, Cin * kernel * kernel).

    As with torch's fused optimizers a step changes nothing if ``found_inf``, a scalar tensor, is 1.

    Args:
        groups: of parameters.
    """

    found_inf: Tensor | None = None

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__([{"orthogonal": False, **group} for group in groups], fused=True)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update all parameters that have a gradient."""
        turned: list[tuple[Tensor, Tensor | None]] = []
        for group in self.param_groups:
            if group["orthogonal"]:
                parameters = [one for one in group["params"] if one.grad is not None]
                self._turn(parameters, group["lr"], group["weight_decay"])
                turned += [(one, one.grad) for one in parameters]
        for one, _ in turned:
            one.grad = None  # so that AdamW leaves it alone
        result = super().step(closure)
        for one, gradient in turned:
            one.grad = gradient
        return result

    def _turn(self, parameters: list[Tensor], rate: float, decay: float) -> None:
        gradients = [one.grad for one in parameters if one.grad is not None]
        for one in parameters:
            if "momentum" not in self.state[one]:
                self.state[one]["momentum"] = torch.zeros_like(one)
        momenta = [self.state[one]["momentum"] for one in parameters]
        left: float | Tensor = 1 - rate * decay
        if self.found_inf is None:
            torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
            ahead = torch._foreach_lerp(gradients, momenta, MOMENTUM)  # Nesterov's
        else:
            counts = 1 - self.found_inf
            left = 1 - rate * decay * counts
            gradients = [torch.where(counts > 0, gradient, 0) for gradient in gradients]
            torch._foreach_lerp_(momenta, gradients, [(1 - MOMENTUM) * counts] * len(momenta))
            ahead = torch._foreach_mul(torch._foreach_lerp(gradients, momenta, MOMENTUM), counts)
        torch._foreach_mul_(parameters, left)
        for parameter, update in zip(parameters, orthogonal([one.flatten(1) for one in ahead]), strict=True):
            parameter.add_(update.view_as(parameter), alpha=-rate * SIZE * max(update.shape) ** 0.5)


def orthogonal(matrices: list[Tensor]) -> list[Tensor]:
    """Roughly the nearest matrices (rows, columns) with all singular values 1: between 0.7 and 1.2 but for tiny ones.

    The polynomial (that of Newton and Schulz with other coefficients) is applied to the smaller of a matrix's two
    products with itself, for all of one size at once; the matrix is multiplied a single time, at the end.
    """
    lying = [matrix.T if matrix.shape[0] > matrix.shape[1] else matrix for matrix in matrices]
    lying = [matrix / (matrix.norm() + TINY) for matrix in lying]
    places: dict[int, list[int]] = {}
    for place, matrix in enumerate(lying):
        places.setdefault(len(matrix), []).append(place)
    for same in places.values():
        factors = _polynomial(torch.stack([lying[place] @ lying[place].T for place in same]))
        for place, factor in zip(same, factors, strict=True):
            lying[place] = factor @ lying[place]
    return [one if one.shape == matrix.shape else one.T for one, matrix in zip(lying, matrices, strict=True)]


def _polynomial(products: Tensor) -> Tensor:
    """By what matrices are multiplied whose products with themselves are these: (count, rows, rows)."""
    first, second, third = COEFFICIENTS
    total = torch.eye(products.shape[1], dtype=products.dtype, device=products.device).expand_as(products)
    for _ in range(ROUNDS):
        factors = torch.baddbmm(products, products, products, beta=second, alpha=third)
        factors.diagonal(dim1=1, dim2=2).add_(first)
        total, products = factors @ total, factors @ products @ factors
    return total
