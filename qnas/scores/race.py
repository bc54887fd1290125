"""Scores of many networks where only the best matter: ranges are found once, and who cannot win is not run to the end.

A network's folds and ranges are fixed to what ``CALIBRATION_IMAGES`` training images show. It then meets the
validation images in growing slices, those first about which a few other networks, the pilots, are the least certain. It
is dropped as soon as it must be expected to miss more images than it may, by ``DEVIATIONS`` standard deviations.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.data.batches import evaluation_batches
from qnas.data.images import DataSet, Images
from qnas.errors import QnasError
from qnas.network.arithmetic import static_on
from qnas.network.build import build_plan
from qnas.network.forward import Parameters, forward
from qnas.network.initial import Predictor
from qnas.network.plan import Plan
from qnas.quant.choices import GRIDS, GridChoice, grid_of
from qnas.quant.scheme import Bits
from qnas.sampling.generator import stream
from qnas.scores.accuracy import by_class, tabulated
from qnas.scores.predicted import Score, margins
from qnas.space.space import SearchSpace

CALIBRATION_IMAGES = 64
FIRST_SLICE = 64
PILOTS = 8
"""Networks that tell which images tell networks apart, and how misses grow from slice to slice."""
MOST_IMAGES = 1_000
"""Validation images that a score stands on at most: its standard error is then at most 1.6 points, far less than what
networks of a space differ by, and the time goes to training instead."""
DEVIATIONS = 3.0


def batch_on(device: torch.device) -> int:
    """How many images at once: what a network makes of few stays in a processor's caches, many keep a GPU busy."""
    return 512 if device.type == "cuda" else 128


def losses_and_margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Of every image whether it is missed, its loss in nats, and 1 less its margin: (3, images)."""
    missed = (logits.argmax(1) != labels).float()
    return torch.stack([missed, F.cross_entropy(logits, labels, reduction="none"), 1 - margins(logits, labels)])


@dataclass(frozen=True)
class Outcome:
    """A network's score, how many images it was run on, and whether these were all; else the score is extrapolated."""

    score: Score
    images: int
    finished: bool


@dataclass(frozen=True)
class Race:
    """Where networks of one data set compete.

    Args:
        calibration: training images (64, channels, height, width).
        images: validation images, the most telling ones first.
        growth: (3, slices): by what factor the pilots' sums of misses, losses and (1 - margin) over all images exceed
            those over the first images, slice by slice.
        deviation: (slices,): the standard deviation of that factor of misses from pilot to pilot.
        grid: of the weights.
        at_chance: whether the pilots together recognise no more than guesses do (``qnas.scores.accuracy.by_class``).
    """

    calibration: Tensor
    images: Images
    growth: Tensor
    deviation: Tensor
    grid: GridChoice = GRIDS["asymmetric"]
    at_chance: bool = False

    @torch.inference_mode()
    def run(self, plan: Plan, parameters: Parameters, most_missed: float = float("inf")) -> Outcome:
        """Score a network, or stop once it is sure to miss more than ``most_missed`` images.

        Sums over a part of the images are extrapolated by how the pilots' grew, so who was stopped is never scored
        above who reached the end with ``most_missed`` or fewer.
        """
        arithmetic = static_on(plan, parameters, self.calibration, self.grid)
        sums, total, batch = torch.zeros(3), len(self.images), batch_on(self.calibration.device)
        for (start, end), growth, deviation in zip(slices(total), self.growth.T, self.deviation.tolist(), strict=True):
            for first in range(start, end, batch):
                x, labels = self.images.batch(slice(first, min(end, first + batch)))
                sums += losses_and_margins(forward(plan, parameters, x, arithmetic), labels).sum(1).cpu()
            expected, seen = sums * growth, end
            if fewest_missed(sums[0].item(), end, total, growth[0].item(), deviation) > most_missed:
                break
        missed, loss, short = (expected / total).tolist()
        return Outcome(Score(100 * (1 - min(missed, 1.0)), loss, 1 - min(short, 2.0)), seen, seen == total)


def fewest_missed(missed: float, seen: int, total: int, growth: float, deviation: float) -> float:
    """How many of all images a network can be hoped to miss at the least, from how many of the first it missed.

    The misses to come are expected to be (growth - 1) times those so far. Their variance has three parts: chance among
    the images seen, chance among the others, and how growth differs from network to network.
    """
    left = total - seen
    coming = min((growth - 1) * missed, float(left))
    chance = (growth - 1) ** 2 * missed * (1 - missed / seen) + coming * (1 - coming / max(left, 1))
    return missed + max(0.0, coming - DEVIATIONS * sqrt(chance + (deviation * missed) ** 2))


