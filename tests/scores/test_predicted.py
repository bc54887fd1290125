"""Scores of untrained networks held against other code of the package and against plain computations."""

from itertools import islice
from math import log

import pytest
import torch
import torch.nn.functional as F

from qnas.data.images import DataSet
from qnas.ghn.config import GHNConfig
from qnas.ghn.model import GHN
from qnas.graph.encoding import encode
from qnas.network.arithmetic import DynamicArithmetic, FloatArithmetic
from qnas.network.build import build_plan
from qnas.network.forward import forward
from qnas.network.initial import with_noise
from qnas.network.plan import Plan
from qnas.quant.scheme import FP32, Bits
from qnas.sampling.generator import stream
from qnas.scores.accuracy import predicted_accuracy
from qnas.scores.predicted import measure
from qnas.space.space import find_space
from qnas.task import Task

BITS = [FP32, Bits(4, 4), Bits(2, 2)]
TASK = Task((1, 8, 8), 10)
SMALL = GHNConfig(hidden=8, channels=8, kernel=7, decoder=(8, 8))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def ghn() -> GHN:
    torch.manual_seed(0)
    return GHN(SMALL).eval()


@pytest.fixture(params=BITS, ids=str)
def plan(request: pytest.FixtureRequest) -> Plan:
    return build_plan(next(stream(find_space("tiny"), 3, bits=request.param)), TASK)


def test_accuracies_are_those_of_predicted_parameters(ghn: GHN, plan: Plan, digits_data: DataSet) -> None:
    images = digits_data.validation.first(150)
    (parameters,) = ghn([plan], whole=False)
    found, known = measure(plan, parameters, images), predicted_accuracy(plan, parameters, images)
    assert (found.top1, found.top5) == pytest.approx(known, abs=1e-4)


@torch.no_grad()
def test_drop_qmse_and_qce_compare_rounded_logits_with_those_in_float(
    digits_data: DataSet,
) -> None:
    ghn, images = GHN(SMALL), digits_data.validation.first(64)
    plan = build_plan(next(stream(find_space("tiny"), 3, bits=Bits(3, 3))), TASK)
    parameters = ghn([plan])[0]
    x, labels = images.batch(slice(None))
    real, rounded = (forward(plan, parameters, x, kind) for kind in (FloatArithmetic(), DynamicArithmetic()))
    score = measure(plan, parameters, images)
    right = [100 * (logits.argmax(1) == labels).double().mean().item() for logits in (real, rounded)]
    assert (score.top1, score.drop) == pytest.approx((right[1], right[0] - right[1]), abs=1e-4)
    assert score.qmse == pytest.approx((real - rounded).square().mean().item(), rel=1e-5)
    assert score.qmse is not None
    assert score.qmse > 0
    of_float, of_rounded = real.double().softmax(1), rounded.double().softmax(1)
    assert score.qce == pytest.approx(-(of_float * of_rounded.log()).sum(1).mean().item(), rel=1e-5)
    entropy = -(of_float * of_float.log()).sum(1).mean().item()
    assert score.qce > entropy  # by their divergence


@torch.no_grad()
def test_without_rounding_nothing_drops(digits_data: DataSet) -> None:
    plan = build_plan(next(stream(find_space("tiny"), 3)), TASK)
    score = measure(plan, GHN(SMALL)([plan], whole=False)[0], digits_data.validation)
    assert (score.drop, score.qmse) == (0, 0)
    assert score.qce is not None
    assert 0 < score.qce <= log(10)


def test_loss_and_margin_follow_from_the_logits(ghn: GHN, digits_data: DataSet) -> None:
    plan = build_plan(next(stream(find_space("tiny"), 3)), TASK)
    images = digits_data.validation.first(64)
    (parameters,) = ghn([plan])
    found = measure(plan, parameters, images)
    x, labels = images.batch(slice(None))
    with torch.no_grad():
        logits = forward(plan, parameters, x, FloatArithmetic()).double()
    odds = logits.softmax(1)
    margins = [
        (row[label] - max(value for place, value in enumerate(row) if place != label)).item()
        for row, label in zip(odds, labels, strict=True)
    ]
    assert found.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert found.margin == pytest.approx(sum(margins) / len(margins), rel=1e-4)
    noisy = measure(plan, with_noise(plan, parameters, 0.05, generator()), images)
    assert noisy.loss != found.loss
    assert noisy.loss == pytest.approx(found.loss, rel=0.2)


def test_the_same_seed_gives_the_same_scores(ghn: GHN, plan: Plan, digits_data: DataSet) -> None:
    (parameters,) = ghn([plan], whole=False)
    images = digits_data.validation.first(64)
    assert measure(plan, parameters, images) == measure(plan, parameters, images)
    first, again = (measure(plan, with_noise(plan, parameters, 0.05, generator()), images) for _ in range(2))
    assert first == again


def test_embeddings_tell_networks_and_widths_apart(ghn: GHN) -> None:
    drawn = islice(stream(find_space("tiny"), 3), 5)
    plans = [build_plan(genotype.with_bits(bits), TASK) for genotype in drawn for bits in BITS]
    with torch.no_grad():  # a new hypernetwork does not yet tell widths apart
        for table in ghn.widths:
            table.weight.normal_()
        found = torch.stack([ghn.embed(encode(plan)).mean(0) for plan in plans])
    assert found.shape == (15, 8)
    assert len({tuple(row) for row in found.tolist()}) == 15
