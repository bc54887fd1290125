"""How a network does with predicted parameters, untrained: what a search ranks by, and what rounding alone costs."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.data.batches import evaluation_batches
from qnas.data.images import Images
from qnas.network.arithmetic import FloatArithmetic, arithmetic_for
from qnas.network.forward import Parameters, forward
from qnas.network.plan import Plan
from qnas.quant.grid import Sharing
from qnas.scores.accuracy import EVALUATION_BATCH, hits

Classify = Callable[[Tensor], Tensor]


class Score(NamedTuple):
    """A network with predicted parameters on some images.

    The first three are what a search ranks by, and all that it measures; ``measure`` gives the others too.

    ``top1``: accuracy in per cent. ``loss``: mean cross-entropy in nats. ``margin``: mean probability of the right
    class less that of the most likely other one. ``top5``: per cent whose class is among the first five. ``drop``: how
    many points higher top-1 is when the same parameters are not rounded. ``qmse``: the mean squared difference of the
    logits to those without rounding (quantized mean-squared error: Yun and Wong, section 3). ``qce``: the mean
    cross-entropy, in nats, of the classes' probabilities with rounding to those without it (quantized cross-entropy,
    likewise); where nothing is rounded, their entropy.
    """

    top1: float
    loss: float
    margin: float
    top5: float | None = None
    drop: float | None = None
    qmse: float | None = None
    qce: float | None = None


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Of every image the probability of the right class less that of the most likely other one: (images,)."""
    odds = logits.softmax(1)
    right = odds.gather(1, labels[:, None]) - odds.scatter(1, labels[:, None], 0).amax(1, keepdim=True)
    return right[:, 0]


def departures(logits: Tensor, real: Tensor) -> Tensor:
    """How far logits are from those without rounding, both (images, classes), summed over images: (2,).

    The squared differences, which give QMSE, and the cross-entropies in nats, which give QCE (see ``Score``).
    """
    between = F.cross_entropy(logits, real.softmax(1), reduction="sum")
    return torch.stack([F.mse_loss(logits, real, reduction="sum"), between])


@torch.no_grad()
def measure(plan: Plan, parameters: Parameters, images: Images, weights: Sharing = "tensor") -> Score:
    """Measure predicted parameters at the plan's bit widths, with folds and ranges of each batch.

    Args:
        plan: of the network.
        parameters: whole, or first tiles.
        images: to measure on, on the parameters' device.
        weights: what shares a step.
    """
    arithmetic = None if plan.nodes[-1].bits.is_float else arithmetic_for(plan, weights)
    (score,) = compared(
        lambda x: forward(plan, parameters, x, FloatArithmetic()),
        [(lambda x: forward(plan, parameters, x, arithmetic)) if arithmetic else None],
        images,
    )
    return score


@torch.no_grad()
def compared(
    real: Classify, several: Sequence[Classify | None], images: Images, batch: int = EVALUATION_BATCH
) -> list[Score]:
    """Measure rounded forms of a network, each beside the one that is not rounded.

    Args:
        real: from images (batch, channels, height, width) to logits (batch, classes), without rounding.
        several: the same with rounding; nothing for ``real`` itself.
        images: to measure on.
        batch: how many at once.
    """
    device, classes = images.labels.device, 0
    counts, sums, real_hits = (
        torch.zeros(len(several), 2, device=device),
        torch.zeros(len(several), 4, device=device),
        torch.zeros((), device=device),
    )
    for x, labels in evaluation_batches(images, batch):
        exact = real(x)
        real_hits, classes = real_hits + hits(exact, labels)[0], exact.shape[1]
        for place, rounded in enumerate(several):
            logits = rounded(x) if rounded else exact
            own = torch.stack([F.cross_entropy(logits, labels, reduction="sum"), margins(logits, labels).sum()])
            counts[place] += hits(logits, labels)
            sums[place] += torch.cat([own, departures(logits, exact)])
    return [_score(row, total, real_hits, len(images), classes) for row, total in zip(counts, sums, strict=True)]


def _score(counts: Tensor, sums: Tensor, real_hits: Tensor, images: int, classes: int) -> Score:
    top1, top5 = (100 * counts / images).tolist()
    loss, margin, apart, between = sums.tolist()
    drop = (100 * real_hits / images).item() - top1
    return Score(top1, loss / images, margin / images, top5, drop, apart / (images * classes), between / images)
