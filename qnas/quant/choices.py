"""The grids that a network's numbers may have: one table, which recipes, devices and files name. Knows no tensor.

Activations that may not be negative have integers from 0 on all of them, others integers with a sign around 0; so what
is symmetric holds no zero point but that of a sign. The image alone has a grid of its fixed range with a zero point,
which a device looks up and never computes; where steps are powers of two it has a sign.
"""

from dataclasses import dataclass
from typing import Any, Literal

from qnas.errors import check_known

Kind = Literal["asymmetric", "symmetric", "power_of_two"]
"""See ``qnas.quant.grid.Grid.spanning``."""


@dataclass(frozen=True, slots=True)
class GridChoice:
    """One row.

    Args:
        name: as users write it.
        reads: what it is.
        kind: of the weights' grids; what is a power of two is one in activations, too.
        per_channel: whether each output channel of a layer has a step of its own, or all share one.
    """

    name: str
    reads: str
    kind: Kind
    per_channel: bool = False

    @property
    def is_symmetric(self) -> bool:
        """Whether weights have a sign and no zero point; then their steps can be trained."""
        return self.kind != "asymmetric"

    @property
    def by_folding(self) -> bool:
        """Whether the steps on which weights are rounded depend on what folding multiplies them by."""
        return self.is_symmetric and not (self.per_channel and self.kind == "symmetric")


GRIDS = {
    row.name: row
    for row in (
        GridChoice("per-channel", "symmetric weights, a step for each output channel", "symmetric", per_channel=True),
        GridChoice("per-tensor", "symmetric weights, one step for all of a layer", "symmetric"),
        GridChoice("asymmetric", "the paper's: weights with a zero point, one step for all of a layer", "asymmetric"),
        GridChoice(
            "power-of-two",
            "symmetric, the steps of weights, for each output channel, and of activations are powers of two",
            "power_of_two",
            per_channel=True,
        ),
    )
}
USUAL, POWERS = "per-channel", "power-of-two"
FORMER = {"channel": USUAL, "tensor": "asymmetric"}
"""The names of grids by what shares a step on those that hypernetworks know, and in files of before they had names."""


def grid_of(sharing: str) -> GridChoice:
    """The grid on which a hypernetwork's weights share steps so (``qnas.quant.grid.Sharing``)."""
    return GRIDS[FORMER[sharing]]


def check_grid(name: str) -> None:
    """Check the name of a grid.

    Raises:
        QnasError: none is called so.
    """
    check_known("`grid`", name, GRIDS)


def with_grid(values: dict[str, Any]) -> dict[str, Any]:
    """Plain values of a file that names a grid, which may be one of before grids had names of their own."""
    former = values.get("weights")
    if not isinstance(former, str) or former not in FORMER:
        return values
    return {**{key: value for key, value in values.items() if key != "weights"}, "grid": FORMER[former]}