def slices(total: int) -> Iterator[tuple[int, int]]:
    """Start and end of every slice; each has as many images as all before it together."""
    start, end = 0, min(FIRST_SLICE, total)
    while start < total:
        yield start, end
        start, end = end, min(2 * end, total)


@torch.inference_mode()
def prepare_race(
    space: SearchSpace, bits: Bits, data: DataSet, ghn: Predictor, seed: int, grid: GridChoice | None = None
) -> Race:
    """A race, after some networks of the space have seen its images, ``MOST_IMAGES`` of the validation part.

    Args:
        space: with its limits counted for the data.
        bits: of the pilots.
        data: on the hypernetwork's device.
        ghn: predicts parameters.
        seed: of the pilots.
        grid: of the weights; if none, the one that the hypernetwork was trained on.
    """
    grid = grid or grid_of(ghn.weights)
    calibration, _ = data.train.batch(slice(0, CALIBRATION_IMAGES))
    images, pilots, said = data.validation.first(MOST_IMAGES), list[Tensor](), list[Tensor]()
    for genotype in islice(stream(space, seed, bits=bits), PILOTS):
        plan = build_plan(genotype, space.task)
        (parameters,) = ghn([plan], whole=False)
        arithmetic = static_on(plan, parameters, calibration, grid)
        batches = evaluation_batches(images, batch_on(calibration.device))
        logits = torch.cat([forward(plan, parameters, x, arithmetic) for x, _ in batches])
        pilots.append(losses_and_margins(logits, images.labels))
        said.append(logits.argmax(1))
    seen = torch.stack(pilots).clamp(max=1e3)
    order = (seen[:, 2].mean(0) - 1).abs().argsort(stable=True)  # a margin of 0: as likely right as wrong
    sums = seen[:, :, order].cumsum(2).cpu()
    parts = sums[:, :, [end - 1 for _, end in slices(len(images))]]
    growth = (sums.sum(0)[:, -1:] / parts.sum(0).clamp(min=1e-9)).clamp(min=1.0)
    growth[:, -1] = 1.0  # which differs from it by rounding
    own = (parts[:, 0, -1:] + 1) / (parts[:, 0] + 1)
    telling = replace(images, pixels=images.pixels[order], labels=images.labels[order])
    table = tabulated(images.labels.repeat(len(said)), torch.cat(said), data.task.classes)
    several = sum(map(any, table)) > 1  # of one class alone there is nothing to guess
    at_chance = several and by_class(table)["at_chance"]
    return Race(calibration, telling, growth, own.std(0), grid, at_chance)


class Racer:
    """Scores networks by their predicted parameters in a race that is prepared when the first one asks for it.

    Args:
        space: with its limits counted for the data.
        bits: of the pilots.
        data: on the hypernetwork's device.
        ghn: predicts parameters.
        seed: of the pilots.
        grid: of the weights; if none, the one that the hypernetwork was trained on.
    """

    def __init__(
        self, space: SearchSpace, bits: Bits, data: DataSet, ghn: Predictor, seed: int, grid: GridChoice | None = None
    ) -> None:
        self.space, self.bits, self.data, self.ghn, self.seed, self.grid = space, bits, data, ghn, seed, grid

    @cached_property
    def race(self) -> Race:
        """Where the networks compete.

        Raises:
            QnasError: the hypernetwork was trained for these images, and what it predicts does no better than guesses.
        """
        race = prepare_race(self.space, self.bits, self.data, self.ghn, self.seed, self.grid)
        if race.at_chance and not self.ghn.fits_classes:
            raise QnasError(
                f"The hypernetwork is at chance: at {self.bits}, {PILOTS} networks whose parameters it predicts "
                f"recognise no more of {self.images} validation images than guesses do; train it longer, or, if "
                "you gave it, leave `ghn` out."
            )
        return race

    @property
    def images(self) -> int:
        """On how many images a score that was not cut short stands."""
        return min(MOST_IMAGES, len(self.data.validation))

    @torch.inference_mode()
    def __call__(self, plan: Plan, most_missed: float) -> Outcome:
        """Predict a network's parameters and race it."""
        return self.race.run(plan, self.ghn([plan], whole=False)[0], most_missed)
