"""Muon (Jordan et al., 2024): momentum made orthogonal, for the weights of convolutions; AdamW for all else."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

MOMENTUM = 0.95
SIZE = 0.2
"""Root mean square of an update of rate 1, about that of AdamW, so that one rate and one decay suit both (Liu et al.,
2025)."""
COEFFICIENTS, ROUNDS = (3.4445, -4.7750, 2.0315), 5
"""Of the polynomial that takes all singular values near 1, and how often it is applied (Jordan et al., 2024)."""


class Muon(AdamW):
    """AdamW whose groups with ``orthogonal`` set are updated by Muon, as matrices (Cout, Cin * kernel * kernel).

    Args:
        groups: of parameters, each with ``weight_decay`` and ``orthogonal``.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, fused=True)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"] if group["orthogonal"] else ():
                if parameter.grad is not None:
                    self._turn(parameter, group["lr"], group["weight_decay"])
                    parameter.grad = None  # so that AdamW leaves it alone
        return super().step(closure)

    def _turn(self, parameter: Tensor, rate: float, decay: float) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        momentum = state.setdefault("momentum", torch.zeros_like(parameter))
        momentum.lerp_(gradient, 1 - MOMENTUM)
        matrix = gradient.lerp(momentum, MOMENTUM).flatten(1)  # Nesterov's
        size = SIZE * max(matrix.shape) ** 0.5
        parameter.mul_(1 - rate * decay)
        parameter.add_(orthogonal(matrix).view_as(parameter), alpha=-rate * size)


def orthogonal(matrix: Tensor) -> Tensor:
    """Roughly the nearest matrix (rows, columns) whose singular values are all 1, between 0.7 and 1.2 in fact.

    The polynomial (Newton and Schulz's, with other coefficients) is applied to the smaller of the two products of the
    matrix with itself; the matrix is multiplied once, at the end.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    matrix = matrix / (matrix.norm() + 1e-7)
    product, total = matrix @ matrix.T, torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    first, second, third = COEFFICIENTS
    for _ in range(ROUNDS):
        factor = torch.addmm(product, product, product, beta=second, alpha=third)
        factor.diagonal().add_(first)
        total, product = factor @ total, factor @ product @ factor
    return total @ matrix
