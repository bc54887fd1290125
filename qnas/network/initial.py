"""Parameters to begin with: who predicts them, random ones, and noise that sets predicted ones apart."""

from collections.abc import Sequence
from math import prod
from typing import Protocol

import torch
from torch import Tensor

from qnas.network.forward import Parameters
from qnas.network.plan import Plan, Slot
from qnas.quant.grid import Sharing


class Predictor(Protocol):
    """What gives plans their parameters: a hypernetwork, or what is built on one."""

    @property
    def weights(self) -> Sharing:
        """What shares a step where the parameters are rounded."""

    @property
    def fits_classes(self) -> bool:
        """Whether classifiers are fitted to the images, rather than learned on some before."""

    def __call__(self, plans: list[Plan], whole: bool = True) -> Sequence[Parameters]:
        """Parameters of every plan, by slot name: in full, or of tensors that repeat a first tile that tile."""


def with_noise(plan: Plan, parameters: Parameters, deviation: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Parameters of a plan with normal noise on its weights.

    Args:
        plan: of the network.
        parameters: whole, or first tiles.
        deviation: of the noise, relative to each weight's own.
        generator: of the noise, on the CPU.
    """
    result = dict(parameters)
    for slot in plan.slots:
        if slot.kind == "weight":
            weight = parameters[slot.name]
            unit = torch.randn(weight.shape, generator=generator).to(weight.device)
            size = weight.std() if weight.numel() > 1 else weight.abs().squeeze()
            result[slot.name] = weight + deviation * size * unit
    return result


def he_parameters(plan: Plan, generator: torch.Generator) -> dict[str, Tensor]:
    """Random parameters: He-normal weights (He et al., 2015), batch norms at one and zero, biases at zero."""
    result = {}
    for slot in plan.slots:
        if slot.kind == "weight":
            result[slot.name] = torch.randn(slot.shape, generator=generator) * he_deviation(slot)
        else:
            result[slot.name] = torch.ones(slot.shape) if slot.kind == "norm_weight" else torch.zeros(slot.shape)
    return result


def as_large_as_random(plan: Plan, parameters: Parameters) -> dict[str, Tensor]:
    """Parameters whose weights are as large as He-normal ones where a batch norm follows, which divides by their size.

    So what the network computes stays the same, but for the norm's epsilon. How it learns does not: the larger such
    weights are, the less a step turns them (van Laarhoven, 2017), and a hypernetwork, whose loss does not feel their
    size, predicts some that are ten or a hundred times as large.

    Args:
        plan: of the network.
        parameters: whole.
    """
    result = dict(parameters)
    for slot in plan.slots:
        if slot.kind == "weight" and slot.name.removesuffix("weight") + "norm_weight" in parameters:
            weight = parameters[slot.name]
            size = weight.square().mean().sqrt().clamp(min=torch.finfo(weight.dtype).tiny)
            result[slot.name] = weight * (he_deviation(slot) / size)
    return result


def he_deviation(slot: Slot) -> float:
    """The standard deviation of a He-normal weight (He et al., 2015)."""
    return float((2 / prod(slot.shape[1:])) ** 0.5)
