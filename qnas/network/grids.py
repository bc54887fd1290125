"""How the numbers of a trained network are put on grids: the row of the table, and what follows from it for steps."""

from dataclasses import dataclass

from torch import Tensor

from qnas.quant.choices import GRIDS, USUAL, GridChoice
from qnas.quant.grid import HALVES_UP, SMALLEST_SCALE
from qnas.quant.learned import power_of_two
from qnas.quant.ranges import Fit


@dataclass(frozen=True)
class Grids:
    """How the numbers of a trained network are put on grids.

    Symmetric weights are rounded before their batch norm is folded in, which then only rescales the grid. What all of a
    layer share, or is a power of two, is so after folding: weights are rounded on steps that the moving averages of
    batch norms make such. Asymmetric weights are rounded after folding.

    Args:
        name: of ``qnas.quant.choices.GRIDS``.
        learned: whether the weights' steps are trained; those of asymmetric grids never are.
        fit: how ranges are found, for steps that are not trained and for the first ones of those that are.
    """

    name: str = USUAL
    learned: bool = True
    fit: Fit | None = None

    @property
    def choice(self) -> GridChoice:
        """The row of the name."""
        return GRIDS[self.name]

    @property
    def trains_steps(self) -> bool:
        """Whether the weights' steps are parameters."""
        return self.learned and self.choice.is_symmetric

    def before_folding(self, step: Tensor, ratio: Tensor) -> Tensor:
        """On which steps weights are rounded before folding.

        Args:
            step: by ``weight_step`` or ``weight_steps``.
            ratio: what folding multiplies weights by, (channels,); without a gradient.
        """
        if not self.choice.per_channel:
            return step / ratio.clamp(min=SMALLEST_SCALE)
        if self.choice.kind == "power_of_two":
            after = (step * ratio).detach().clamp(min=SMALLEST_SCALE)
            return step * (power_of_two(after) / after)
        return step

    def after_folding(self, step: Tensor, ratio: Tensor) -> Tensor:
        """What these steps are once the batch norm is folded in: a scalar where all of a layer share one."""
        if not self.choice.per_channel:
            return step.clamp(min=SMALLEST_SCALE)
        after = (step * ratio).clamp(min=SMALLEST_SCALE)
        return power_of_two(after) if self.choice.kind == "power_of_two" else after

    def allowed(self, steps: Tensor) -> Tensor:
        """Steps of activations as the grids allow them."""
        return power_of_two(steps) if self.choice.kind == "power_of_two" else steps

    @property
    def tie_break(self) -> float:
        """What is added to a node's output, in steps, before it is rounded."""
        return HALVES_UP if self.choice.kind == "power_of_two" else 0.0


USUAL_GRIDS = Grids()
