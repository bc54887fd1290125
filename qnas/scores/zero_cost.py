"""Scores of random parameters on one batch of images, at the plan's bit widths: the zero-cost proxies.

A new one is a function and a row in ``ZERO_COST``: tables of trained networks then hold it, and ``qnas.evaluate_proxy``
judges it beside the others.
"""

from collections.abc import Callable
from itertools import pairwise
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.network.arithmetic import arithmetic_for
from qnas.network.forward import Arithmetic, Parameters, convolve, forward
from qnas.network.plan import Node, Plan

Proxy = Callable[[Plan, Parameters, Tensor, Tensor], float]
"""From a plan, random parameters, images (batch, channels, height, width) and labels (batch,) to a score, the higher
the better."""
MELLOR_BATCH, SWAP_BATCH, AZ_BATCH = 128, 32, 64
"""Images of the proxies that compare images, or the shares of a layer's variance."""
TINY = 1e-8


def gradient_norm(plan: Plan, parameters: Parameters, images: Tensor, labels: Tensor) -> float:
    """The norm of the loss's gradient over the weights (Abdelfattah et al., 2021)."""
    _, gradients = _weights_and_gradients(plan, parameters, images, labels)
    return torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt().item()


def snip(plan: Plan, parameters: Parameters, images: Tensor, labels: Tensor) -> float:
    """Connection sensitivity, Σ |w ∂L/∂w| over the weights (Lee et al., 2019)."""
    pairs = zip(*_weights_and_gradients(plan, parameters, images, labels), strict=True)
    return torch.stack([(weight * gradient).abs().sum() for weight, gradient in pairs]).sum().item()


def synflow(plan: Plan, parameters: Parameters, images: Tensor, labels: Tensor) -> float:
    """Logarithm of the synaptic flow, Σ w ∂R/∂w of the network of absolute weights (Tanaka et al., 2020).

    R is the sum of its outputs for an image of ones, without batch norms, biases and rounding, in double precision.
    """
    weights = {
        name: value.detach().double().abs().to(images.device).requires_grad_()
        for name, value in parameters.items()
        if name.endswith("/weight")
    }
    flow = forward(plan, weights, torch.ones_like(images[:1], dtype=torch.float64), _Linear()).sum()
    gradients = torch.autograd.grad(flow, list(weights.values()))
    total = sum((weight * grad).sum().item() for weight, grad in zip(weights.values(), gradients, strict=True))
    return torch.tensor(total, dtype=torch.float64).clamp_min(1e-300).log().item()


def nwot(plan: Plan, parameters: Parameters, images: Tensor, labels: Tensor) -> float:
    """Log |det K|, K the number of ReLUs that two images switch alike (Mellor et al., 2021)."""
    codes = torch.cat(_relu_codes(plan, parameters, images[:MELLOR_BATCH]), 1)
    on, off = codes.float(), (~codes).float()
    kernel = (on @ on.T + off @ off.T).double()
    return float(torch.linalg.slogdet(kernel).logabsdet.clamp_min(-1e6))


def swap(plan: Plan, parameters: Parameters, images: Tensor, labels: Tensor) -> float:
    """How many different patterns of images the ReLUs switch on for (Peng et al., 2024)."""
    codes = torch.cat(_relu_codes(plan, parameters, images[:SWAP_BATCH]), 1)
    powers = 2 ** torch.arange(len(codes), device=codes.device)
    return float(torch.unique((codes * powers[:, None]).sum(0)).numel())


def zico(plan: Plan, parameters: Parameters, images: Tensor, labels: Tensor) -> float:
    """Σ over layers log Σ E|∂L/∂w| / σ|∂L/∂w|, mean and deviation over two halves of the batch (Li et al., 2023)."""
    halves = [
        _weights_and_gradients(plan, parameters, *half)[1]
        for half in zip(images.chunk(2), labels.chunk(2), strict=True)
    ]
    score = 0.0
    for layer in zip(*halves, strict=True):
        sizes = torch.stack(layer).abs()
        mean, deviation = sizes.mean(0), sizes.std(0, correction=0)
        ratio = (mean / deviation)[deviation > 0].sum().item()
        score += torch.tensor(ratio).log().item() if ratio > 0 else 0.0
    return score


def expressivity(plan: Plan, parameters: Parameters, images: Tensor, labels: Tensor) -> float:
    """Sum of the entropies of the shares of the principal components, over the blocks (AZ-NAS: Lee and Ham, 2024)."""
    return sum(_entropies(plan, parameters, images))


def progressivity(plan: Plan, parameters: Parameters, images: Tensor, labels: Tensor) -> float:
    """The least growth of those entropies from a block to the next (AZ-NAS)."""
    entropies = _entropies(plan, parameters, images)
    return min((after - before for before, after in pairwise(entropies)), default=0.0)


