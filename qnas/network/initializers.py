"""Random initializers: the table of those that Yun and Wong (section 3) compare, and what draws a plan's parameters.

Each draws weights around zero, evenly between two ends or normally; what differs is how far apart. ``fan_in`` and
``fan_out`` are counts of connections (equation 7: kernel height and width times channels), those of one group where a
convolution has groups: a depthwise filter reads and feeds one channel.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor

from qnas.errors import check_known
from qnas.network.plan import Plan

Spread = Callable[[int, int], float]
"""From fan_in and fan_out to the end of an even distribution, or to the deviation of a normal one."""


@dataclass(frozen=True)
class Initializer:
    """One row.

    Args:
        name: as commands and tables write it.
        reads: as people read it.
        shape: of the distribution.
        spread: how far it reaches.
    """

    name: str
    reads: str
    shape: Literal["uniform", "normal"]
    spread: Spread

    def deviation(self, fan_in: int, fan_out: int) -> float:
        """The standard deviation of the weights."""
        return self.spread(fan_in, fan_out) / (3**0.5 if self.shape == "uniform" else 1)

    def draw(self, shape: tuple[int, ...], fans: tuple[int, int], generator: torch.Generator) -> Tensor:
        """A weight of this shape; members of one shape of distribution draw multiples of the same numbers."""
        if self.shape == "normal":
            return torch.randn(shape, generator=generator) * self.spread(*fans)
        return (2 * torch.rand(shape, generator=generator) - 1) * self.spread(*fans)


def constant(value: float) -> Spread:
    """The same for every layer."""
    return lambda fan_in, fan_out: value


def glorot(c: float) -> Spread:
    """√(C / (fan_in + fan_out)): equation 8; C is 6 for the ends of Glorot and Bengio (2010), 2 for the deviation."""
    return lambda fan_in, fan_out: (c / (fan_in + fan_out)) ** 0.5


def he(c: float) -> Spread:
    """√(C / fan_in): C is 6 for the ends of He et al. (2015), 2 for the deviation."""
    return lambda fan_in, fan_out: (c / fan_in) ** 0.5


INITIALIZERS = {
    row.name: row
    for row in (
        Initializer("uniform_small", "uniform within ±0.25", "uniform", constant(0.25)),
        Initializer("uniform_medium", "uniform within ±0.5", "uniform", constant(0.5)),
        Initializer("uniform_large", "uniform within ±1", "uniform", constant(1)),
        Initializer("normal_small", "normal, deviation 0.1", "normal", constant(0.1)),
        Initializer("normal_medium", "normal, deviation 0.5", "normal", constant(0.5)),
        Initializer("normal_large", "normal, deviation 1", "normal", constant(1)),
        Initializer("glorot_uniform", "Glorot and Bengio (2010), uniform", "uniform", glorot(6)),
        Initializer("glorot_normal", "Glorot and Bengio (2010), normal", "normal", glorot(2)),
        Initializer("he_uniform", "He et al. (2015), uniform", "uniform", he(6)),
        Initializer("he_normal", "He et al. (2015), normal", "normal", he(2)),
        Initializer("modified_glorot_medium", "Glorot uniform with C = 36", "uniform", glorot(36)),
        Initializer("modified_glorot_large", "Glorot uniform with C = 1296", "uniform", glorot(1296)),
    )
}
FIXED = INITIALIZERS["glorot_uniform"]
"""Of the first convolution and of linear layers, always."""


def find_initializer(name: str) -> Initializer:
    """The row of a name.

    Raises:
        QnasError: there is none.
    """
    check_known("initializer", name, INITIALIZERS)
    return INITIALIZERS[name]


def fans_of(plan: Plan, place: int) -> tuple[int, int]:
    """fan_in and fan_out (equation 7) of the weight in a plan's slot: connections to an output and from an input."""
    slot = plan.slots[place]
    kernel = prod(slot.shape[2:])
    return kernel * slot.shape[1], kernel * slot.shape[0] // plan.nodes[slot.node].groups


def drawn_parameters(plan: Plan, initializer: Initializer, generator: torch.Generator) -> dict[str, Tensor]:
    """Random parameters of a plan: weights by an initializer, batch norms at one and zero, biases at zero.

    The first convolution and linear layers are Glorot uniform and drawn first, so that they are the same numbers for
    every initializer with generators of one seed (Yun and Wong, section 3).
    """
    weights = [place for place, slot in enumerate(plan.slots) if slot.kind == "weight"]
    fixed = [place for place in weights if place == weights[0] or len(plan.slots[place].shape) == 2]
    result = {slot.name: torch.full(slot.shape, float(slot.kind == "norm_weight")) for slot in plan.slots}
    for place in (*fixed, *(other for other in weights if other not in fixed)):
        how = FIXED if place in fixed else initializer
        result[plan.slots[place].name] = how.draw(plan.slots[place].shape, fans_of(plan, place), generator)
    return result


def with_drawn_classifier(
    plan: Plan, parameters: Mapping[str, Tensor], generator: torch.Generator
) -> dict[str, Tensor]:
    """Other parameters of a plan, but with the linear layers that ``drawn_parameters`` draws."""
    drawn = drawn_parameters(plan, FIXED, generator)
    linear = {slot.name for slot in plan.slots if plan.nodes[slot.node].kind == "linear"}
    return {name: drawn[name] if name in linear else value for name, value in parameters.items()}
