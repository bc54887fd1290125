"""What is known of a network before it is trained: how its predicted parameters do, and two zero-cost proxies."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.data.batches import evaluation_batches
from qnas.data.images import Images
from qnas.evaluation.accuracy import EVALUATION_BATCH, hits, logits_and_unrounded
from qnas.ghn.model import GHN
from qnas.graph.distances import depths
from qnas.graph.encoding import encode
from qnas.network.forward import Parameters, arithmetic_for, forward
from qnas.network.module import he_parameters, with_noise
from qnas.network.plan import Plan

NOISE = 0.05
"""Deviation of the noise on predicted weights, relative to each tensor's own."""

COUNTED = ("conv", "max_pool", "avg_pool", "sum", "concat")
"""The kinds of layers that graphs differ in."""


class PredictedScore(NamedTuple):
    """Predicted parameters of one network on some images: top-1 accuracy in per cent, loss in nats, margin.

    ``margin`` is the mean probability of the right class less that of the most likely other one.
    """

    top1: float
    loss: float
    margin: float


class Signals(NamedTuple):
    """Predicted parameters of one network on some images: top-1 accuracies in per cent, losses in nats.

    The first three are a ``PredictedScore``; ``drop`` and ``qmse`` are what rounding alone costs, as in
    ``ghn_tables.Score``; the ``noisy`` ones are with noise on the weights.
    """

    top1: float
    loss: float
    margin: float
    drop: float
    qmse: float
    noisy_top1: float
    noisy_loss: float


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Of every image the probability of the right class less that of the most likely other one: (images,)."""
    odds = logits.softmax(1)
    right = odds.gather(1, labels[:, None]) - odds.scatter(1, labels[:, None], 0).amax(1, keepdim=True)
    return right[:, 0]


def _sums(logits: Tensor, labels: Tensor) -> Tensor:
    """Per cent right, losses and margins, each summed over the images: (3,)."""
    loss = F.cross_entropy(logits, labels, reduction="sum")
    return torch.stack([100 * hits(logits, labels)[0], loss, margins(logits, labels).sum()])


@torch.no_grad()
def predicted_score(plan: Plan, parameters: Parameters, images: Images) -> PredictedScore:
    """The score of predicted parameters at the plan's bit widths, with folds and ranges of each batch."""
    arithmetic, total = arithmetic_for(plan), torch.zeros(3, device=images.labels.device)
    for x, labels in evaluation_batches(images, EVALUATION_BATCH):
        total += _sums(forward(plan, parameters, x, arithmetic), labels)
    return PredictedScore(*(total / len(images)).tolist())


@torch.no_grad()
def predicted_signals(plan: Plan, parameters: Parameters, images: Images, generator: torch.Generator) -> Signals:
    """The signals of predicted parameters at the plan's bit widths, with folds and ranges of each batch.

    Args:
        plan: of the network.
        parameters: whole, or first tiles.
        images: to measure on, on the parameters' device.
        generator: of the noise, on the CPU.
    """
    noisy = with_noise(plan, parameters, NOISE, generator)
    arithmetic, total = arithmetic_for(plan), torch.zeros(7, device=images.labels.device)
    for x, labels in evaluation_batches(images, EVALUATION_BATCH):
        logits, real = logits_and_unrounded(plan, parameters, x)
        shaken = forward(plan, noisy, x, arithmetic)
        own, unrounded = _sums(logits, labels), _sums(real, labels)
        qmse = F.mse_loss(logits, real, reduction="sum") / plan.classes
        total += torch.cat([own, torch.stack([unrounded[0] - own[0], qmse]), _sums(shaken, labels)[:2]])
    return Signals(*(total / len(images)).tolist())


@torch.no_grad()
def embedding(ghn: GHN, plan: Plan) -> Tensor:
    """The mean of a network's node states in the hypernetwork: (hidden,)."""
    return ghn.embed(encode(plan)).mean(0)


def graph_statistics(plan: Plan) -> list[float]:
    """What a graph tells without a hypernetwork: counts of layers by kind, edges, depth, and means over its layers.

    Returns:
        The number of nodes of each kind, of edges and of separate groups (depthwise layers); the longest path; the
        share of convolutions with batch norm; means of kernel, dilation and the logarithms of channels and area.
    """
    nodes = plan.nodes
    convolutions = [node for node in nodes if node.kind == "conv"]
    counts = [float(sum(node.kind == kind for node in nodes)) for kind in COUNTED]
    sources = [list(node.inputs) for node in nodes]
    shapes = np.log([(node.shape[0], node.shape[1] * node.shape[2]) for node in convolutions])
    return [
        *counts,
        float(sum(len(before) for before in sources)),
        float(sum(node.groups > 1 for node in nodes)),
        float(max(depths(sources))),
        *np.mean([(node.norm, node.kernel, node.dilation) for node in convolutions], axis=0).tolist(),
        *shapes.mean(0).tolist(),
    ]


def zero_cost(plan: Plan, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[float, float]:
    """Two proxies of random parameters on one batch, at the plan's bit widths.

    Returns:
        The norm of the loss's gradient, and SNIP's connection sensitivity, Σ |w ∂L/∂w| (Lee et al., 2019), both over
        the weights.
    """
    start = he_parameters(plan, generator)
    parameters = {name: value.to(images.device).requires_grad_() for name, value in start.items()}
    weights = [value for name, value in parameters.items() if name.endswith("/weight")]
    loss = F.cross_entropy(forward(plan, parameters, images, arithmetic_for(plan)), labels)
    gradients = torch.autograd.grad(loss, weights)
    norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
    snip = torch.stack([(value * gradient).abs().sum() for value, gradient in zip(weights, gradients, strict=True)])
    return norm.item(), snip.detach().sum().item()
