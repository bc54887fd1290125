"""How well a hypernetwork's parameters do, untrained, on unseen networks: the paper's tables 3 to 5."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from statistics import fmean, stdev

import torch

from qnas.data.images import Images
from qnas.evaluation.accuracy import predicted_accuracy
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.quant.scheme import Bits
from qnas.sampling.generator import stream
from qnas.space.space import SearchSpace


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
def evaluate_ghn(
    ghn: GHN,
    space: SearchSpace,
    images: Images,
    splits: Iterable[str],
    settings: Iterable[Bits],
    count: int,
    seed: int = 0,
    tell: Callable[[], None] = lambda: None,
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
        tell: called after each network.
    """
    rows = []
    settings = list(settings)
    for split in splits:
        drawn = list(islice(stream(space.of_split(split), seed, "held_out"), count))
        for bits in settings:
            scores = []
            for genotype in drawn:
                plan = build_plan(genotype.with_bits(bits), space.image, space.classes)
                scores.append(predicted_accuracy(plan, ghn([plan])[0], images))
                tell()
            first, five = (summarise([getattr(score, key) for score in scores]) for key in ("top1", "top5"))
            rows.append(Row(split, str(bits), count, *first, *five))
    return rows
