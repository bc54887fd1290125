"""How well a hypernetwork's parameters do, untrained, on unseen networks: the paper's tables 3 to 5."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean, stdev

import torch

from qnas.data.images import Images
from qnas.evaluation.accuracy import Accuracy, predicted_accuracy
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.quant.scheme import Bits
from qnas.sampling.generator import stream
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace

AT_ONCE = 8
"""Networks whose parameters are predicted together, at all bit widths."""


@dataclass(frozen=True)
class Row:
    """One cell of the table: accuracies in per cent over ``n`` networks, with the standard error of the mean."""

    split: str
    bits: str
    n: int
    top1_mean: float
    top1_sem: float
    top1_max: float
    top5_mean: float
    top5_sem: float
    top5_max: float


def summarise(values: list[float]) -> tuple[float, float, float]:
    """Mean, standard error of the mean, and maximum."""
    sem = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return fmean(values), sem, max(values)


@torch.no_grad()
def score_networks(
    ghn: GHN, genotypes: list[Genotype], space: SearchSpace, images: Images, settings: Sequence[Bits]
) -> list[list[Accuracy]]:
    """Accuracy of predicted parameters of every network at every bit width, all of them predicted at once."""
    plans = [
        build_plan(genotype.with_bits(bits), space.image, space.classes) for genotype in genotypes for bits in settings
    ]
    predictions = ghn(plans, whole=False)
    scores = [predicted_accuracy(plan, own, images) for plan, own in zip(plans, predictions, strict=True)]
    return [scores[start : start + len(settings)] for start in range(0, len(scores), len(settings))]


def evaluate_ghn(
    ghn: GHN,
    space: SearchSpace,
    images: Images,
    splits: Iterable[str],
    settings: Sequence[Bits],
    count: int,
    seed: int = 0,
    tell: Callable[[int], None] = lambda done: None,
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
        tell: called now and then with the number of accuracies that are known.
    """
    rows, done = [], 0
    for split in splits:
        drawn = list(islice(stream(space.of_split(split), seed, "held_out"), count))
        scores: list[list[Accuracy]] = []
        for start in range(0, count, AT_ONCE):
            scores += score_networks(ghn, drawn[start : start + AT_ONCE], space, images, settings)
            tell(done + len(scores) * len(settings))
        done += count * len(settings)
        for place, bits in enumerate(settings):
            first, five = (summarise([getattr(row[place], key) for row in scores]) for key in ("top1", "top5"))
            rows.append(Row(split, str(bits), count, *first, *five))
    return rows
