"""Scores of many networks where only the best matter: ranges are found once, and who cannot win is not run to the end.

A network's batch norms and ranges are frozen to what ``CALIBRATION_IMAGES`` training images show. It then meets the
validation images in growing slices, those first about which a few other networks, the pilots, are the least certain. It
is dropped as soon as it must be expected to miss more images than it may, by ``DEVIATIONS`` standard deviations.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.data.batches import evaluation_batches
from qnas.data.images import DataSet, Images
from qnas.evaluation.signals import PredictedScore, margins
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.network.forward import Arithmetic, Parameters, convolve, folded, forward
from qnas.network.plan import Node, Plan
from qnas.quant.affine import grid_in_numbers, levels
from qnas.quant.fake import rounded
from qnas.quant.ranges import CLIP_AT, range_of
from qnas.quant.scheme import Bits
from qnas.sampling.generator import stream
from qnas.space.space import SearchSpace

CALIBRATION_IMAGES = 64
FIRST_SLICE = 64
LARGEST_BATCH = 512
PILOTS = 8
"""Networks that tell which images tell networks apart, and how misses grow from slice to slice."""
DEVIATIONS = 3.0


class _Freezing:
    """The dynamic arithmetic on one batch, which keeps every folded, rounded layer and the grid of every output."""

    def __init__(self) -> None:
        self.layers: dict[str, tuple[Tensor, Tensor]] = {}
        self.grids: dict[str, tuple[float, float, float]] = {}

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        weight, bias = folded(node, x, parameters)
        if not node.bits.is_float:
            weight = rounded(weight, *_grid(weight, node.bits.weights), inside=node.bits.weights > CLIP_AT)
        self.layers[node.name] = weight, bias
        return convolve(node, x, weight, bias)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        if node.bits.is_float:
            return x
        self.grids[node.name] = _grid(x, node.bits.activations, from_zero=node.kind != "input")
        return rounded(x, *self.grids[node.name], inside=node.bits.activations > CLIP_AT)


def _grid(x: Tensor, bits: int, from_zero: bool = False) -> tuple[float, float, float]:
    step, zero_point = grid_in_numbers(*range_of(x, bits, from_zero), bits)
    return step, -zero_point, levels(bits) - zero_point


class _Frozen:
    """Layers and grids that no longer depend on the batch."""

    def __init__(self, source: _Freezing) -> None:
        self.layers, self.grids = source.layers, source.grids

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        return convolve(node, x, *self.layers[node.name])

    def activation(self, node: Node, x: Tensor) -> Tensor:
        return rounded(x, *self.grids[node.name], inside=False) if node.name in self.grids else x


def frozen_on(plan: Plan, parameters: Parameters, images: Tensor) -> Arithmetic:
    """The arithmetic of predicted parameters with folds and ranges of these images (batch, channels, height, width)."""
    freezing = _Freezing()
    forward(plan, parameters, images, freezing)
    return _Frozen(freezing)


def losses_and_margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Of every image whether it is missed, its loss in nats, and 1 less its margin: (3, images)."""
    missed = (logits.argmax(1) != labels).float()
    return torch.stack([missed, F.cross_entropy(logits, labels, reduction="none"), 1 - margins(logits, labels)])


@dataclass(frozen=True)
class Outcome:
    """A network's score, how many images it met, and whether these were all; else the score is extrapolated."""

    score: PredictedScore
    images: int
    finished: bool


@dataclass(frozen=True)
class Race:
    """Where networks of one data set compete.

    Args:
        calibration: training images (64, channels, height, width).
        images: the validation images, the most telling ones first.
        growth: (3, slices): by what factor the pilots' sums of misses, losses and (1 - margin) over all images exceed
            those over the first images, slice by slice.
        spread: (slices,): the standard deviation of that factor of misses from pilot to pilot.
    """

    calibration: Tensor
    images: Images
    growth: Tensor
    spread: Tensor

    @torch.inference_mode()
    def run(self, plan: Plan, parameters: Parameters, most_missed: float = float("inf")) -> Outcome:
        """Score a network, or stop once it is sure to miss more than ``most_missed`` images.

        Sums over a part of the images are extrapolated by how the pilots' grew, so who was stopped is never scored
        above who reached the end with ``most_missed`` or fewer.
        """
        arithmetic = frozen_on(plan, parameters, self.calibration)
        sums, total = torch.zeros(3), len(self.images)
        for (start, end), growth, spread in zip(slices(total), self.growth.T, self.spread.tolist(), strict=True):
            for first in range(start, end, LARGEST_BATCH):
                x, labels = self.images.batch(slice(first, min(end, first + LARGEST_BATCH)))
                sums += losses_and_margins(forward(plan, parameters, x, arithmetic), labels).sum(1).cpu()
            expected, met = sums * growth, end
            if fewest_missed(sums[0].item(), end, total, growth[0].item(), spread) > most_missed:
                break
        missed, loss, short = (expected / total).tolist()
        return Outcome(PredictedScore(100 * (1 - min(missed, 1.0)), loss, 1 - min(short, 2.0)), met, met == total)


def fewest_missed(missed: float, met: int, total: int, growth: float, spread: float) -> float:
    """How many of all images a network can be hoped to miss at the least, from how many of the first it missed.

    The misses to come are expected to be (growth - 1) times those so far. Their variance has three parts: chance among
    the images met, chance among the others, and how growth differs from network to network.
    """
    left = total - met
    coming = min((growth - 1) * missed, float(left))
    chance = (growth - 1) ** 2 * missed * (1 - missed / met) + coming * (1 - coming / max(left, 1))
    return missed + max(0.0, coming - DEVIATIONS * sqrt(chance + (spread * missed) ** 2))


def slices(total: int) -> Iterator[tuple[int, int]]:
    """Start and end of every slice; each has as many images as all before it together."""
    start, end = 0, min(FIRST_SLICE, total)
    while start < total:
        yield start, end
        start, end = end, min(2 * end, total)


@torch.inference_mode()
def prepare_race(space: SearchSpace, bits: Bits, data: DataSet, ghn: GHN, seed: int) -> Race:
    """A race, after some networks of the space have met all validation images.

    Args:
        space: with its limits counted for the data.
        bits: of the pilots.
        data: on the hypernetwork's device.
        ghn: predicts parameters.
        seed: of the pilots.
    """
    calibration, _ = data.train.batch(slice(0, CALIBRATION_IMAGES))
    images, pilots = data.validation, []
    for genotype in islice(stream(space, seed, bits=bits), PILOTS):
        plan = build_plan(genotype, space.image, space.classes)
        (parameters,) = ghn([plan], whole=False)
        arithmetic = frozen_on(plan, parameters, calibration)
        found = [
            losses_and_margins(forward(plan, parameters, x, arithmetic), labels)
            for x, labels in evaluation_batches(images, LARGEST_BATCH)
        ]
        pilots.append(torch.cat(found, 1))
    met = torch.stack(pilots).clamp(max=1e3)
    order = (met[:, 2].mean(0) - 1).abs().argsort(stable=True)  # a margin of 0: as likely right as wrong
    sums = met[:, :, order].cumsum(2).cpu()
    parts = sums[:, :, [end - 1 for _, end in slices(len(images))]]
    growth = (sums.sum(0)[:, -1:] / parts.sum(0).clamp(min=1e-9)).clamp(min=1.0)
    growth[:, -1] = 1.0  # which differs from it by rounding
    own = (parts[:, 0, -1:] + 1) / (parts[:, 0] + 1)
    telling = replace(images, pixels=images.pixels[order], labels=images.labels[order])
    return Race(calibration, telling, growth, own.std(0))
