"""How well a hypernetwork's parameters do, untrained, on unseen networks: the paper's tables 3 to 5."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from statistics import fmean, stdev
from typing import Any

import torch

from qnas.data.images import Images
from qnas.distributed import Ranks
from qnas.network.build import build_plan
from qnas.network.initial import Predictor
from qnas.network.plan import Plan
from qnas.quant.grid import Sharing
from qnas.quant.scheme import Bits
from qnas.runs.progress import Report
from qnas.sampling.generator import stream
from qnas.scores.accuracy import Accuracy, predicted_accuracy
from qnas.scores.closed_form import ClosedForm
from qnas.scores.predicted import Score, measure
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace

AT_ONCE = 8
"""Networks whose parameters are predicted together, at all bit widths."""


COLUMNS = ("top1", "top5", "drop", "qmse", "qce")
"""What a table says of the networks' scores."""


@dataclass(frozen=True)
class Row:
    """One cell of the table over ``n`` networks: accuracies in per cent, with the standard error of the mean.

    ``drop``, ``qmse`` and ``qce`` summarise the networks' own (see ``Score``).
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
    qce_mean: float
    qce_sem: float
    qce_max: float


def summarise(values: list[float]) -> tuple[float, float, float]:
    """Mean, standard error of the mean, and maximum."""
    sem = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return fmean(values), sem, max(values)


def at_chance(rows: Sequence[Row], majority: float) -> list[str]:
    """The cells whose networks are right no more often than ``majority``, in per cent, by two standard errors."""
    return [f"{row.split} {row.bits}" for row in rows if row.top1_mean <= majority + 2 * row.top1_sem]


def row_of(split: str, bits: Bits, scores: Sequence[Score]) -> Row:
    """The cell of these networks."""
    columns = (summarise([getattr(score, key) for score in scores]) for key in COLUMNS)
    return Row(split, str(bits), len(scores), *(value for column in columns for value in column))


def plans_of(genotypes: Sequence[Genotype], space: SearchSpace, settings: Sequence[Bits]) -> list[Plan]:
    """The plans of every network at every bit width, one network after another."""
    widths = [genotype.with_bits(bits) for genotype in genotypes for bits in settings]
    return [build_plan(genotype, space.task) for genotype in widths]


@torch.no_grad()
def score_networks(
    ghn: Predictor, genotypes: Sequence[Genotype], space: SearchSpace, images: Images, settings: Sequence[Bits]
) -> list[list[Accuracy]]:
    """Accuracy of predicted parameters of every network at every bit width, all of them predicted at once."""
    plans = plans_of(genotypes, space, settings)
    pairs = zip(plans, ghn(plans, whole=False), strict=True)
    scores = [predicted_accuracy(plan, parameters, images, ghn.weights) for plan, parameters in pairs]
    return [scores[start : start + len(settings)] for start in range(0, len(scores), len(settings))]


@dataclass(frozen=True)
class GHNTable:
    """How a hypernetwork does on unseen networks: a row for every split and bit widths, and every network's score.

    Args:
        data: name of the data set.
        part: of its images.
        images: how many of them.
        space: whose networks they are.
        seed: of the draw.
        weights: what shares a step.
        closed_head: whether classifiers are fitted to training images, instead of predicted.
        rows: one a split and bit widths.
        networks: one a network and bit widths, as plain values.
    """

    data: str
    part: str
    images: int
    space: str
    seed: int
    weights: Sharing
    closed_head: bool
    rows: list[Row]
    networks: list[dict[str, Any]]

    @property
    def title(self) -> str:
        """What the table is of."""
        how = "predicted backbones, fitted classifiers" if self.closed_head else "predicted parameters"
        return f"{self.data}, {self.images} {self.part} images, {how} without training, a step a {self.weights}"

    def to_json(self) -> dict[str, Any]:
        """The table without the single networks, as plain values."""
        return {key: value for key, value in asdict(self).items() if key != "networks"}


@torch.no_grad()
def evaluate_ghn(
    ghn: Predictor,
    space: SearchSpace,
    images: Images,
    splits: Iterable[str],
    settings: Sequence[Bits],
    count: int,
    seed: int = 0,
    *,
    data: str = "",
    part: str = "",
    ranks: Ranks | None = None,
    report: Report = lambda share, remark: None,
) -> GHNTable:
    """Score held-out networks of every split at every bit width.

    Args:
        ghn: the hypernetwork, or what predicts with it.
        space: whose splits to draw from, its limits counted for the data at hand.
        images: to score on.
        splits: names.
        settings: bit widths.
        count: networks a split, the same ones at every bit width.
        seed: of the draw.
        data: name of the data set, for the table.
        part: of its images, likewise.
        ranks: the processes that share the networks; each of them gets the whole table.
        report: told how far it is.
    """
    ranks, splits, rows, networks = ranks or Ranks(), list(splits), [], []
    starts = range(ranks.rank * AT_ONCE, count, ranks.count * AT_ONCE)
    total, done = len(splits) * len(settings) * sum(min(AT_ONCE, count - start) for start in starts), 0
    for split in splits:
        drawn = list(islice(stream(space.of_split(split), seed, "held_out"), count))
        measured = torch.zeros(count, len(settings), len(Score._fields), dtype=torch.float64)
        for start in starts:
            plans = plans_of(drawn[start : start + AT_ONCE], space, settings)
            for place, (plan, parameters) in enumerate(zip(plans, ghn(plans, whole=False), strict=True)):
                score = measure(plan, parameters, images, ghn.weights)
                where = start + place // len(settings), place % len(settings)
                measured[where] = torch.tensor(score, dtype=torch.float64)
                done += 1
                report(done / total, f"{done} of {total}")
        scores = [[Score(*one) for one in network] for network in ranks.sum(measured).tolist()]
        for genotype, several in zip(drawn, scores, strict=True):
            for bits, score in zip(settings, several, strict=True):
                plain = {key: getattr(score, key) for key in COLUMNS}
                networks.append({"split": split, "bits": str(bits), "network": genotype.architecture, **plain})
        rows += [row_of(split, bits, one) for bits, one in zip(settings, zip(*scores, strict=True), strict=True)]
    closed_head = isinstance(ghn, ClosedForm)
    return GHNTable(data, part, len(images), space.name, seed, ghn.weights, closed_head, rows, networks)
