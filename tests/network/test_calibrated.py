"""A static network held against the dynamic arithmetic on the batch that it was made from, and elsewhere."""

from itertools import islice

import pytest
import torch

from qnas.checkpoints.store import load_checkpoint
from qnas.data.images import DataSet
from qnas.evaluation.accuracy import accuracy, predicted_accuracy
from qnas.network.build import build_plan
from qnas.network.calibrated import CalibratedArithmetic
from qnas.network.forward import arithmetic_for, forward
from qnas.quant.scheme import PAPER_BITS, Bits
from qnas.sampling.generator import stream
from qnas.space.space import find_space

SPLITS = ("id", "deep", "wide", "bn_free")


@pytest.mark.parametrize("bits", PAPER_BITS, ids=str)
@pytest.mark.parametrize("split", SPLITS)
@torch.no_grad()
def test_on_its_own_batch_it_is_the_dynamic_arithmetic(split: str, bits: Bits, digits_data: DataSet) -> None:
    ghn, space = load_checkpoint("digits").ghn, find_space("tiny")
    images, _ = digits_data.train.batch(slice(0, 64))
    for genotype in islice(stream(space.of_split(split), 4, "held_out", bits), 3):
        plan = build_plan(genotype, (1, 8, 8), 10)
        (parameters,) = ghn([plan], whole=False)
        expected = forward(plan, parameters, images, arithmetic_for(plan))
        found = forward(plan, parameters, images, CalibratedArithmetic(plan, parameters, images))
        difference = (found - expected).abs().mean() / expected.std()
        assert difference < (1e-5 if bits.is_float else 2e-2)  # a tie that rounds the other way is a step


@torch.no_grad()
def test_on_other_images_values_stay_on_the_grids(digits_data: DataSet) -> None:
    plan = build_plan(next(stream(find_space("tiny"), 4, "held_out", Bits(4, 4))), (1, 8, 8), 10)
    (parameters,) = load_checkpoint("digits").ghn([plan], whole=False)
    arithmetic = CalibratedArithmetic(plan, parameters, digits_data.train.batch(slice(0, 64))[0])
    for node in plan.nodes:
        if node.quantized:
            step, lowest, highest = (float(number) for number in arithmetic.grids[node.name])
            values = arithmetic.activation(node, torch.linspace(-100, 100, 999)) / step
            assert (values - values.round()).abs().max() < 1e-3
            assert (values.min().item(), values.max().item()) == pytest.approx((lowest, highest), abs=1e-3)
            assert highest - lowest == 2**node.bits.activations - 1


@torch.no_grad()
def test_its_accuracy_is_near_that_with_the_statistics_of_each_batch(digits_data: DataSet) -> None:
    ghn, space = load_checkpoint("digits").ghn, find_space("tiny")
    calibration = digits_data.train.batch(slice(0, 64))[0]
    differences = []
    for genotype in islice(stream(space, 4, "held_out", Bits(4, 4)), 8):
        plan = build_plan(genotype, (1, 8, 8), 10)
        (parameters,) = ghn([plan], whole=False)
        arithmetic = CalibratedArithmetic(plan, parameters, calibration)
        static = accuracy(lambda x: forward(plan, parameters, x, arithmetic), digits_data.validation, 256)  # noqa: B023
        differences.append(static.top1 - predicted_accuracy(plan, parameters, digits_data.validation).top1)
    assert abs(sum(differences) / len(differences)) < 2
