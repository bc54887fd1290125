"""How a network does with predicted parameters, untrained: what a search ranks by, and what rounding alone costs."""

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
    device = images.labels.device
    counts, sums, real_hits = (
        torch.zeros(2, device=device),
        torch.zeros(4, device=device),
        torch.zeros((), device=device),
    )
    for x, labels in evaluation_batches(images, EVALUATION_BATCH):
        real = forward(plan, parameters, x, FloatArithmetic())
        is_float = plan.nodes[-1].bits.is_float
        logits = real if is_float else forward(plan, parameters, x, arithmetic_for(plan, weights))
        counts, real_hits = counts + hits(logits, labels), real_hits + hits(real, labels)[0]
        own = torch.stack([F.cross_entropy(logits, labels, reduction="sum"), margins(logits, labels).sum()])
        sums = sums + torch.cat([own, departures(logits, real)])
    top1, top5 = (100 * counts / len(images)).tolist()
    loss_sum, margin_sum, apart_sum, between_sum = sums.tolist()
    drop = (100 * real_hits / len(images)).item() - top1
    count = len(images)
    qmse, qce = apart_sum / (count * plan.classes), between_sum / count
    return Score(top1, loss_sum / count, margin_sum / count, top5, drop, qmse, qce)
