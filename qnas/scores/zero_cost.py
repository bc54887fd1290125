"""Scores of random parameters on one batch of images, at the plan's bit widths: the zero-cost proxies.

A new one is a function and a row in ``ZERO_COST``: tables of trained networks then hold it, and ``qnas.evaluate_proxy``
judges it beside the others.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.network.arithmetic import arithmetic_for
from qnas.network.forward import Parameters, forward
from qnas.network.plan import Plan

Proxy = Callable[[Plan, Parameters, Tensor, Tensor], float]
"""From a plan, random parameters, images (batch, channels, height, width) and labels (batch,) to a score, the higher
the better."""


def gradient_norm(plan: Plan, parameters: Parameters, images: Tensor, labels: Tensor) -> float:
    """The norm of the loss's gradient over the weights."""
    _, gradients = _weights_and_gradients(plan, parameters, images, labels)
    return torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt().item()


def snip(plan: Plan, parameters: Parameters, images: Tensor, labels: Tensor) -> float:
    """Connection sensitivity, Σ |w ∂L/∂w| over the weights (Lee et al., 2019)."""
    pairs = zip(*_weights_and_gradients(plan, parameters, images, labels), strict=True)
    return torch.stack([(weight * gradient).abs().sum() for weight, gradient in pairs]).sum().item()


def _weights_and_gradients(
    plan: Plan, parameters: Parameters, images: Tensor, labels: Tensor
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    leaves = {name: value.detach().to(images.device).requires_grad_() for name, value in parameters.items()}
    weights = [value for name, value in leaves.items() if name.endswith("/weight")]
    loss = F.cross_entropy(forward(plan, leaves, images, arithmetic_for(plan)), labels)
    return [weight.detach() for weight in weights], torch.autograd.grad(loss, weights)


ZERO_COST: dict[str, Proxy] = {"gradient_norm": gradient_norm, "snip": snip}
