"""Top-1 and top-5 accuracy of a network, in per cent."""

from collections.abc import Callable
from typing import NamedTuple

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


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """How many images have their class first, and among the first five, of the logits: (2,)."""
    ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    return torch.stack([ranked[:, 0].sum(), ranked.any(1).sum()])


@torch.no_grad()
def accuracy(network: Callable[[Tensor], Tensor], images: Images, batch: int = EVALUATION_BATCH) -> Accuracy:
    """Accuracy of anything that turns images (batch, channels, height, width) into logits (batch, classes)."""
    counts = torch.zeros(2, device=images.labels.device)
    for x, labels in evaluation_batches(images, batch):
        counts += hits(network(x), labels)
    first, five = (100 * counts / len(images)).tolist()
    return Accuracy(first, five)


def predicted_accuracy(plan: Plan, parameters: Parameters, images: Images, weights: Sharing = "tensor") -> Accuracy:
    """Accuracy of predicted parameters at the plan's bit widths, with folds and ranges of each batch."""
    arithmetic = arithmetic_for(plan, weights)
    return accuracy(lambda x: forward(plan, parameters, x, arithmetic), images)
