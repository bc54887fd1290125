"""Top-1 and top-5 accuracy of a network, in per cent, and which classes it takes for which."""

from collections.abc import Callable
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qnas.data.batches import evaluation_batches
from qnas.data.images import Images
from qnas.network.arithmetic import arithmetic_for
from qnas.network.forward import Parameters, forward
from qnas.network.plan import Plan
from qnas.quant.grid import Sharing

EVALUATION_BATCH = 64
"""Images a batch; with predicted parameters, batch norms and ranges use the statistics of these (Yun and Wong, 4.2)."""


class Accuracy(NamedTuple):
    """Per cent of images whose class is the first, or among the first five, of the logits."""

    top1: float
    top5: float


def right_places(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the first, the second, to the fifth of an image's logits is that of its class: (images, up to 5)."""
    return logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """How many images have their class first, and among the first five, of the logits: (2,)."""
    ranked = right_places(logits, labels)
    return torch.stack([ranked[:, 0].sum(), ranked.any(1).sum()])


@torch.no_grad()
def accuracy(network: Callable[[Tensor], Tensor], images: Images, batch: int = EVALUATION_BATCH) -> Accuracy:
    """Accuracy of anything that turns images (batch, channels, height, width) into logits (batch, classes)."""
    counts = torch.zeros(2, device=images.labels.device)
    for x, labels in evaluation_batches(images, batch):
        counts += hits(network(x), labels)
    first, five = (100 * counts / len(images)).tolist()
    return Accuracy(first, five)


@torch.no_grad()
def confusion(
    network: Callable[[Tensor], Tensor], images: Images, classes: int, batch: int = EVALUATION_BATCH
) -> list[list[int]]:
    """How many images of each class (rows) a network takes for each class (columns)."""
    said = torch.cat([network(x).argmax(1) for x, _ in evaluation_batches(images, batch)])
    return tabulated(images.labels, said, classes)


def tabulated(labels: Tensor, said: Tensor, classes: int) -> list[list[int]]:
    """How many images of each class (rows) were taken for each class (columns); both (images,)."""
    table: list[list[int]] = (labels * classes + said).bincount(minlength=classes**2).view(classes, classes).tolist()
    return table


def interval(accuracy: float, images: int) -> tuple[float, float]:
    """The ends of the 95 % interval (Wilson, 1927) of an accuracy in per cent that so many images have shown."""
    from scipy.stats import binomtest  # slow to import, and only what is written for people needs it

    ends = binomtest(round(accuracy / 100 * images), images).proportion_ci(0.95, "wilson")
    return 100 * ends.low, 100 * ends.high


def by_class(table: list[list[int]]) -> dict[str, Any]:
    """What a confusion tells, in per cent.

    Returns:
        ``recall`` of every class, nothing where it has no images; ``balanced``: the mean of those; ``majority``: what
        always guessing the commonest class is right for; ``at_chance``: whether the recall is what guesses have that
        say each class as often as the network does, whatever an image shows, by two standard errors of ``balanced``.
    """
    counts = [sum(row) for row in table]
    total = sum(counts)
    recall = [
        100 * row[place] / count if count else None
        for place, (row, count) in enumerate(zip(table, counts, strict=True))
    ]
    known = [value for value in recall if value is not None]
    said = [sum(column) / total for column in zip(*table, strict=True)]
    pairs = [(share, count) for share, count in zip(said, counts, strict=True) if count]
    error = sum(share * (1 - share) / count for share, count in pairs) ** 0.5
    return {
        "recall": recall, "balanced": fmean(known), "majority": 100 * max(counts) / total,
        "at_chance": sum(known) / 100 <= sum(share for share, _ in pairs) + 2 * error,
    }  # fmt: skip


def predicted_accuracy(plan: Plan, parameters: Parameters, images: Images, weights: Sharing = "tensor") -> Accuracy:
    """Accuracy of predicted parameters at the plan's bit widths, with folds and ranges of each batch."""
    arithmetic = arithmetic_for(plan, weights)
    return accuracy(lambda x: forward(plan, parameters, x, arithmetic), images)