def trainability(plan: Plan, parameters: Parameters, images: Tensor, labels: Tensor) -> float:
    """Mean of 2 - σ - 1/σ over the blocks, σ the largest factor by which one hands gradients on (AZ-NAS).

    It is the spectral norm of the correlation of random signs at a block's output with what becomes of them at its
    input. Blocks that do not read the one before do not count.
    """
    outputs = _blocks(plan, parameters, images[:AZ_BATCH])
    generator, scores = torch.Generator().manual_seed(0), list[float]()
    for before, after in pairwise(outputs):
        signs = torch.randint(2, after.shape, generator=generator).to(after) * 2 - 1
        (handed,) = torch.autograd.grad(after, before, signs, retain_graph=True, allow_unused=True)
        if handed is not None:
            norm = torch.linalg.matrix_norm(_correlation(handed, signs), 2).item()
            scores.append(2 - norm - 1 / (norm + 1e-6))
    return sum(scores) / len(scores) if scores else 0.0


ZERO_COST: dict[str, Proxy] = {
    "gradient_norm": gradient_norm,
    "snip": snip,
    "synflow": synflow,
    "nwot": nwot,
    "swap": swap,
    "zico": zico,
    "expressivity": expressivity,
    "progressivity": progressivity,
    "trainability": trainability,
}


class _Linear:
    """Layers without batch norm and bias, and nothing rounded."""

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        return convolve(node, x, parameters[f"{node.name}/weight"], None)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        return x


class _Watched:
    """An arithmetic that keeps what nodes give, before rounding and after it, by name."""

    def __init__(self, inner: Arithmetic) -> None:
        self.inner = inner
        self.plain: dict[str, Tensor] = {}
        self.rounded: dict[str, Tensor] = {}

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        return self.inner.layer(node, x, parameters)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        self.plain[node.name], self.rounded[node.name] = x, self.inner.activation(node, x)
        return self.rounded[node.name]


def _watched(plan: Plan, parameters: Parameters, images: Tensor) -> _Watched:
    watched = _Watched(arithmetic_for(plan))
    forward(plan, parameters, images, watched)
    return watched


@torch.no_grad()
def _relu_codes(plan: Plan, parameters: Parameters, images: Tensor) -> list[Tensor]:
    """Whether each ReLU lets something through, (images, units) for each layer that has them."""
    watched = _watched(plan, parameters, images)
    return [(watched.plain[node.name] > 0).flatten(1) for node in plan.nodes if node.relu]


def _blocks(plan: Plan, parameters: Parameters, images: Tensor) -> list[Tensor]:
    """The outputs of the stem and of each cell, as the next ones read them, with their gradients' graph."""
    last = {node.name.partition("_")[0]: node.name for node in plan.nodes[1:-2]}
    leaves = {name: value.detach().to(images.device).requires_grad_() for name, value in parameters.items()}
    watched = _watched(plan, leaves, images)
    return [watched.rounded[name] for name in last.values() if name in watched.rounded]


@torch.no_grad()
def _entropies(plan: Plan, parameters: Parameters, images: Tensor) -> list[float]:
    result = []
    for x in _blocks(plan, parameters, images[:AZ_BATCH]):
        rows = x.movedim(1, -1).flatten(0, 2)
        shares = torch.linalg.eigvalsh(torch.cov(rows.T, correction=0).reshape(x.shape[1], -1)).clamp_min(0)
        shares = shares / shares.sum().clamp_min(TINY)
        result.append(-(shares * (shares + TINY).log()).sum().item())
    return result


def _correlation(handed: Tensor, signs: Tensor) -> Tensor:
    """Mean over images and places of the products of gradients at a block's input and output, (inputs, outputs).

    The places of a larger input that lie at one of the output are counted as channels.
    """
    height, width = signs.shape[2:]
    stride = ceil(handed.shape[2] / height)
    padded = F.pad(handed, (0, stride * width - handed.shape[3], 0, stride * height - handed.shape[2]))
    rows = [x.movedim(1, -1).flatten(0, 2) for x in (F.pixel_unshuffle(padded, stride), signs)]
    return rows[0].T @ rows[1] / len(rows[1])


def _weights_and_gradients(
    plan: Plan, parameters: Parameters, images: Tensor, labels: Tensor
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    leaves = {name: value.detach().to(images.device).requires_grad_() for name, value in parameters.items()}
    weights = [value for name, value in leaves.items() if name.endswith("/weight")]
    loss = F.cross_entropy(forward(plan, leaves, images, arithmetic_for(plan)), labels)
    return [weight.detach() for weight in weights], torch.autograd.grad(loss, weights)
