"""How well a hypernetwork's parameters do, untrained, on unseen networks: the paper's tables 3 to 5."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean, stdev
from typing import NamedTuple

import torch
import torch.nn.functional as F

from qnas.data.batches import evaluation_batches
from qnas.data.images import Images
from qnas.evaluation.accuracy import EVALUATION_BATCH, Accuracy, hits, logits_and_unrounded, predicted_accuracy
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.network.forward import Parameters
from qnas.network.plan import Plan
from qnas.quant.scheme import Bits
from qnas.sampling.generator import stream
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace

AT_ONCE = 8
"""Networks whose parameters are predicted together, at all bit widths."""


class Score(NamedTuple):
    """One network at one bit width: accuracies in per cent, and what its rounding alone costs.

    ``drop`` is how much higher top-1 is when the same parameters are not rounded, ``qmse`` the mean squared difference
    of the logits (quantized mean-squared error: Yun and Wong, section 3).
    """

    top1: float
    top5: float
    drop: float
    qmse: float


@dataclass(frozen=True)
class Row:
    """One cell of the table over ``n`` networks: accuracies in per cent, with the standard error of the mean.

    ``drop`` and ``qmse`` summarise the networks' own (see ``Score``).
    """

    split: str
    bits: str
    n: int
    top1_mean: float
    top1_sem: float
    top1_max: float
    top5_mean: float
    top5_sem: float
    top5_max: float
    drop_mean: float
    drop_sem: float
    drop_max: float
    qmse_mean: float
    qmse_sem: float
    qmse_max: float


def summarise(values: list[float]) -> tuple[float, float, float]:
    """Mean, standard error of the mean, and maximum."""
    sem = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return fmean(values), sem, max(values)


def row_of(split: str, bits: Bits, scores: Sequence[Score]) -> Row:
    """The cell of these networks."""
    columns = (summarise([getattr(score, key) for score in scores]) for key in Score._fields)
    return Row(split, str(bits), len(scores), *(value for column in columns for value in column))


def plans_of(genotypes: Sequence[Genotype], space: SearchSpace, settings: Sequence[Bits]) -> list[Plan]:
    """The plans of every network at every bit width, one network after another."""
    widths = [genotype.with_bits(bits) for genotype in genotypes for bits in settings]
    return [build_plan(genotype, space.image, space.classes) for genotype in widths]


@torch.no_grad()
def score_networks(
    ghn: GHN, genotypes: Sequence[Genotype], space: SearchSpace, images: Images, settings: Sequence[Bits]
) -> list[list[Accuracy]]:
    """Accuracy of predicted parameters of every network at every bit width, all of them predicted at once."""
    plans = plans_of(genotypes, space, settings)
    pairs = zip(plans, ghn(plans, whole=False), strict=True)
    scores = [predicted_accuracy(plan, parameters, images) for plan, parameters in pairs]
    return [scores[start : start + len(settings)] for start in range(0, len(scores), len(settings))]


@torch.no_grad()
def quantized_score(plan: Plan, parameters: Parameters, images: Images) -> Score:
    """The score of predicted parameters, rounded and not, with folds and ranges of each batch."""
    rounded = right = torch.zeros(2, device=images.labels.device)
    error = torch.zeros((), device=images.labels.device)
    for x, labels in evaluation_batches(images, EVALUATION_BATCH):
        logits, real = logits_and_unrounded(plan, parameters, x)
        right, rounded = right + hits(real, labels), rounded + hits(logits, labels)
        error = error + F.mse_loss(logits, real, reduction="sum")
    (before, _), (top1, top5) = ((100 * count / len(images)).tolist() for count in (right, rounded))
    return Score(top1, top5, before - top1, error.item() / (len(images) * plan.classes))


@torch.no_grad()
def evaluate_ghn(
    ghn: GHN,
    space: SearchSpace,
    images: Images,
    splits: Iterable[str],
    settings: Sequence[Bits],
    count: int,
    seed: int = 0,
    tell: Callable[[int], None] = lambda done: None,
    keep: Callable[[str, Bits, Genotype, Score], None] = lambda *_: None,
) -> list[Row]:
    """Score held-out networks of every split at every bit width.

    Args:
        ghn: the hypernetwork.
        space: whose splits to draw from, its limits counted for the data at hand.
        images: to score on.
        splits: names.
        settings: bit widths.
        count: networks a split, the same ones at every bit width.
        seed: of the draw.
        tell: called after every score with their number so far.
        keep: called with every score and what it is of.
    """
    rows: list[Row] = []
    done = 0
    for split in splits:
        drawn = list(islice(stream(space.of_split(split), seed, "held_out"), count))
        scores: dict[Bits, list[Score]] = {bits: [] for bits in settings}
        for start in range(0, count, AT_ONCE):
            genotypes = drawn[start : start + AT_ONCE]
            plans = plans_of(genotypes, space, settings)
            places = [(genotype, bits) for genotype in genotypes for bits in settings]
            for (genotype, bits), plan, own in zip(places, plans, ghn(plans, whole=False), strict=True):
                score = quantized_score(plan, own, images)
                scores[bits].append(score)
                keep(split, bits, genotype, score)
                done += 1
                tell(done)
        rows += [row_of(split, bits, scores[bits]) for bits in settings]
    return rows
