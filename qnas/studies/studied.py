"""A network whose layers are looked at, wherever its parameters come from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from qnas.errors import QnasError
from qnas.network.arithmetic import FloatArithmetic, arithmetic_for, folded
from qnas.network.forward import Arithmetic, Parameters
from qnas.network.module import Network, has_weights
from qnas.network.plan import Node, Plan
from qnas.network.refitted import Refitted, Rounding, Unrounded, post_training
from qnas.quant.grid import Sharing
from qnas.scores.accuracy import EVALUATION_BATCH

STATIC_BATCH = 256
"""Images a batch for a trained network, as ``deployed_accuracy`` has them."""
Origin = Literal["trained", "post-training", "predicted", "random"]
"""Trained at its bit widths; trained at others and rounded afterwards; predicted; He-random."""
Fold = Callable[[Node, Tensor, Parameters], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Studied:
    """A network whose layers are looked at.

    Args:
        name: what it is called.
        origin: of its parameters.
        plan: at its bit widths.
        parameters: whole, or first tiles.
        exact: its arithmetic in float.
        rounded: its arithmetic as it is evaluated.
        fold: weight and bias of a layer with its batch norm folded in.
        refit: its arithmetic on other grids.
        weights: what shares a step.
        batch: images that are evaluated together.
    """

    name: str
    origin: Origin
    plan: Plan
    parameters: Parameters
    exact: Arithmetic
    rounded: Arithmetic
    fold: Fold
    refit: Callable[[Rounding], Arithmetic]
    weights: Sharing
    batch: int

    @property
    def layers(self) -> list[Node]:
        """The nodes that round something, from the image on.

        Raises:
            QnasError: there are none.
        """
        nodes = [node for node in self.plan.nodes if not node.bits.is_float and (has_weights(node) or node.quantized)]
        if not nodes:
            raise QnasError(
                f"Layers lose what rounding takes, got {self.name} in float; give for example `bits='w4a4'`."
            )
        return nodes


def trained(name: str, network: Network, plan: Plan, seen: Tensor) -> Studied:
    """A trained network at the bit widths of a plan: on its trained grids where these are its own, else rounded after.

    Args:
        name: what to call it.
        network: trained, in evaluation mode.
        plan: of the same network.
        seen: training images (batch, channels, height, width) that set ranges which no training has set.
    """
    sharing: Sharing = "channel" if network.grids.choice.per_channel else "tensor"

    def refit(rounding: Rounding) -> Arithmetic:
        return post_training(plan, network, seen, rounding)

    own = plan.nodes == network.plan.nodes
    rounded = network if own else refit(Rounding(weights=sharing))
    origin: Origin = "trained" if own else "post-training"
    return Studied(
        name, origin, plan, dict(network.slots), Unrounded(network), rounded,
        lambda node, x, parameters: network.folded(node), refit, sharing, STATIC_BATCH,
    )  # fmt: skip


def untrained(name: str, origin: Origin, plan: Plan, parameters: Parameters, weights: Sharing) -> Studied:
    """A network with predicted or random parameters, with folds and ranges of each batch.

    Args:
        name: what to call it.
        origin: of the parameters.
        plan: of the network.
        parameters: whole, or first tiles.
        weights: what shares a step.
    """
    rounded = arithmetic_for(plan, weights)
    return Studied(
        name, origin, plan, parameters, FloatArithmetic(), rounded, folded, Refitted, weights, EVALUATION_BATCH
    )  # fmt: skip
